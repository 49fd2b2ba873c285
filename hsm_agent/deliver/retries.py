"""When what was not accepted is tried again: the pauses after a failure, and the events that others go around. Pure.

An event that a receiver can't take (poison) must be told from a receiver that takes nothing now.

The state of a receiver must never cost an event: one that answers with errors for a while, ends sessions or does not
answer does so whatever it is sent. So an event that is refused, or that was the only one in flight when five sessions
in a row ended, is *set aside* first: others go around it, and it is tried again and again.

It is poison after three trials. In a trial another message was accepted, then the event failed twice in a row, and at
once after that a heartbeat was accepted. A receiver that refuses every second message fails no event in that way, nor
does one that takes only so many messages a second. Before the first trial a real event must have been accepted; before
the others a heartbeat is enough.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SESSIONS = 5
TRIALS = 3
FIRST_SECONDS, LAST_SECONDS = 0.5, 60.0
"""Of the pauses."""
LONG_SECONDS = 30.0
"""An event that has been refused for so long counts as undelivered, though it is still tried."""
_MOST_ASIDE = 1000


class Backoff:
    """Pauses after failures: at random between half a second and a ceiling that doubles up to a minute.

    At random, so that agents which lost one receiver together do not come back together.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance` gives numbers from 0 to 1."""
        self._chance = chance
        self._failures = 0

    def next(self, asked_seconds: float = 0.0) -> float:
        """Seconds to pause after one more failure; no less than the receiver asked for, up to the longest pause."""
        self._failures = min(self._failures + 1, 10)  # the ceiling is reached long before
        ceiling = min(LAST_SECONDS, FIRST_SECONDS * 2.0**self._failures)
        own = FIRST_SECONDS + self._chance() * (ceiling - FIRST_SECONDS)
        return max(own, min(asked_seconds, LAST_SECONDS))

    def reset(self) -> None:
        """The receiver acknowledged something."""
        self._failures = 0


@dataclass(slots=True)
class _Suspect:
    """One event that is set aside. Times are the caller's."""

    since: float
    due: float = 0.0
    pause_seconds: float = FIRST_SECONDS
    trials: int = 0
    others: bool = False
    """Something was accepted since its last failure."""
    receiver_is_well: bool = False
    """A real event was accepted since it was set aside."""
    again: bool = False
    """It failed once since something was accepted: the second try decides."""
    on_trial: bool = False
    """It failed twice: a heartbeat decides whether that was a trial or the receiver's failure."""
    was_tried: bool = False
    """It failed once since the receiver came into doubt."""
    is_long: bool = False


class PoisonDetector:
    """The events of one sink that are set aside, by sequence number, and what may be sent next."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._alone: int | None = None
        self._sessions = 0
        self.aside: dict[int, _Suspect] = {}
        """The events that are set aside, by sequence number."""
        self._well = True
        self._fresh_next = False
        self.limit = window
        """How many events the next batch may hold: one after a failure, twice as many after each success."""
        self.long_refused = 0
        """How many events were not taken for half a minute or longer, so far."""
        self.in_doubt = False
        """Nothing was accepted since the last failure that may be the receiver's."""

    def turn_of(self, now: float) -> int | None:
        """The event set aside whose turn it is; None: the turn is that of the others."""
        if self.in_doubt:
            # One that failed before and one that was not tried yet take turns: if either is accepted, the receiver is
            # back, and the other one is judged by itself again.
            return None if self._fresh_next else next(iter(self.aside), None)
        due = [seq for seq, suspect in self.aside.items() if suspect.due <= now]
        return next((seq for seq in due if self.aside[seq].again), next(iter(due), None))

    def no_others(self) -> None:
        """Nothing else waits: it is the turn of the events set aside."""
        self._fresh_next = False

    def due_in(self, now: float, otherwise: float) -> float:
        """In how many seconds one of them is to be tried; `otherwise` if there is none."""
        if self.in_doubt and self.aside:
            return 0.0
        return min((max(0.0, suspect.due - now) for suspect in self.aside.values()), default=otherwise)

    def wants_heartbeat_before(self, seq: int) -> bool:
        """Whether a heartbeat must be accepted before the next try says anything."""
        suspect = self.aside.get(seq)
        if suspect is None or not suspect.receiver_is_well or suspect.others or suspect.again:
            return False
        # A receiver in doubt that takes a message now and then should get an event, not a heartbeat.
        return suspect.was_tried or not self.in_doubt

    def wants_heartbeat(self) -> bool:
        """Whether a heartbeat must be sent before anything else, to find out whether the receiver failed."""
        return any(suspect.on_trial for suspect in self.aside.values())

    def failed(self, batch: Sequence[int], *, sent: bool, now: float) -> None:
        """These were not accepted. `sent`: the session was up, and ended when the first of them had been sent."""
        self.limit = 1
        alone = batch[0] if sent and len(batch) == 1 else None
        if alone in self.aside:
            self._fail(self.aside[alone], now)
            return
        self._doubt(fresh=len(batch) != 1 or batch[0] not in self.aside)
        if alone is None:
            return
        if alone != self._alone:
            self._alone, self._sessions = alone, 0
        self._sessions += 1
        if self._sessions >= SESSIONS:
            self._fail(self._set_aside(alone, now), now)

    def refused(self, seq: int, now: float) -> None:
        """The receiver answered, and refused this event."""
        self.limit = 1
        known = self.aside.get(seq)
        if known is None:
            first = self._well
            self._fail(self._set_aside(seq, now), now)
            # After the first refusal another event is tried at once: only a second one puts the receiver in doubt.
            self.in_doubt, self._fresh_next = not first, first
        else:
            self._fail(known, now)

    def accepted(self, seqs: Sequence[int]) -> None:
        """The receiver accepted these, or a heartbeat (none)."""
        for seq in seqs:
            self.aside.pop(seq, None)
        for suspect in self.aside.values():
            suspect.trials += suspect.on_trial
            suspect.on_trial = False
            suspect.receiver_is_well |= bool(seqs)
            suspect.others |= suspect.receiver_is_well
            if self.in_doubt:  # it is back: no more waiting
                suspect.due, suspect.pause_seconds = 0.0, FIRST_SECONDS
        self._alone, self._sessions = None, 0
        self._well, self.in_doubt, self._fresh_next = True, False, False
        self.limit = min(self._window, self.limit * 2)

    def poisonous(self) -> int | None:
        """The event to give up, if there is one: others are accepted, and it never is."""
        return next((seq for seq, suspect in self.aside.items() if suspect.trials >= TRIALS), None)

    def forget(self, seq: int) -> None:
        """The event was dropped or is a dead letter."""
        self.aside.pop(seq, None)

    def clear(self) -> None:
        """Set nothing aside any more: events are sent in their order again."""
        self.aside.clear()

    def _set_aside(self, seq: int, now: float) -> _Suspect:
        if len(self.aside) >= _MOST_ASIDE:  # that many are an outage: begin anew, in order
            self.aside.clear()
        self._alone, self._sessions = None, 0
        return self.aside.setdefault(seq, _Suspect(since=now))

    def _fail(self, suspect: _Suspect, now: float) -> None:
        if not suspect.is_long and now - suspect.since >= LONG_SECONDS:
            suspect.is_long = True
            self.long_refused += 1
        self._fresh_next = True
        if not suspect.receiver_is_well:
            self._doubt(fresh=False)
        suspect.was_tried = True
        if suspect.others:
            suspect.others, suspect.again = False, True
            suspect.due = now  # again at once: nothing else may be sent between the two tries
            return
        suspect.again, suspect.on_trial = False, suspect.again
        suspect.due = now + suspect.pause_seconds
        suspect.pause_seconds = min(2 * suspect.pause_seconds, LAST_SECONDS)

    def _doubt(self, *, fresh: bool) -> None:
        self._well, self.in_doubt = False, True
        self._fresh_next = not fresh
        # What was accepted before says nothing about the receiver now.
        for suspect in self.aside.values():
            suspect.others = suspect.again = suspect.on_trial = suspect.was_tried = False
