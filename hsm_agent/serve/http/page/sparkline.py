"""The last day of a history as the points of an SVG polyline. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.evaluate.trends import Points
    from hsm_agent.serve.snapshot import Snapshot

WIDTH, HEIGHT = 100.0, 24.0
_MOST_POINTS = 96
_LEAST_POINTS = 2

TrendKey = tuple[str, str, str]
"""Source, resource and metric."""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """`points` as SVG's polyline takes them, in a box of WIDTH by HEIGHT; lowest and highest value of the day."""

    points: str
    lowest: float
    highest: float


def histories(present: Snapshot) -> dict[TrendKey, Points]:
    """The finest history of each series without labels."""
    found: dict[TrendKey, tuple[float, Points]] = {}
    for ((source, resource, metric, labels), spacing), points in present.histories.items():
        key = (source, resource, metric)
        if not labels and (key not in found or spacing < found[key][0]):
            found[key] = spacing, points
    return {key: points for key, (_, points) in found.items()}


def sparkline(points: Points, *, now: float, top: float | None) -> Sparkline | None:
    """The last day; None where there are not two points. `top` is the value at the upper edge, None for the highest."""
    day = [(at, value) for at, value in zip(points.times, points.values, strict=True) if now - DAY <= at <= now]
    if len(day) < _LEAST_POINTS:
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


def trends_of(known: Mapping[TrendKey, Points], source: str, resource: str) -> dict[str, Points]:
    """The histories of a token's bars, by the name of the bar."""
    metrics = {
        "memory": "token_memory_private_used_percent",
        "storage": "token_storage_used_percent",
        "sessions": "token_sessions",
        "audit store": "audit_used_percent",
    }
    return {name: known[key] for name, metric in metrics.items() if (key := (source, resource, metric)) in known}
