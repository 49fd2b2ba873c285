"""Reads what is due through a worker process, and gets as many answers as possible though calls hang or crash it.

A call that hangs or crashes costs its own result; the worker is killed and a fresh one goes on with the rest. Slot
numbers are the module's own from C_Initialize to its end, so each worker first lists its slots and reads the tokens
in them; all other steps are asked of a token, in whatever slot it is there.
A step that hung last time is asked last, so that no other is lost with it. It does not interpret the answers.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child_common import not_loaded, returned
from hsm_agent.collect.child_process import ChildLost, Children, Launch
from hsm_agent.collect.pkcs11.recording import PollAnswers, Result, SlotListing
from hsm_agent.workers.pkcs11.return_values import ABSENT, NOT_INITIALIZED, OK, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from hsm_agent.collect.child_process import ChildProcess
    from hsm_agent.collect.pkcs11.recording import RawPoll
    from hsm_agent.collect.pkcs11.token import TokenKey

log = logging.getLogger(__name__)

_MOST_RESTARTS_A_POLL = 4
_MOST_TRIES_A_POLL = 2
_USELESS = frozenset({NOT_INITIALIZED, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})
"""After these nothing in that process will work again; a fresh one may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRequest:
    """The steps that one poll is to read.

    `find` tells which watched tokens are in the results of the step `token`, and in which slots; `steps` what is due
    of those tokens. `known` are the slots of the last sweep: in a sweep a hint which to ask last, so that a lone
    token's call has nearly the whole time; in other polls the tokens to ask.
    """

    sweep: bool
    find: Callable[[Iterable[Result]], Mapping[TokenKey, int]]
    steps: Callable[[Iterable[TokenKey]], Sequence[tuple[str, TokenKey]]]
    known: Mapping[TokenKey, int] = field(default_factory=dict)
    store: str = ""


@dataclass(frozen=True, slots=True)
class _Ask:
    """One step on one slot of the present process; `key` is None for the reading of the token itself."""

    step: str
    slot: int
    key: TokenKey | None = None

    @property
    def identity(self) -> tuple[str, TokenKey | int]:
        return self.step, self.slot if self.key is None else self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLaunch(Launch):
    """How a worker is started, and the module it loads."""

    module: str
    reserved: str | None = None
    luna: bool = True


class Fetcher(Children):
    """A source's worker from poll to poll, one at a time, and what it is asked.

    `process` numbers the workers: slot numbers of one mean nothing in another.
    """

    launch: ModuleLaunch

    def __init__(self, launch: ModuleLaunch) -> None:
        super().__init__(launch)
        self.process = 0
        self.is_fresh = True
        """Whether the worker was started in this poll: a fresh one that fails gets no successor."""
        self.loaded: dict[str, Any] = {}
        self.hung_steps: dict[tuple[str, TokenKey | int], None] = {}
        """Steps that hung or crashed when they were last tried, the latest of them last."""
        self._listing: SlotListing | None = None
        """Of the worker that is there; None if that one has not listed its slots."""

    @property
    def functions(self) -> frozenset[str]:
        """Vendor functions of the loaded module."""
        return frozenset(self.loaded.get("functions", ()))

    @property
    def luna(self) -> bool:
        """Whether vendor codes are Luna's."""
        return bool(self.functions)

    @property
    def ulong_bytes(self) -> int:
        """Bytes of the module's CK_ULONG."""
        return int(self.loaded.get("ulong", 8))

    def has_hung(self, step: str) -> bool:
        """Whether that step hung or crashed on any slot when it was last tried."""
        return any(name == step for name, _ in self.hung_steps)

    async def read(self, request: PollRequest, deadline: float) -> RawPoll:
        """One poll. Raises SourceFailure if there is no slot list, or none of the slots answers."""
        self.is_fresh = self.current is None
        self.reap()
        run = _PollRun(self, request, deadline)
        # A listing is of one process, which `_listed` compares: a worker that was retired meanwhile lists anew.
        run.listing = None if request.sweep else self._listing
        self._listing = None  # whatever ends the poll, a worker in an unknown state is asked for its slots again
        await run.until_done()
        self._listing = run.listing
        known = None if request.sweep else request.known
        return run.answers.raw(self.launch.module, self.loaded, ulong_bytes=self.ulong_bytes, known=known)

    async def ready(self, count: Callable[[Sequence[Sequence[Any]]], None], deadline: float) -> ChildProcess:
        """The worker, with the module loaded and initialised. Raises SourceFailure. `count` is given the calls made."""
        if self.current is not None and self.current.unanswered:
            await self.discard()
        if self.current is not None:
            return self.current
        self.is_fresh = True
        self.process += 1
        worker = await self.start()
        request = {"do": "load", "module": self.launch.module, "luna": self.launch.luna}
        worker.send({**request, "reserved": self.launch.reserved})
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
            return not_loaded(self.launch.module, answer)
        return returned(answer["stage"], answer["rv"], None, luna=bool(answer.get("functions")))


class _PollRun:
    """One poll on its way: what is still to be asked, whatever number of processes it takes."""

    def __init__(self, fetcher: Fetcher, request: PollRequest, deadline: float) -> None:
        self.answers = PollAnswers()
        self.listing: SlotListing | None = None
        self._fetcher = fetcher
        self._hung_steps = fetcher.hung_steps
        self._request = request
        self._deadline = deadline
        self._retried: set[tuple[str, TokenKey | int]] = set()
        self._tries: dict[int, int] = {}

    def _left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    async def until_done(self) -> None:
        """Until nothing is left to ask, or no time, or no worker."""
        try:
            while await self._go_on():
                pass
        except SourceFailure as failure:
            # A module that can't be loaded again must not take away what was read already.
            if self.answers.is_empty:
                first = f"{self.answers.trouble}; then " if self.answers.trouble else ""
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
            # After the sweep, so that a file system that hangs cannot take the tokens with it.
            if self._request.store and self.answers.fill is None:
                return await self._fill(worker, listing)
            batch = self._next(listing)
        if not batch:
            # Only a sweep that read every slot proves that a token with a hung step is not there any more.
            if self._request.sweep and len(listing.results) == len(listing.slots):
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
        await self._fetcher.discard()

    async def _listed(self) -> tuple[ChildProcess, SlotListing]:
        """The slots of the process that is there; of one that is fresh, before anything else is asked of it."""
        while True:
            worker = await self._fetcher.ready(self.answers.count, self._deadline)
            if self.listing is not None and self.listing.process == self._fetcher.process:
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
            self.answers.count(answer["calls"])
            if "slots" in answer:
                self.listing = SlotListing(self._fetcher.process, list(answer["slots"]))
                self.answers.listings.append(self.listing)
                self._forget("token", self.listing.slots)
                return worker, self.listing
            reason = returned(answer["stage"], answer["rv"], None, luna=self._fetcher.luna)
            await self._discard()
            if self._is_last():
                raise SourceFailure(f"{reason}: check the HSM and its client")
            self._restarted(reason)

    def _forget(self, step: str, here: Collection[int] | Collection[TokenKey]) -> None:
        """Forget the hangs of slots or tokens that are not there any more."""
        for gone in [each for each in self._hung_steps if each[0] == step and each[1] not in here]:
            del self._hung_steps[gone]

    def _is_last(self) -> bool:
        """Whether a failure is final: a worker that was started in this poll gets no successor, an older one does."""
        return self._fetcher.is_fresh or self.answers.restarts >= _MOST_RESTARTS_A_POLL

    def _restarted(self, reason: str) -> None:
        self.answers.restarts += 1
        self.answers.notes.append(f"{reason}; a fresh worker went on")

    def _note_trouble(self, reason: str) -> None:
        """The first reason is the one people see; a second one, if another process failed in its own way."""
        before = self.answers.trouble
        self.answers.trouble = f"{before}; then {reason}" if before else reason

    def _tokens_to_read(self, listing: SlotListing) -> list[_Ask]:
        """Slots not read in this process, but for those that were trouble: they come last."""
        rest = [slot for slot in listing.slots if slot not in listing.results and slot not in listing.failed]
        late = set(self._request.known.values())
        asks = [_Ask("token", slot) for slot in sorted(rest, key=late.__contains__)]
        return [ask for ask in asks if ask.identity not in self._hung_steps]

    def _next(self, listing: SlotListing) -> list[_Ask]:
        """What is due of the tokens that were found; then, one by one, slots that were trouble."""
        return self._steps_to_ask(listing) or self._late(listing)[:1]

    def _late(self, listing: SlotListing) -> list[_Ask]:
        """Slots that were trouble, in a sweep; they can wait for the next one otherwise.

        The latest comes last: what failed in an earlier process may have another number by now.
        """
        rest = [_Ask("token", slot) for slot in listing.slots if slot not in listing.results]
        rest = [ask for ask in rest if ask.identity in self._hung_steps and ask.slot not in listing.failed]
        order = list(self._hung_steps)
        late = [ask for ask in rest if self._tries.get(ask.slot, 0) < _MOST_TRIES_A_POLL]
        return sorted(late, key=lambda ask: order.index(ask.identity)) if self._request.sweep else []

    def _steps_to_ask(self, listing: SlotListing) -> list[_Ask]:
        found = listing.tokens
        keys = [key for key in found if self._request.sweep or key in self._request.known]
        done = {*self.answers.answers, *self.answers.failed}
        asks = [_Ask(step, found[key], key) for step, key in self._request.steps(keys) if (step, key) not in done]
        return sorted(asks, key=lambda ask: ask.identity in self._hung_steps)

    def _all_failed(self, listing: SlotListing) -> str | None:
        """Why, if every slot (every one that had a token before) failed by return value.

        Slots that hung or crashed are not among these results, and had a fresh worker.
        """
        known = set(self._request.known.values())
        slots = [result for slot, result in listing.results.items() if slot in known] or [*listing.results.values()]
        if not slots or self.answers.trouble or listing not in self.answers.listings:
            return None
        about_token = ABSENT | (STATEMENTS if self._fetcher.luna else frozenset())
        for result in slots:
            last = result.calls[-1]
            if result.payload[1] is not None or last.value in about_token or last.value == OK:
                return None
        last = slots[0].calls[-1]
        return returned(last.function, last.value, slots[0].slot, luna=self._fetcher.luna)

    async def _fill(self, worker: ChildProcess, listing: SlotListing) -> bool:
        """Sizes of an object store; a file system that hangs costs the worker, not the loop."""
        worker.send({"do": "fill", "directory": self._request.store})
        try:
            # Half of what is left: the token's own readings are still to come.
            self.answers.fill = await worker.answer(self._left() / 2)
        except ChildLost as lost:
            self.answers.fill = {"error": str(lost)}
            self.answers.restarts += 1
            await self._discard()
            return bool(self._next(listing))
        return True

    async def _stream(self, worker: ChildProcess, listing: SlotListing, waiting: list[_Ask]) -> None:
        """Ask for all waiting steps at once and take the answers off the list one by one."""
        worker.send({"do": "read", "steps": [[ask.step, ask.slot] for ask in waiting]})
        sent, identify, late = len(waiting), waiting[0].key is None, self._late(listing)
        try:
            while waiting:
                left = self._left()
                # While others wait, a call may take half of what is left; the last one all of it.
                others = len(waiting) > 1 or any(ask != waiting[0] for ask in late)
                answer = await worker.answer(left / 2 if others else left)
                result = Result.from_json(answer, self._fetcher.ulong_bytes)
                self.answers.count(result.calls)
                self._check(result)
                self._take(listing, waiting.pop(0), result)
        except ChildLost as lost:
            # The page counts from the first step that was sent; answers before the fatal one may still be in its pipe.
            lost.behind = max(0, worker.current_step() - (sent - len(waiting)))
            raise
        finally:
            if identify:
                listing.tokens = dict(self._request.find(listing.results.values()))

    def _check(self, result: Result) -> None:
        """Raise ChildLost for an answer after which the process is of no more use."""
        for call in result.calls:
            if call.value in _USELESS:
                raise ChildLost(returned(call.function, call.value, result.slot, luna=self._fetcher.luna))

    def _take(self, listing: SlotListing, ask: _Ask, result: Result) -> None:
        self._hung_steps.pop(ask.identity, None)
        if ask.key is None:
            listing.results[ask.slot] = result
        else:
            self.answers.answers[ask.step, ask.key] = result

    def _has_successor(self, lost: ChildLost, listing: SlotListing, waiting: Sequence[_Ask]) -> bool:
        """Note what was lost with a worker. Whether a fresh one is to go on."""
        fatal, reason = waiting[min(lost.behind, len(waiting) - 1)], str(lost)
        # A crash may have been the process's own trouble, not the step's: it is asked once more of a fresh one. A call
        # that hung has had its time.
        if not lost.hung and fatal.identity not in self._retried and not self._is_last():
            self._retried.add(fatal.identity)
            self._restarted(reason)
            return True
        self.answers.trouble = self.answers.trouble or reason
        self.answers.restarts += 1
        if fatal.key is None:
            listing.failed[fatal.slot] = reason
            # In the next process the number may be another token's, so it is tried there once more: but only once.
            was_late = fatal.identity in self._hung_steps
            self._tries[fatal.slot] = _MOST_TRIES_A_POLL if was_late else self._tries.get(fatal.slot, 0) + 1
        else:
            self.answers.failed[fatal.step, fatal.key] = reason
        # Removed first, so that it becomes the last: `_late` asks in the order of this dict.
        self._hung_steps.pop(fatal.identity, None)
        self._hung_steps[fatal.identity] = None
        return self._is_worth_it(listing)

    def _is_worth_it(self, listing: SlotListing) -> bool:
        """Whether there is more to ask, and the time and patience for it."""
        late = [slot for slot in listing.failed if self._tries.get(slot, 0) < _MOST_TRIES_A_POLL]
        rest = len(self._tokens_to_read(listing)) + len(self._next(listing)) + (len(late) if self._request.sweep else 0)
        if rest and self.answers.restarts > _MOST_RESTARTS_A_POLL:
            log.warning("source %s: the module failed too often, %d calls left", self._fetcher.launch.source, rest)
            return False
        return rest > 0 and self._left() > 0

    def _note_unreached(self) -> None:
        """Whatever was due and not asked has no value, and a reason."""
        if not self.answers.trouble:
            return
        reason = f"not reached in time, because {self.answers.trouble}"
        fullest = self.answers.fullest() if self._request.sweep else None
        for step, key in self._request.steps([*(self._request.known if fullest is None else fullest.tokens)]):
            if (step, key) not in self.answers.answers:
                self.answers.failed.setdefault((step, key), reason)
        if self._request.store and self.answers.fill is None:
            self.answers.fill = {"error": reason}
