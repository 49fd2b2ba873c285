"""Tells an event that a receiver can't take from a receiver that takes nothing now. Pure: no I/O, no clock of its own.

A receiver's state must never cost an event: one that answers with errors for a while, ends sessions or does not answer
does so whatever it is sent. So an event that it refuses, or on which alone five sessions in a row ended, is only *set
aside* at first: others go around it, and it is tried again and again. It is guilty once three trials went against it.
In a trial another message was accepted, then the event failed twice in a row, and at once after that a heartbeat was
accepted: a receiver that refuses every other message convicts nobody, nor does one that takes only so many a second.
The first trial needs a real event to be accepted before; for the others a heartbeat will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SESSIONS = 5
TRIALS = 3
FIRST_SECONDS, LAST_SECONDS = 0.5, 60.0
LONG_SECONDS = 30.0
"""An event that has been refused for so long counts as undelivered, though it is still tried."""
_MOST_ASIDE = 1000


@dataclass(slots=True)
class _Case:
    """What is known against one event that is set aside. Times are the caller's."""

    since: float
    due: float = 0.0
    pause: float = FIRST_SECONDS
    trials: int = 0
    others: bool = False
    """Something was accepted since its last failure."""
    receiver_is_well: bool = False
    """A real event was accepted since it was set aside."""
    again: bool = False
    """It failed once since something was accepted: the second try decides."""
    on_trial: bool = False
    """It failed twice: whether the receiver still takes something decides."""
    was_tried: bool = False
    """It failed once since the receiver came into doubt."""
    is_long: bool = False


class Suspicion:
    """What is known against events of one sink, by sequence number, and what may be sent next."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._alone: int | None = None
        self._sessions = 0
        self._cases: dict[int, _Case] = {}
        self._well = True
        self._fresh_next = False
        self.limit = window
        """How many events the next batch may hold: one after a failure, twice as many after each success."""
        self.long_refused = 0
        """How many events were not taken for half a minute or longer, so far."""
        self.in_doubt = False
        """Nothing was accepted since the last failure that is no known event's own."""

    @property
    def aside(self) -> frozenset[int]:
        """Events that others go around."""
        return frozenset(self._cases)

    def turn_of(self, now: float) -> int | None:
        """The event set aside whose turn it is; None: the turn is that of the others."""
        if self.in_doubt:
            # One that failed before and one that was not tried yet take turns: whatever is accepted, it is known then.
            return None if self._fresh_next else next(iter(self._cases), None)
        due = [seq for seq, case in self._cases.items() if case.due <= now]
        return next((seq for seq in due if self._cases[seq].again), next(iter(due), None))

    def no_others(self) -> None:
        """Nothing else waits: the turn is that of the events set aside."""
        self._fresh_next = False

    def due_in(self, now: float, otherwise: float) -> float:
        """In how many seconds one of them is to be tried; `otherwise` if there is none."""
        if self.in_doubt and self._cases:
            return 0.0
        return min((max(0.0, case.due - now) for case in self._cases.values()), default=otherwise)

    def wants_witness(self, seq: int) -> bool:
        """Whether a heartbeat must be accepted before the next try says anything."""
        case = self._cases.get(seq)
        if case is None or not case.receiver_is_well or case.others or case.again:
            return False
        # What a receiver in doubt takes now and then should be an event.
        return case.was_tried or not self.in_doubt

    def wants_proof(self) -> bool:
        """Whether a heartbeat must be tried before anything else, to tell whether the receiver is what failed."""
        return any(case.on_trial for case in self._cases.values())

    def failed(self, batch: Sequence[int], *, sent: bool, now: float) -> None:
        """These were not accepted. `sent`: the session was up, and ended when the first of them had been sent."""
        self.limit = 1
        alone = batch[0] if sent and len(batch) == 1 else None
        if alone in self._cases:
            self._fail(self._cases[alone], now)
            return
        self._doubt(fresh=len(batch) != 1 or batch[0] not in self._cases)
        if alone is None:
            return
        if alone != self._alone:
            self._alone, self._sessions = alone, 0
        self._sessions += 1
        if self._sessions >= SESSIONS:
            self._fail(self._set_aside(alone, now), now)

    def refused(self, seq: int, now: float) -> None:
        """The receiver is there, and does not want this one now."""
        self.limit = 1
        known = self._cases.get(seq)
        if known is None:
            first = self._well
            self._fail(self._set_aside(seq, now), now)
            # After the first refusal another event is tried at once: only a second one speaks against the receiver.
            self.in_doubt, self._fresh_next = not first, first
        else:
            self._fail(known, now)

    def accepted(self, seqs: Sequence[int]) -> None:
        """The receiver accepted these, or a heartbeat (none)."""
        for seq in seqs:
            self._cases.pop(seq, None)
        for case in self._cases.values():
            case.trials += case.on_trial
            case.on_trial = False
            case.receiver_is_well |= bool(seqs)
            case.others |= case.receiver_is_well
            if self.in_doubt:  # it is back: no more waiting
                case.due, case.pause = 0.0, FIRST_SECONDS
        self._alone, self._sessions = None, 0
        self._well, self.in_doubt, self._fresh_next = True, False, False
        self.limit = min(self._window, self.limit * 2)

    def guilty(self) -> int | None:
        """The event that is to be given up: others are taken, and this one never."""
        return next((seq for seq, case in self._cases.items() if case.trials >= TRIALS), None)

    def forget(self, seq: int) -> None:
        """The event is out of the way."""
        self._cases.pop(seq, None)

    def pardon(self) -> None:
        """Take the events as they come again, from the head."""
        self._cases.clear()

    def _set_aside(self, seq: int, now: float) -> _Case:
        if len(self._cases) >= _MOST_ASIDE:  # a long outage: begin anew, at the head
            self._cases.clear()
        self._alone, self._sessions = None, 0
        return self._cases.setdefault(seq, _Case(since=now))

    def _fail(self, case: _Case, now: float) -> None:
        if not case.is_long and now - case.since >= LONG_SECONDS:
            case.is_long = True
            self.long_refused += 1
        self._fresh_next = True
        if not case.receiver_is_well:
            self._doubt(fresh=False)
        case.was_tried = True
        if case.others:
            case.others, case.again = False, True
            case.due = now  # with nothing in between
            return
        case.again, case.on_trial = False, case.again
        case.due = now + case.pause
        case.pause = min(2 * case.pause, LAST_SECONDS)

    def _doubt(self, *, fresh: bool) -> None:
        self._well, self.in_doubt = False, True
        self._fresh_next = not fresh
        for case in self._cases.values():  # what was accepted before says nothing of the receiver now
            case.others = case.again = case.on_trial = case.was_tried = False
