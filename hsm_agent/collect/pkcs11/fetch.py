"""Reads what is due through a worker that may hang, crash or lie, and gets as much out of it as there is.

A call that hangs or crashes costs its own result; the worker is killed and a fresh one goes on with the rest. Slot
numbers are the module's own from C_Initialize to its end, so each worker first lists its slots and reads the tokens
in them; all other steps are asked of a token, in whatever slot it is there.
What hung last time is asked last, so that it can take nothing with it. It must not interpret what it reads.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child_process import ChildLost
from hsm_agent.collect.pkcs11 import reasons as pkcs11_reasons
from hsm_agent.collect.pkcs11.fetched import Fetched, Listing
from hsm_agent.collect.pkcs11.worker import ModuleLaunch, ModuleWorker
from hsm_agent.workers.pkcs11.return_values import ABSENT, NOT_INITIALIZED, OK, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from hsm_agent.collect.child_process import ChildProcess
    from hsm_agent.collect.pkcs11.fetched import Result
    from hsm_agent.collect.pkcs11.identity import Key
    from hsm_agent.model import Usage

log = logging.getLogger(__name__)

_MOST_RESTARTS_A_POLL = 4
_MOST_TRIES_A_POLL = 2
_USELESS = frozenset({NOT_INITIALIZED, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})
"""After these nothing in that process will work again; a fresh one may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one poll is to read.

    `find` tells which watched tokens are in the results of the step `token`, and in which slots; `steps` what is due
    of those tokens. `known` are the slots of the last sweep: in a sweep a hint which to ask last, so that a lone
    token's call has nearly the whole time; in other polls the tokens to ask.
    """

    sweep: bool
    find: Callable[[Iterable[Result]], Mapping[Key, int]]
    steps: Callable[[Iterable[Key]], Sequence[tuple[str, Key]]]
    known: Mapping[Key, int] = field(default_factory=dict)
    store: str = ""


@dataclass(frozen=True, slots=True)
class _Ask:
    """One step on one slot of the present process; `key` is None for the reading of the token itself."""

    step: str
    slot: int
    key: Key | None = None

    @property
    def identity(self) -> tuple[str, Key | int]:
        return self.step, self.slot if self.key is None else self.key


class Fetcher:
    """Owns a source's worker from poll to poll."""

    def __init__(self, launch: ModuleLaunch) -> None:
        self._worker = ModuleWorker(launch)
        self._listing: Listing | None = None
        """Of the worker that is there; None if that one has not listed its slots."""
        self._hung_steps: dict[tuple[str, Key | int], None] = {}
        """Steps that hung or crashed when they were last tried, the latest of them last."""

    @property
    def functions(self) -> frozenset[str]:
        """Vendor functions of the loaded module."""
        return frozenset(self._worker.loaded.get("functions", ()))

    @property
    def word(self) -> int:
        """Bytes of the module's CK_ULONG."""
        return int(self._worker.loaded.get("ulong", 8))

    def pids(self) -> tuple[int, ...]:
        """Processes that live now, stuck ones included."""
        return self._worker.pids()

    def usages(self) -> dict[int, Usage]:
        """What they use, by pid."""
        return self._worker.usages()

    def has_hung(self, step: str) -> bool:
        """Whether that step hung or crashed on any slot when it was last tried."""
        return any(name == step for name, _ in self._hung_steps)

    def age(self, now: float) -> float:
        """Seconds the present worker has lived; 0 without one."""
        return self._worker.age_seconds(now)

    async def retire(self) -> None:
        """End the worker politely; the next poll gets a fresh one."""
        self._listing = None
        await self._worker.retire()

    async def close(self) -> None:
        """Let go of everything; leaves no process behind."""
        self._listing = None
        await self._worker.close()

    async def read(self, wish: Wish, deadline: float) -> Fetched:
        """One poll. Raises SourceFailure if there is no slot list, or none of the slots answers."""
        self._worker.begin_poll()
        course = _Course(self._worker, self._hung_steps, wish, deadline)
        course.listing = None if wish.sweep else self._listing
        self._listing = None  # whatever ends the poll, a worker in an unknown state is asked for its slots again
        await course.run()
        self._listing = course.listing
        return course.fetched

    def raw(self, fetched: Fetched, wish: Wish) -> dict[str, Any]:
        """The raw result, fit for JSON."""
        known = None if wish.sweep else wish.known
        return fetched.raw(self._worker.origin.module, self._worker.loaded, word=self.word, known=known)


class _Course:
    """One poll on its way: what is still to be asked, whatever number of processes it takes."""

    def __init__(
        self, worker: ModuleWorker, hung_steps: dict[tuple[str, Key | int], None], wish: Wish, deadline: float
    ) -> None:
        self.fetched = Fetched()
        self.listing: Listing | None = None
        self._worker = worker
        self._hung_steps = hung_steps
        self._wish = wish
        self._deadline = deadline
        self._retried: set[tuple[str, Key | int]] = set()
        self._tries: dict[int, int] = {}

    def _left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Until nothing is left to ask, or no time, or no worker."""
        try:
            while await self._go_on():
                pass
        except SourceFailure as failure:
            # A module that can't be loaded again must not take away what was read already.
            if self.fetched.is_empty:
                first = f"{self.fetched.trouble}; then " if self.fetched.trouble else ""
                raise SourceFailure(f"{first}{failure}") from failure
            self._note_trouble(str(failure))
        self._note_unreached()

    async def _go_on(self) -> bool:
        """Ask for what is next. False when that was the last of it."""
        worker, listing = await self._listed()
        batch = self._tokens_to_read(listing)
        if not batch:
            if (reason := self._all_failed(listing)) is not None:
                # An old worker has a successor; what a fresh one says is the source's own failure.
                await self._discard()
                if self._is_last():
                    raise SourceFailure(reason)
                self._restarted(reason)
                return True
            if self._wish.store and self.fetched.fill is None:
                return await self._fill(worker, listing)
            batch = self._next(listing)
        if not batch:
            if self._wish.sweep and len(listing.results) == len(listing.slots):
                for step in {step for step, _ in self._hung_steps if step != "token"}:
                    self._forget(step, listing.tokens)
            return False
        try:
            await self._stream(worker, listing, batch)
        except ChildLost as lost:
            await self._discard()
            return self._has_successor(lost, listing, batch)
        return True

    async def _discard(self) -> None:
        self.listing = None
        await self._worker.discard()

    async def _listed(self) -> tuple[ChildProcess, Listing]:
        """The slots of the process that is there; of one that is fresh, before anything else is asked of it."""
        while True:
            worker = await self._worker.ready(self.fetched.count, self._deadline)
            if self.listing is not None and self.listing.process == self._worker.process:
                return worker, self.listing
            worker.send({"do": "slots"})
            try:
                answer = await worker.answer(self._left())
            except ChildLost as lost:
                await self._discard()
                if lost.hung or self._is_last():
                    raise SourceFailure(str(lost)) from lost
                self._restarted(str(lost))
                continue
            self.fetched.count(answer["calls"])
            if "slots" in answer:
                self.listing = Listing(self._worker.process, list(answer["slots"]))
                self.fetched.listings.append(self.listing)
                self._forget("token", self.listing.slots)
                return worker, self.listing
            reason = pkcs11_reasons.returned(answer["stage"], answer["rv"], None, luna=self._worker.luna)
            await self._discard()
            if self._is_last():
                raise SourceFailure(f"{reason}: check the HSM and its client")
            self._restarted(reason)

    def _forget(self, step: str, here: Collection[int] | Collection[Key]) -> None:
        """Forget the hangs of slots or tokens that are not there any more."""
        for gone in [each for each in self._hung_steps if each[0] == step and each[1] not in here]:
            del self._hung_steps[gone]

    def _is_last(self) -> bool:
        """A worker that was fresh in this poll has told the truth; an old one deserves a successor."""
        return self._worker.is_fresh or self.fetched.restarts >= _MOST_RESTARTS_A_POLL

    def _restarted(self, reason: str) -> None:
        self.fetched.restarts += 1
        self.fetched.notes.append(f"{reason}; a fresh worker went on")

    def _note_trouble(self, reason: str) -> None:
        """The first reason is the one people see; a second one, if another process failed in its own way."""
        before = self.fetched.trouble
        self.fetched.trouble = f"{before}; then {reason}" if before else reason

    def _tokens_to_read(self, listing: Listing) -> list[_Ask]:
        """Slots not read in this process, but for those that were trouble: they come last."""
        rest = [slot for slot in listing.slots if slot not in listing.results and slot not in listing.failed]
        late = set(self._wish.known.values())
        asks = [_Ask("token", slot) for slot in sorted(rest, key=late.__contains__)]
        return [ask for ask in asks if ask.identity not in self._hung_steps]

    def _next(self, listing: Listing) -> list[_Ask]:
        """What is due of the tokens that were found; then, one by one, slots that were trouble."""
        return self._steps_to_ask(listing) or self._late(listing)[:1]

    def _late(self, listing: Listing) -> list[_Ask]:
        """Slots that were trouble, in a sweep; they can wait for the next one otherwise.

        The latest comes last: what failed in an earlier process may have another number by now.
        """
        rest = [_Ask("token", slot) for slot in listing.slots if slot not in listing.results]
        rest = [ask for ask in rest if ask.identity in self._hung_steps and ask.slot not in listing.failed]
        order = list(self._hung_steps)
        late = [ask for ask in rest if self._tries.get(ask.slot, 0) < _MOST_TRIES_A_POLL]
        return sorted(late, key=lambda ask: order.index(ask.identity)) if self._wish.sweep else []

    def _steps_to_ask(self, listing: Listing) -> list[_Ask]:
        found = listing.tokens
        keys = [key for key in found if self._wish.sweep or key in self._wish.known]
        done = {*self.fetched.answers, *self.fetched.failed}
        asks = [_Ask(step, found[key], key) for step, key in self._wish.steps(keys) if (step, key) not in done]
        return sorted(asks, key=lambda ask: ask.identity in self._hung_steps)

    def _all_failed(self, listing: Listing) -> str | None:
        """Why, if every slot (every one that had a token before) failed by return value.

        Those that hung or crashed are told apart already, and had a fresh worker.
        """
        known = set(self._wish.known.values())
        slots = [result for slot, result in listing.results.items() if slot in known] or [*listing.results.values()]
        if not slots or self.fetched.trouble or listing not in self.fetched.listings:
            return None
        about_token = ABSENT | (STATEMENTS if self._worker.luna else frozenset())
        for _, _, _, calls, payload in slots:
            if payload[1] is not None or calls[-1][1] in about_token or calls[-1][1] == OK:
                return None
        function, value, _ = slots[0][3][-1]
        return pkcs11_reasons.returned(function, value, slots[0][1], luna=self._worker.luna)

    async def _fill(self, worker: ChildProcess, listing: Listing) -> bool:
        """Sizes of an object store; a file system that hangs costs the worker, not the loop."""
        worker.send({"do": "fill", "directory": self._wish.store})
        try:
            # Half of what is left: the token's own readings are still to come.
            self.fetched.fill = await worker.answer(self._left() / 2)
        except ChildLost as lost:
            self.fetched.fill = {"error": str(lost)}
            self.fetched.restarts += 1
            await self._discard()
            return bool(self._next(listing))
        return True

    async def _stream(self, worker: ChildProcess, listing: Listing, waiting: list[_Ask]) -> None:
        """Ask for all waiting steps at once and take the answers off the list one by one."""
        worker.send({"do": "read", "steps": [[ask.step, ask.slot] for ask in waiting]})
        sent, identify, late = len(waiting), waiting[0].key is None, self._late(listing)
        try:
            while waiting:
                left = self._left()
                # While others wait, a call may take half of what is left; the last one all of it.
                others = len(waiting) > 1 or any(ask != waiting[0] for ask in late)
                answer = await worker.answer(left / 2 if others else left)
                self.fetched.count(answer[3])
                self._check(answer)
                self._take(listing, waiting.pop(0), answer)
        except ChildLost as lost:
            lost.behind = max(0, worker.current_step() - (sent - len(waiting)))
            raise
        finally:
            if identify:
                listing.tokens = dict(self._wish.find(listing.results.values()))

    def _check(self, answer: Result) -> None:
        """Raise ChildLost for an answer after which the process is of no more use."""
        for function, value, _ in answer[3]:
            if value in _USELESS:
                raise ChildLost(pkcs11_reasons.returned(function, value, answer[1], luna=self._worker.luna))

    def _take(self, listing: Listing, ask: _Ask, answer: Result) -> None:
        self._hung_steps.pop(ask.identity, None)
        if ask.key is None:
            listing.results[ask.slot] = answer
        else:
            self.fetched.answers[ask.step, ask.key] = answer

    def _has_successor(self, lost: ChildLost, listing: Listing, waiting: Sequence[_Ask]) -> bool:
        """Note what was lost with a worker. Whether a fresh one is to go on."""
        fatal, reason = waiting[min(lost.behind, len(waiting) - 1)], str(lost)
        if not lost.hung and fatal.identity not in self._retried and not self._is_last():
            self._retried.add(fatal.identity)
            self._restarted(reason)
            return True
        self.fetched.trouble = self.fetched.trouble or reason
        self.fetched.restarts += 1
        if fatal.key is None:
            listing.failed[fatal.slot] = reason
            # In the next process the number may be another token's, so it is tried there once more: but only once.
            was_late = fatal.identity in self._hung_steps
            self._tries[fatal.slot] = _MOST_TRIES_A_POLL if was_late else self._tries.get(fatal.slot, 0) + 1
        else:
            self.fetched.failed[fatal.step, fatal.key] = reason
        self._hung_steps.pop(fatal.identity, None)
        self._hung_steps[fatal.identity] = None
        return self._is_worth_it(listing)

    def _is_worth_it(self, listing: Listing) -> bool:
        """Whether there is more to ask, and the time and patience for it."""
        late = [slot for slot in listing.failed if self._tries.get(slot, 0) < _MOST_TRIES_A_POLL]
        rest = len(self._tokens_to_read(listing)) + len(self._next(listing)) + (len(late) if self._wish.sweep else 0)
        if rest and self.fetched.restarts > _MOST_RESTARTS_A_POLL:
            log.warning("source %s: the module failed too often, %d calls left", self._worker.launch.source, rest)
            return False
        return rest > 0 and self._left() > 0

    def _note_unreached(self) -> None:
        """Whatever was due and not asked has no value, and a reason."""
        if not self.fetched.trouble:
            return
        reason = f"not reached in time, because {self.fetched.trouble}"
        fullest = self.fetched.fullest() if self._wish.sweep else None
        for step, key in self._wish.steps([*(self._wish.known if fullest is None else fullest.tokens)]):
            if (step, key) not in self.fetched.answers:
                self.fetched.failed.setdefault((step, key), reason)
        if self._wish.store and self.fetched.fill is None:
            self.fetched.fill = {"error": reason}
