"""One attempt after the other to sign: who may try which PIN, and what a process that hangs or dies means.

It must not try a wrong PIN twice: see pin_record.py.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.canary import reasons as canary_reasons
from hsm_agent.collect.canary import verify as canary_check
from hsm_agent.collect.canary.pin_record import Note, PinNotKept, Standing
from hsm_agent.collect.canary.process import COMMAND, CanaryLost, CanaryProcess
from hsm_agent.collect.child_process import usages
from hsm_agent.collect.child_start import MEMORY_BYTES
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hsm_agent.collect.canary.pin_record import PinNotes
    from hsm_agent.collect.canary.verify import MechanismName
    from hsm_agent.model import Usage

T = TypeVar("T")

_MOST_STUCK = 3
_NOTE_SECONDS = 5.0
_CHECK_SECONDS = 60.0
_POLITE_SECONDS = 1.0
_FINAL_TRY, _LOCKED = 0x20000, 0x40000  # CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED
_AFTER_LOGIN = frozenset({"C_FindObjects", "C_Sign", "C_Logout"})
_LAST_TRY = "the token's flags say that one try of the PIN is left, and the canary does not take it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to sign with, and where."""

    source: str
    module: str
    environment: Mapping[str, str]
    token: str
    key: Mapping[str, str]
    mechanism: MechanismName
    pin: str = field(repr=False)
    command: Sequence[str] = COMMAND
    memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to: seconds of the signature, a reason why it failed, or a reason why there was none."""

    seconds: float | None = None
    failed: str = ""
    untried: str = ""


class Signer:
    """Owns the process from attempt to attempt."""

    def __init__(self, job: Job, notes: PinNotes) -> None:
        self._job = job
        self._notes = notes
        self._note: Note | None = None
        self._process: CanaryProcess | None = None
        self._stuck: list[CanaryProcess] = []
        self._busy = False
        self._disk = Lane(f"the note of source {job.source}'s PIN")
        self._checking = Lane(f"source {job.source}: checking a signature")

    async def _noted(self, work: Callable[[], T]) -> T:
        try:
            return await self._disk.call(work, seconds=_NOTE_SECONDS)
        except StuckError as error:
            raise PinNotKept(str(error)) from error

    async def attempt(self, deadline: float) -> Outcome:
        """Sign once, until that time of the loop's clock. SourceFailure is for what is no fault of the token's."""
        if self._busy:  # an attempt that was cancelled: its answer would be taken for ours
            await self._discard()
        self._busy = True
        try:
            outcome = await self._attempt(deadline)
        except CanaryLost as lost:
            outcome = Outcome(failed=str(lost))
        if outcome.failed or outcome.untried:
            await self._discard()
        self._busy = False
        return outcome

    async def _attempt(self, deadline: float) -> Outcome:
        try:
            if self._note is None:
                self._note = await self._noted(self._notes.look)
        except PinNotKept as error:
            return Outcome(untried=str(error))
        if self._note.standing in (Standing.REFUSED, Standing.TRYING):
            return Outcome(failed=canary_reasons.not_again(self._note))
        process = await self._ready()
        request = {"do": "reach", "module": self._job.module, "token": self._job.token}
        reached = await process.ask(request, self._left(deadline))
        if "failed" in reached:
            return Outcome(failed=canary_reasons.failed(reached))
        flags = int(reached["ok"]["flags"])
        if flags & _LOCKED:
            return Outcome(failed="the token's flags say that the PIN is locked: have the security officer unlock it")
        if flags & _FINAL_TRY:
            return Outcome(untried=_LAST_TRY)
        return await self._sign(process, deadline)

    async def _sign(self, process: CanaryProcess, deadline: float) -> Outcome:
        job = self._job
        text = canary_check.message(job.source, time.time())
        pin = job.pin
        request = {
            "do": "sign",
            "pin": pin,
            "key": dict(job.key),
            "mechanism": job.mechanism,
            "data": canary_check.to_sign(job.mechanism, text).hex(),
        }
        try:
            if self._note is None or self._note.standing is Standing.NEW:
                self._note = await self._noted(partial(self._notes.keep, Standing.TRYING))
            try:
                answer = await process.ask(request, self._left(deadline))
            except CanaryLost as lost:
                if lost.step in _AFTER_LOGIN:
                    await self._keep(Standing.GOOD)
                raise
            refused = answer.get("error") if answer.get("error") in canary_reasons.PIN_ERRORS else None
            if refused is not None:
                await self._keep(Standing.REFUSED, canary_reasons.return_value(refused))
            else:
                await self._keep(self._standing_after(answer))
        except PinNotKept as error:
            return Outcome(untried=f"{error}; without the note a PIN is not tried")
        return await self._judged(answer, text)

    def _standing_after(self, answer: Mapping[str, Any]) -> Standing:
        """A login that surely failed for another reason than the PIN says nothing of it; an unclear one was a try."""
        before = self._note.standing if self._note is not None else Standing.TRYING
        if answer.get("failed") != "C_Login":
            return Standing.GOOD
        innocent = canary_reasons.is_not_the_pin(answer)
        return Standing.NEW if innocent and before is Standing.TRYING else before

    async def _keep(self, standing: Standing, why: str = "") -> None:
        """On disk only what is news: a PIN that goes on being good costs nothing."""
        if self._note is None or self._note.standing is not standing:
            # In memory even where the disk refuses: this process, at least, does not try it again.
            self._note = Note(standing=standing, at=time.time(), why=why)
            self._note = await self._noted(partial(self._notes.keep, standing, why))

    async def _judged(self, answer: Mapping[str, Any], text: bytes) -> Outcome:
        if "failed" in answer:
            reason, note = canary_reasons.failed(answer), self._note
            shut = note is not None and note.standing in (Standing.REFUSED, Standing.TRYING)
            return Outcome(failed=f"{reason}; {canary_reasons.not_again(note)}" if shut and note else reason)
        signed = answer["ok"]
        signature = bytes.fromhex(signed["signature"])
        # On a thread: the first time it imports a large library.
        check = partial(canary_check.check, self._job.mechanism, text, signature, signed["public"])
        verdict = await self._checking.call(check, seconds=_CHECK_SECONDS)
        if verdict.problem:
            return Outcome(failed=f"C_Sign: {verdict.problem}")
        return Outcome(seconds=float(signed["seconds"]))

    def _left(self, deadline: float) -> float:
        return deadline - asyncio.get_running_loop().time()

    async def _ready(self) -> CanaryProcess:
        for process in [process for process in self._stuck if process.gone]:
            process.let_go()
            self._stuck.remove(process)
        if self._process is not None:
            return self._process
        job = self._job
        if len(self._stuck) >= _MOST_STUCK:
            raise SourceFailure(f"{len(self._stuck)} killed processes are stuck in the kernel: check the HSM's driver")
        try:
            self._process = await CanaryProcess.start(
                job.source, job.environment, job.command, hide=job.pin, memory_bytes=job.memory_bytes
            )
        except CanaryLost as lost:
            self._busy = False
            raise SourceFailure(str(lost)) from lost
        return self._process

    async def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None and not await process.kill():
            self._stuck.append(process)

    async def close(self) -> None:
        """End the process; let go of what the kernel holds."""
        process, self._process = self._process, None
        if process is not None:
            ended = await (process.kill() if self._busy else process.end(_POLITE_SECONDS))
            if not ended:
                self._stuck.append(process)
        for each in self._stuck:
            each.let_go()
        self._stuck.clear()

    async def forget_pin(self) -> bool:
        """Let a PIN that was refused be tried once more. False if the note would not go."""
        self._note = None
        try:
            await self._noted(self._notes.forget)
        except PinNotKept:
            return False  # the next attempt reads the note, and says what is the matter with it
        return True

    def pids(self) -> tuple[int, ...]:
        """The process, while there is one."""
        return tuple(process.pid for process in self._processes() if not process.gone)

    def usages(self) -> dict[int, Usage]:
        """What it uses, by pid."""
        return usages(self._processes())

    def _processes(self) -> list[CanaryProcess]:
        return [*self._stuck, *([self._process] if self._process else [])]
