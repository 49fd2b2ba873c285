"""Reads what is due through a worker that may hang, crash or lie, and gets as much out of it as there is.

A call that hangs or crashes costs its own result; the worker is killed and a fresh one goes on with the rest.
What hung last time is asked last, so that it can take nothing with it. It must not interpret what it reads.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child import MEMORY_BYTES
from hsm_agent.collect.pkcs11 import reasons as pkcs11_reasons
from hsm_agent.collect.pkcs11.fetched import Fetched
from hsm_agent.collect.pkcs11.worker import COMMAND, WorkerLost, WorkerProcess
from hsm_agent.worker.names import ABSENT, NOT_INITIALIZED, OK, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

log = logging.getLogger(__name__)

Step = tuple[str, int]

_MOST_RESTARTS_A_POLL = 4
_MOST_STUCK = 3
_POLITE_SECONDS = 1.0
_USELESS = frozenset({NOT_INITIALIZED, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})
"""After these nothing in that process will work again; a fresh one may."""


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


class Fetcher:
    """Owns a source's worker from poll to poll."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._worker: WorkerProcess | None = None
        self._fresh = True
        self._stuck: list[WorkerProcess] = []
        self._suspects: set[Step] = set()
        self._loaded: dict[str, Any] = {}

    @property
    def functions(self) -> frozenset[str]:
        """Vendor functions of the loaded module."""
        return frozenset(self._loaded.get("functions", ()))

    @property
    def word(self) -> int:
        """Bytes of the module's CK_ULONG."""
        return int(self._loaded.get("ulong", 8))

    def pids(self) -> tuple[int, ...]:
        """Processes that live now, stuck ones included."""
        workers = [*self._stuck, *([self._worker] if self._worker else [])]
        return tuple(worker.pid for worker in workers if not worker.gone)

    def suspects(self, step: str) -> bool:
        """Whether that step hung or crashed on any slot when it was last tried."""
        return any(name == step for name, _ in self._suspects)

    def age(self, now: float) -> float:
        """Seconds the present worker has lived; 0 without one."""
        return now - self._worker.started if self._worker else 0.0

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

    async def _discard(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and not await worker.kill():
            self._stuck.append(worker)

    def begin(self) -> Fetched:
        """Start a poll."""
        self._fresh = self._worker is None
        for worker in [worker for worker in self._stuck if worker.gone]:
            worker.let_go()
            self._stuck.remove(worker)
        return Fetched()

    async def _ready(self, fetched: Fetched, deadline: float) -> WorkerProcess:
        if self._worker is not None and self._worker.owed:
            await self._discard()
        if self._worker is not None:
            return self._worker
        if len(self._stuck) >= _MOST_STUCK:
            raise SourceFailure(f"{len(self._stuck)} killed workers are stuck in the kernel: check the HSM's driver")
        loop = asyncio.get_running_loop()
        self._fresh = True
        try:
            self._worker = await WorkerProcess.start(
                self._origin.source,
                self._origin.environment,
                self._origin.command,
                memory_bytes=self._origin.memory_bytes,
            )
            request = {"do": "load", "module": self._origin.module, "luna": self._origin.luna}
            self._worker.send({**request, "reserved": self._origin.reserved})
            answer = await self._worker.answer(deadline - loop.time())
        except WorkerLost as lost:
            await self._discard()
            raise SourceFailure(str(lost)) from lost
        fetched.count(answer.get("calls", ()))
        if "stage" in answer:
            await self._discard()
            raise SourceFailure(self._load_reason(answer))
        self._loaded = answer
        return self._worker

    def _load_reason(self, answer: dict[str, Any]) -> str:
        if "rv" not in answer:
            return pkcs11_reasons.not_loaded(self._origin.module, answer)
        return pkcs11_reasons.returned(answer["stage"], answer["rv"], None, luna=bool(answer.get("functions")))

    async def sweep(self, fetched: Fetched, deadline: float, *, tokens: Collection[int] = ()) -> None:
        """Slot list, and slot and token information of all slots but the late ones.

        Slots with known `tokens` come last, so that a lone token's call has nearly the whole time.
        Raises SourceFailure if there is no slot list, or none of the slots answers.
        """
        while True:
            fetched.slots = await self._slot_list(fetched, deadline)
            late = set(self.late(fetched))
            slots = sorted((slot for slot in fetched.slots if slot not in late), key=lambda slot: slot in tokens)
            await self.steps(fetched, [("token", slot) for slot in slots], deadline)
            reason = self._all_failed(fetched, tokens)
            if reason is None:
                return
            await self._discard()
            if self._is_last(fetched):
                raise SourceFailure(reason)
            self._restarted(fetched, reason)
            fetched.results.clear()
            fetched.failed.clear()

    def late(self, fetched: Fetched) -> list[int]:
        """Slots whose token information hung or crashed last time: to be read after everything else."""
        return [slot for slot in fetched.slots or () if ("token", slot) in self._suspects]

    async def _slot_list(self, fetched: Fetched, deadline: float) -> list[int]:
        loop = asyncio.get_running_loop()
        while True:
            worker = await self._ready(fetched, deadline)
            worker.send({"do": "slots"})
            try:
                answer = await worker.answer(deadline - loop.time())
            except WorkerLost as lost:
                await self._discard()
                if lost.hung or self._is_last(fetched):
                    raise SourceFailure(str(lost)) from lost
                self._restarted(fetched, str(lost))
                continue
            fetched.count(answer["calls"])
            if "slots" in answer:
                return list(answer["slots"])
            reason = pkcs11_reasons.returned(answer["stage"], answer["rv"], None, luna=bool(self.functions))
            await self._discard()
            if self._is_last(fetched):
                raise SourceFailure(f"{reason}: check the HSM and its client")
            self._restarted(fetched, reason)

    def _is_last(self, fetched: Fetched) -> bool:
        """A worker that was fresh in this poll has told the truth; an old one deserves a successor."""
        return self._fresh or fetched.restarts >= _MOST_RESTARTS_A_POLL

    def _restarted(self, fetched: Fetched, reason: str) -> None:
        fetched.restarts += 1
        fetched.notes.append(f"{reason}; a fresh worker went on")

    def _all_failed(self, fetched: Fetched, tokens: Collection[int]) -> str | None:
        """Why, if every slot (every one that had a token before) failed by return value.

        Those that hung or crashed are told apart already, and had a fresh worker.
        """
        slots = [result for result in fetched.results if result[0] == "token"]
        slots = [result for result in slots if result[1] in tokens] or slots
        if not slots or fetched.failed:
            return None
        about_token = ABSENT | (STATEMENTS if self.functions else frozenset())
        for _, _, _, calls, payload in slots:
            if payload[1] is not None or calls[-1][1] in about_token or calls[-1][1] == OK:
                return None
        function, value, _ = slots[0][3][-1]
        return pkcs11_reasons.returned(function, value, slots[0][1], luna=bool(self.functions))

    async def fill(self, fetched: Fetched, directory: str, deadline: float) -> None:
        """Sum of the files of an object store; a file system that hangs costs the worker, not the loop."""
        try:
            worker = await self._ready_for_more(fetched, deadline)
            worker.send({"do": "fill", "directory": directory})
            # Half of what is left: the token's own readings are still to come.
            fetched.fill = await worker.answer((deadline - asyncio.get_running_loop().time()) / 2)
        except WorkerLost as lost:
            await self._discard()
            fetched.fill = {"error": str(lost)}

    async def steps(self, fetched: Fetched, wanted: Sequence[Step], deadline: float) -> None:
        """Each step on each slot, those that were trouble last time at the end."""
        waiting = sorted(wanted, key=lambda step: step in self._suspects)
        retried: set[Step] = set()
        while waiting and (asyncio.get_running_loop().time() < deadline or not fetched.failed):  # no time: not reached
            try:
                await self._stream(fetched, waiting, deadline)
            except WorkerLost as lost:
                fatal = min(lost.behind, len(waiting) - 1)
                step = waiting[fatal]
                await self._discard()
                if not lost.hung and step not in retried and not self._is_last(fetched):
                    retried.add(step)
                    self._restarted(fetched, str(lost))
                    continue
                self._suspects.add(step)
                fetched.failed.append([*step, str(lost)])
                fetched.restarts += 1
                del waiting[fatal]
                if fetched.restarts > _MOST_RESTARTS_A_POLL:
                    log.warning(
                        "source %s: the module failed too often, %d calls left", self._origin.source, len(waiting)
                    )
                    return

    async def _stream(self, fetched: Fetched, waiting: list[Step], deadline: float) -> None:
        """Ask for all waiting steps at once and take the answers off the list one by one."""
        loop = asyncio.get_running_loop()
        worker = await self._ready_for_more(fetched, deadline)
        worker.send({"do": "read", "steps": waiting})
        sent = len(waiting)
        while waiting:
            left = deadline - loop.time()
            try:
                # While others wait, a call may take half of what is left; the last one all of it.
                answer = await worker.answer(left / 2 if len(waiting) > 1 else left)
            except WorkerLost as lost:
                lost.behind = max(0, worker.position() - (sent - len(waiting)))
                raise
            fetched.count(answer[3])
            for function, value, _ in answer[3]:
                if value in _USELESS:
                    reason = pkcs11_reasons.returned(function, value, answer[1], luna=bool(self.functions))
                    raise WorkerLost(reason)
            self._suspects.discard(waiting[0])
            fetched.results.append(answer)
            del waiting[0]

    async def _ready_for_more(self, fetched: Fetched, deadline: float) -> WorkerProcess:
        """As `_ready` within a poll: a module that can't be loaded again must not take away what was read already."""
        if asyncio.get_running_loop().time() >= deadline and fetched.failed:
            raise WorkerLost(f"not reached in time, because {fetched.failed[-1][2]}", hung=True)
        try:
            return await self._ready(fetched, deadline)
        except SourceFailure as failure:
            if not fetched.results:
                first = f"{fetched.failed[0][2]}; then " if fetched.failed else ""
                raise SourceFailure(f"{first}{failure}") from failure
            raise WorkerLost(str(failure), hung=True) from failure

    def raw(self, fetched: Fetched) -> dict[str, Any]:
        """The raw result, fit for JSON."""
        return fetched.raw(self._origin.module, self._loaded, word=self.word)
