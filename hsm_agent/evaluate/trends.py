"""Histories: minima of equal windows for a slow leak, points for a straight line (forecast) and for rates.

Values in, values out. A history is bounded, and small enough to be written down whenever it changes.
No rate is invented where a history has a gap.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from math import floor, inf
from operator import mul
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import WINDOWS, rate_spacing

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENNESS = 0.1
"""No rise from window to window may be smaller than this share of the average one. A busy morning is a few large
rises and then noise, whose minima rise by chance every other day; a leak rises evenly."""
MINIMUM_SHARE = 0.25
"""A line is drawn once the history spans this share of what it is to be drawn over (7.5 of 30 days) ..."""
MINIMUM_POINTS = 12
"""... and consists of so many points."""
TOLERANCE = 1 / 3
"""How old a point may be beyond the time it is taken for, as a share of the time that is looked back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Minima of the last complete windows, oldest first, and of the one that is running.

    Windows lie at multiples of their length, so a restart finds them where they were. None: no value in that window.
    """

    number: int
    low: float
    lows: tuple[float | None, ...] = ()


def observe(windows: Windows | None, value: float, *, time: float, length: float, keep: int = WINDOWS) -> Windows:
    """The windows with one more value; `keep` is how many complete ones there are at most."""
    number = floor(time / length)
    if windows is None:
        return Windows(number=number, low=value)
    passed = number - windows.number
    if passed < -1:  # the clock was set back: windows written while it was wrong are dropped
        return Windows(number=number, low=value)
    if passed <= 0:
        return windows if value >= windows.low else Windows(number=windows.number, low=value, lows=windows.lows)
    gap: tuple[float | None, ...] = (None,) * min(passed - 1, keep)
    return Windows(number=number, low=value, lows=(*windows.lows, windows.low, *gap)[-keep:])


def newest_low(windows: Windows | None, length: float) -> tuple[float, float] | None:
    """The newest minimum of a complete window, and when that ended. Slow polls leave windows without a value."""
    if windows is None:
        return None
    found = ((low, windows.number - ago) for ago, low in enumerate(reversed(windows.lows)) if low is not None)
    return next(((low, number * length) for low, number in found), None)


def grows(windows: Windows | None, *, at_least: float, raised: bool) -> bool | None:
    """Whether the minima rise strictly, by `at_least` in all; None while a window is missing.

    A `raised` alarm lasts until the newest minimum, that of the running window included, is back at the oldest: a
    single quiet window within a leak must neither clear nor raise it again.
    """
    if windows is None:
        return None
    lows = [low for low in windows.lows[-WINDOWS:] if low is not None]
    if len(lows) < WINDOWS:
        return None
    if min(lows[-1], windows.low) <= lows[0]:
        return False
    rises = [after - before for before, after in pairwise(lows)]
    total = lows[-1] - lows[0]
    # The total is positive here, so minima that rise evenly also rise strictly.
    return raised or (total >= at_least and min(rises) >= EVENNESS * total / len(rises))


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through a history: its value at `origin`, and its slope per second."""

    origin: float
    value: float
    slope: float

    def at(self, time: float) -> float:
        """The line's value at a time."""
        return self.value + self.slope * (time - self.origin)


@dataclass(frozen=True, slots=True)
class Points:
    """The first value of each interval, oldest first. Never changed in place, except for the cache of lines."""

    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    _lines: dict[float, Line | None] = field(default_factory=dict, compare=False, repr=False)

    def add(self, value: float, *, time: float, spacing: float, keep: float, phase: float) -> Points:
        """The points with this value, or the same object where the interval has one already."""
        number = interval(time, spacing, phase)
        end = len(self.times)
        # Points in the future were written before the wall clock was set back.
        while end and self.times[end - 1] > time:
            end -= 1
        if end and interval(self.times[end - 1], spacing, phase) >= number:
            return self if end == len(self.times) else Points(self.times[:end], self.values[:end])
        start = bisect_left(self.times, time - keep, 0, end)
        return Points(self.times[start:end] + array("d", [time]), self.values[start:end] + array("d", [value]))

    def line(self, over: float) -> Line | None:
        """The least-squares line through the last `over` seconds; None where the history is too short."""
        if over not in self._lines:
            self._lines[over] = _draw(self, over)
        return self._lines[over]


def interval(time: float, spacing: float, phase: float) -> int:
    """Number of the interval that contains a time."""
    return floor(time / spacing + phase)


def _draw(points: Points, over: float) -> Line | None:
    if not points.times:
        return None
    origin = points.times[-1]
    start = bisect_left(points.times, origin - over)
    count = len(points.times) - start
    if count < MINIMUM_POINTS or origin - points.times[start] < over * MINIMUM_SHARE:
        return None
    ages = [time - origin for time in points.times[start:]]
    values = points.values[start:]
    mean_age = sum(ages) / count
    mean = sum(values) / count
    # Ages relative to the newest point: squares of UTC seconds would lose the precision that is needed here.
    spread = sum(map(mul, ages, ages)) - count * mean_age * mean_age
    slope = (sum(map(mul, ages, values)) - count * mean_age * mean) / spread
    return Line(origin=origin, value=mean - slope * mean_age, slope=slope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A rate now, and the rate then."""

    now: float
    then: float

    @property
    def difference(self) -> float:
        """The absolute difference."""
        return abs(self.now - self.then)

    @property
    def percent(self) -> float:
        """The difference as percentage of the rate then; infinite where that was 0."""
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
    # The rate then is the increase up to that point, so the point before it is needed as well.
    if points is None or then is None or recent is None or then == 0:
        return None
    began, ended = points.times[then - 1], points.times[then]
    if ended - began > tolerance:  # a gap: the increase may have come at any time within it
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
