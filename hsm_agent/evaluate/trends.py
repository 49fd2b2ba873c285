"""Histories: minima of equal windows for a slow leak, points for a straight line (forecast) and for rates.

Values in, values out. A history is bounded, and small enough to be written down whenever it changes.
No rate is invented where a history has a gap.

Unusual growth distinguishes a slow leak from a busy morning within the hour. It must be steady: the minima of twelve
short windows lie along a rising line, and each quarter of them goes on rising. A connection pool that opens is a step;
a load that wanders does not follow a line. And it must be unusual: twice the growth at the same time of day on each of
the last days. A busy morning was busy yesterday, too.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from math import floor, inf, sqrt
from operator import mul
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import DAY, HOUR, STEADY_WINDOWS, WINDOWS, rate_spacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EVENNESS = 0.1
"""No rise from window to window may be smaller than this share of the average one. A busy morning is a few large
rises and then noise, whose minima rise by chance every other day; a leak rises evenly."""
MINIMUM_SHARE = 0.25
"""A line is drawn once the history spans this share of what it is to be drawn over (7.5 of 30 days) ..."""
MINIMUM_POINTS = 12
"""... and consists of so many points."""
TOLERANCE = 1 / 3
"""How old a point may be beyond the time it is taken for, as a share of the time that is looked back."""
NEEDED_WINDOWS = 9
"""So many of the twelve windows must have a value; with fewer nothing is decided."""
CLEARNESS = 3.5
"""The rise must be so many times the minima's scatter about their line."""
LEAST_SCATTER = 0.3
"""Lower bound of the scatter: whole numbers scatter by this much."""
UNUSUAL = 2.0
"""Growth is unusual at so many times the usual growth."""
BEYOND = 1.25
"""What the six long windows rise to must be so many times the highest minimum known from before."""
NEAR_SECONDS = 75 * 60.0
"""Usual growth is looked for so long before and after the time of day, for delays and daylight saving time."""
FIRST_DAY_PER_HOUR = 0.2
"""While there is no earlier day to compare with, only growth slower than this share of the level an hour counts (a
morning opens pools many times faster), ..."""
FIRST_DAY_SHARE = 0.75
"""... and only if it is no tail of a faster growth: nothing that long has grown so much more since the beginning."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyGrowth:
    """A steady growth: the level it began at, and by how much it rose, both along its line."""

    start: float
    rise: float


def steady(windows: Windows | None, *, at_least: float) -> SteadyGrowth | None:
    """The growth along the last twelve windows, if there is any; LookupError while too few have a value."""
    lows = windows.lows[-STEADY_WINDOWS:] if windows is not None else ()
    points = [(float(number), low) for number, low in enumerate(lows) if low is not None]
    # The values must span nearly all windows, too: a gap at one end would shorten the line.
    if len(points) < NEEDED_WINDOWS or points[-1][0] - points[0][0] < STEADY_WINDOWS - 2:
        raise LookupError
    # Least squares over the numbers of the windows: a window without a value is a gap and shifts nothing.
    count = len(points)
    middle, mean = sum(age for age, _ in points) / count, sum(low for _, low in points) / count
    slope = sum((age - middle) * (low - mean) for age, low in points) / sum((age - middle) ** 2 for age, _ in points)
    rise = slope * (STEADY_WINDOWS - 1)
    # Standard error of the minima about their line, which uses up two degrees of freedom.
    scatter = sqrt(sum((low - mean - slope * (age - middle)) ** 2 for age, low in points) / (count - 2))
    if rise < max(at_least, CLEARNESS * max(scatter, LEAST_SCATTER)) or not _each_quarter_rises(points):
        return None
    return SteadyGrowth(start=mean + slope * (points[0][0] - middle), rise=rise)


def _each_quarter_rises(points: Sequence[tuple[float, float]]) -> bool:
    size = STEADY_WINDOWS // 4
    quarters = [[low for age, low in points if age // size == part] for part in range(4)]
    if not all(quarters):
        return False
    means = [sum(part) / len(part) for part in quarters]
    return all(after > before for before, after in pairwise(means))  # a single step leaves two of them level


def is_unusual(growth: SteadyGrowth, points: Points | None, *, time: float, span: float, against: float) -> bool:
    """Whether no day within `against` had half as much growth over `span`, near this time of day."""
    usual = max(_near(points, time, span, against), default=None)
    if usual is not None:
        return growth.rise >= UNUSUAL * usual
    # No earlier day to compare with: only slow growth that is no tail of a faster one counts.
    if growth.rise > FIRST_DAY_PER_HOUR * span / HOUR * max(growth.start, 1.0):
        return False
    return growth.rise >= FIRST_DAY_SHARE * max(_all_before(points, time, span), default=0.0)


def is_beyond(points: Points | None, low: float, *, before: float) -> bool:
    """Whether a level is well above all minima until then: rising over half a day alone is usual."""
    seen = points.values[: bisect_right(points.times, before)] if points is not None else ()
    return low >= BEYOND * max(seen, default=0.0)


def _near(points: Points | None, time: float, span: float, against: float) -> Iterator[float]:
    """Growth over `span` on the days before, near this time of day."""
    if points is None:
        return
    for day in range(1, int(against // DAY) + 1):
        centre = time - day * DAY
        first = bisect_right(points.times, centre - NEAR_SECONDS)
        for index in range(first, bisect_right(points.times, centre + NEAR_SECONDS)):
            yield from _grown(points, index, span)


def _all_before(points: Points | None, time: float, span: float) -> Iterator[float]:
    """Growth over any `span` that ended before this one began."""
    if points is None:
        return
    for index in range(bisect_right(points.times, time - span)):
        yield from _grown(points, index, span)


def _grown(points: Points, index: int, span: float) -> Iterator[float]:
    """Growth over the `span` before a point, if there is a point at its beginning."""
    before = bisect_right(points.times, points.times[index] - span) - 1
    # A point far before the beginning would add growth of an earlier time.
    if before >= 0 and points.times[index] - span - points.times[before] <= span / 2:
        yield max(0.0, points.values[index] - points.values[before])
