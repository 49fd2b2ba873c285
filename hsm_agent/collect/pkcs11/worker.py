"""A source's worker from poll to poll: started, loaded, replaced."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child_process import ChildLost, Children, Launch
from hsm_agent.collect.pkcs11.reasons import not_loaded, returned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.collect.child_process import ChildProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLaunch(Launch):
    """How a worker is started, and the module it loads."""

    module: str
    reserved: str | None = None
    luna: bool = True


class ModuleWorker(Children):
    """One worker at a time. `process` numbers them: slot numbers of one mean nothing in another."""

    def __init__(self, launch: ModuleLaunch) -> None:
        super().__init__(launch)
        self.origin = launch
        self.process = 0
        self.is_fresh = True
        """Whether the worker was started in this poll: a fresh one that fails gets no successor."""
        self.loaded: dict[str, Any] = {}

    @property
    def luna(self) -> bool:
        """Whether vendor codes are Luna's."""
        return bool(self.loaded.get("functions"))

    @property
    def word(self) -> int:
        """Bytes of the module's CK_ULONG."""
        return int(self.loaded.get("ulong", 8))

    def begin_poll(self) -> None:
        """To be called at the start of each poll."""
        self.is_fresh = self.current is None
        self.reap()

    async def ready(self, count: Callable[[Sequence[Sequence[Any]]], None], deadline: float) -> ChildProcess:
        """The worker, with the module loaded and initialised. Raises SourceFailure. `count` is given the calls made."""
        if self.current is not None and self.current.owed:
            await self.discard()
        if self.current is not None:
            return self.current
        self.is_fresh = True
        self.process += 1
        worker = await self.start()
        request = {"do": "load", "module": self.origin.module, "luna": self.origin.luna}
        worker.send({**request, "reserved": self.origin.reserved})
        try:
            answer = await worker.answer(deadline - asyncio.get_running_loop().time())
        except ChildLost as lost:
            await self.discard()
            raise SourceFailure(str(lost)) from lost
        count(answer.get("calls", ()))
        if "stage" in answer:
            await self.discard()
            raise SourceFailure(self._load_reason(answer))
        self.loaded = answer
        return worker

    def _load_reason(self, answer: dict[str, Any]) -> str:
        if "rv" not in answer:
            return not_loaded(self.origin.module, answer)
        return returned(answer["stage"], answer["rv"], None, luna=bool(answer.get("functions")))
