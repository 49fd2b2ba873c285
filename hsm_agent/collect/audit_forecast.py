"""When the audit store of an HSM will be full, going by its last fill levels. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Point = tuple[float, int]
"""When, and how many records there were."""

_FEWEST_RISING = 3
_SLOPE_POINTS = 5
_FILLING_FROM_PERCENT = 5
KEPT_POINTS = 20
"""How many readings of a store are worth remembering."""


def seconds_to_full(points: Sequence[Point], capacity: int) -> float:
    """Time until the audit store is full at its present slope; infinite while it is not filling.

    Said only once 5 % are used and three readings have risen: a burst that is drained at once is no forecast.
    """
    if not points:
        return math.inf
    now = points[-1][1]
    if now >= capacity:
        return 0.0
    rising = [points[-1]]
    for point in reversed(points[:-1]):
        if point[1] >= rising[-1][1] or point[0] >= rising[-1][0]:
            break
        rising.append(point)
    if len(rising) < _FEWEST_RISING or now * 100 < capacity * _FILLING_FROM_PERCENT:
        return math.inf
    first = rising[min(len(rising), _SLOPE_POINTS) - 1]
    return (capacity - now) * (points[-1][0] - first[0]) / (now - first[1])
