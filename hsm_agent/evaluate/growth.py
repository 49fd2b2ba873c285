"""Unusual growth: distinguishes a slow leak from a busy morning within the hour. Pure.

Growth must be steady: the minima of twelve short windows lie along a rising line, and each quarter of them goes on
rising. A connection pool that opens is a step; a load that wanders does not follow a line. And growth must be unusual:
twice the growth at the same time of day on each of the last days. A busy morning was busy yesterday, too.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import DAY, HOUR, STEADY_WINDOWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hsm_agent.evaluate.trends import Points, Windows

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
