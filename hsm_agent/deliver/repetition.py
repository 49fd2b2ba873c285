"""What is told again to a receiver that forgets: when it is due, and the part of it whose turn it is. No I/O.

It goes in parts, so that an event never waits for ten thousand repetitions. What the receiver is told between two parts
makes the rest of them old: an alarm that ended meanwhile must not be told again.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hsm_agent.deliver.base import Repeater, ToldAlarm

PART = 128
"""Alarms."""


class Repetition:
    """Which alarms a sink that repeats is to repeat next."""

    def __init__(
        self, repeater: Repeater, told_alarms: Callable[[], Sequence[ToldAlarm]], clock: Callable[[], float]
    ) -> None:
        """The first repetition is due at once."""
        self._repeater = repeater
        self._told_alarms = told_alarms
        self._clock = clock
        self._at = clock()
        self._left: dict[str, ToldAlarm] = {}
        self._first: list[str] = []
        self._is_old = False
        self.gives_way = False
        """A part was told: what else waits has its turn before the next one."""

    def due_in(self) -> float:
        """Seconds until it is due; not above zero while parts are left."""
        return 0.0 if self._left else self._at - self._clock()

    def was_told(self) -> None:
        """The receiver was told something else."""
        self._is_old = True

    def next_part(self) -> list[ToldAlarm]:
        """The alarms of the next part; none where nothing is on."""
        self.gives_way = True
        if not self._left:
            self._at = self._clock() + self._repeater.repeat_seconds
            self._left = self._on_now(self._first)
            self._first = []
        elif self._is_old:
            fresh = self._on_now(self._left)
            self._left = {name: fresh[name] for name in self._left if name in fresh}
        self._is_old = False
        return [self._left.pop(name) for name in list(islice(self._left, PART))]

    def failed(self, part: Sequence[ToldAlarm]) -> None:
        """The receiver did not take it. The next repetition begins with what is left, and not with that again."""
        self._first = [*self._left, *(alarm.event.alarm_id for alarm in part)]
        self._left = {}

    def _on_now(self, first: Iterable[str]) -> dict[str, ToldAlarm]:
        found = {alarm.event.alarm_id: alarm for alarm in self._told_alarms()}
        return {name: found[name] for name in first if name in found} | found
