"""The schedule of a source: when each group of steps is due. Pure: the clocks are arguments."""

from __future__ import annotations

import datetime as dt
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Group(Enum):
    """Steps that are read together, at one interval."""

    SWEEP = "sweep"
    AUDIT = "audit"
    STORAGE = "storage"
    INVENTORY = "inventory"
    LIVENESS = "liveness"
    OBJECTS = "objects"


_TOGETHER_SECONDS = 0.2
"""Groups that are due within this time are read at once, so that multiples of one interval share a poll."""


class Schedule:
    """When each group is due next, in seconds of the monotonic clock. Everything is due at the start."""

    def __init__(self, periods: Mapping[Group, float | None], inventory_at: dt.time) -> None:
        self._periods = dict(periods)
        self._inventory_at = inventory_at
        self._next: dict[Group, float] = {}

    def due(self, now: float) -> frozenset[Group]:
        """What is to be read now; a group whose period is None never is."""
        groups = [*self._active(), Group.INVENTORY]
        return frozenset(group for group in groups if self._next.get(group, now) <= now + _TOGETHER_SECONDS)

    def _active(self) -> Iterable[Group]:
        return (group for group, period in self._periods.items() if period is not None)

    def set_period(self, group: Group, period: float | None) -> None:
        """Change a rhythm, from the group's next time on; None stops it."""
        self._periods[group] = period

    def done(self, groups: Iterable[Group], started: float, wall: dt.datetime) -> None:
        """Plan the next time of what was read in the poll that started then. `wall` is local time."""
        for group in groups:
            if group is Group.INVENTORY:
                self._next[group] = started + seconds_until(self._inventory_at, wall)
                continue
            period = self._periods.get(group) or 0.0
            planned = self._next.get(group, started) + period
            # Keep the phase; after a missed interval begin a new one, rather than poll several times to catch up.
            self._next[group] = planned if planned > started else started + period

    def again(self, group: Group, at: float) -> None:
        """Plan a group for an earlier time than its own rhythm does."""
        self._next[group] = min(at, self._next.get(group, at))

    def next_in(self, now: float) -> float:
        """Seconds until something is due."""
        return max(0.0, min((self._next.get(group, now) for group in self._active()), default=now) - now)


def seconds_until(at: dt.time, wall: dt.datetime) -> float:
    """Seconds from a local time to the next time the clock shows `at`."""
    then = dt.datetime.combine(wall.date(), at, tzinfo=wall.tzinfo)
    if then <= wall:
        then += dt.timedelta(days=1)
    return (then - wall).total_seconds()
