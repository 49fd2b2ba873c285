"""Holds a source's worker from poll to poll: starts and loads it, replaces it, and counts those the kernel keeps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child_process import usages
from hsm_agent.collect.child_start import MEMORY_BYTES
from hsm_agent.collect.pkcs11 import reasons as pkcs11_reasons
from hsm_agent.collect.pkcs11.worker_process import COMMAND, WorkerLost, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.collect.pkcs11.fetched import Fetched
    from hsm_agent.model import Usage

_MOST_STUCK = 3
_POLITE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which module is asked, and how its worker is started."""

    source: str
    module: str
    reserved: str | None
    environment: Mapping[str, str]
    luna: bool
    command: Sequence[str] = COMMAND
    memory_bytes: int = MEMORY_BYTES


class Holder:
    """One worker at a time. `process` numbers them: what was said of slots in one holds for that one only."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.process = 0
        self.is_fresh = True
        """Whether the worker was started in this poll. It told the truth then; an old one deserves a successor."""
        self.loaded: dict[str, Any] = {}
        self._worker: WorkerProcess | None = None
        self._stuck: list[WorkerProcess] = []

    @property
    def luna(self) -> bool:
        """Whether vendor codes are Luna's."""
        return bool(self.loaded.get("functions"))

    def pids(self) -> tuple[int, ...]:
        """Processes that live now, stuck ones included."""
        return tuple(worker.pid for worker in self._workers() if not worker.gone)

    def usages(self) -> dict[int, Usage]:
        """What they use, by pid."""
        return usages(self._workers())

    def _workers(self) -> list[WorkerProcess]:
        return [*self._stuck, *([self._worker] if self._worker else [])]

    def age(self, now: float) -> float:
        """Seconds the present worker has lived; 0 without one."""
        return now - self._worker.started if self._worker else 0.0

    def begin(self) -> None:
        """Start a poll."""
        self.is_fresh = self._worker is None
        for worker in [worker for worker in self._stuck if worker.gone]:
            worker.let_go()
            self._stuck.remove(worker)

    async def ready(self, fetched: Fetched, deadline: float) -> WorkerProcess:
        """The worker, with the module loaded and initialised. Raises SourceFailure."""
        if self._worker is not None and self._worker.owed:
            await self.discard()
        if self._worker is not None:
            return self._worker
        if len(self._stuck) >= _MOST_STUCK:
            raise SourceFailure(f"{len(self._stuck)} killed workers are stuck in the kernel: check the HSM's driver")
        self.is_fresh = True
        self.process += 1
        try:
            worker = await WorkerProcess.start(
                self.origin.source,
                self.origin.environment,
                self.origin.command,
                memory_bytes=self.origin.memory_bytes,
            )
            self._worker = worker
            request = {"do": "load", "module": self.origin.module, "luna": self.origin.luna}
            worker.send({**request, "reserved": self.origin.reserved})
            answer = await worker.answer(deadline - asyncio.get_running_loop().time())
        except WorkerLost as lost:
            await self.discard()
            raise SourceFailure(str(lost)) from lost
        fetched.count(answer.get("calls", ()))
        if "stage" in answer:
            await self.discard()
            raise SourceFailure(self._load_reason(answer))
        self.loaded = answer
        return worker

    def _load_reason(self, answer: dict[str, Any]) -> str:
        if "rv" not in answer:
            return pkcs11_reasons.not_loaded(self.origin.module, answer)
        return pkcs11_reasons.returned(answer["stage"], answer["rv"], None, luna=bool(answer.get("functions")))

    async def discard(self) -> None:
        """Kill the worker: it hangs, is dead, or is of no more use."""
        worker, self._worker = self._worker, None
        if worker is not None and not await worker.kill():
            self._stuck.append(worker)

    async def retire(self) -> None:
        """End the worker politely; the next poll gets a fresh one."""
        worker, self._worker = self._worker, None
        if worker is not None and not await worker.end(_POLITE_SECONDS):
            self._stuck.append(worker)

    async def close(self) -> None:
        """Retire, and let go of workers that the kernel holds: they are killed, and die when it lets them."""
        await self.retire()
        for worker in self._stuck:
            worker.let_go()
        self._stuck.clear()
