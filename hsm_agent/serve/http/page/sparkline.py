"""The last day of a history as the points of an SVG polyline. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import DAY
from hsm_agent.serve.days import last_day

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.evaluate.trends import Points

WIDTH, HEIGHT = 100.0, 24.0
_MOST_POINTS = 96
_LEAST_POINTS = 2
_LEAST_SECONDS = 3600.0
"""What is shorter is a dot of that day, and no line."""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """`points` as SVG's polyline takes them, in a box of WIDTH by HEIGHT; lowest and highest value of the day."""

    points: str
    lowest: float
    highest: float


def sparkline(points: Points, *, now: float, top: float | None) -> Sparkline | None:
    """The last day; None where there are not two points an hour apart.

    `top` is the value at the upper edge, None for the highest.
    """
    day = last_day(points, now)
    if len(day) < _LEAST_POINTS or day[-1][0] - day[0][0] < _LEAST_SECONDS:
        return None
    values = [value for _, value in day]
    upper = max(values) if top is None else top
    scale = HEIGHT / upper if upper > 0 else 0.0
    drawn = [
        f"{WIDTH * (1 - (now - at) / DAY):.1f},{HEIGHT - min(HEIGHT, max(0.0, value * scale)):.1f}"
        for at, value in _thinned(day)
    ]
    return Sparkline(" ".join(drawn), min(values), max(values))


def _thinned(day: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most so many points as can be told apart, the newest among them."""
    step = -(-len(day) // _MOST_POINTS)
    return day[::-1][::step][::-1]
