"""Rates: how fast a counter moves now, and how fast it moved some time ago.

A counter that falls was reset; what it shows afterwards is its increase since. No rate is invented where the
history has a hole.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import rate_spacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.evaluate.trends import Points

TOLERANCE = 1 / 3
"""How old a point may be beyond the time it stands for, as a share of the time that is looked back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A rate now, and the rate then."""

    now: float
    then: float

    @property
    def difference(self) -> float:
        """How far they are apart."""
        return abs(self.now - self.then)

    @property
    def percent(self) -> float:
        """The difference as a share of the rate then; from nothing to something is infinitely more."""
        if self.difference == 0:
            return 0.0
        return inf if self.then == 0 else self.difference / abs(self.then) * 100


def increase(values: Sequence[float]) -> float:
    """How much a counter went up over these values, resets included."""
    return sum(after - before if after >= before else after for before, after in pairwise(values))


def compare_gauge(points: Points | None, value: float, *, time: float, against: float) -> Comparison | None:
    """A value now and `against` seconds ago."""
    then = _index(points, time - against, against * TOLERANCE)
    return None if points is None or then is None else Comparison(now=value, then=points.values[then])


def compare_counter(points: Points | None, value: float, *, time: float, against: float) -> Comparison | None:
    """Increase per second over the last interval, and over the one that ended `against` seconds ago."""
    tolerance = against * TOLERANCE
    then = _index(points, time - against, tolerance)
    recent = _index(points, time - rate_spacing(against), tolerance)
    if points is None or then is None or recent is None or then == 0:
        return None
    began, ended = points.times[then - 1], points.times[then]
    if ended - began > tolerance:
        return None
    return Comparison(
        now=increase([*points.values[recent:], value]) / (time - points.times[recent]),
        then=increase(points.values[then - 1 : then + 1]) / (ended - began),
    )


def _index(points: Points | None, time: float, tolerance: float) -> int | None:
    """Index of the last point at or before a time, unless it is too old to stand for it."""
    if points is None:
        return None
    index = bisect_right(points.times, time) - 1
    return index if index >= 0 and time - points.times[index] <= tolerance else None
