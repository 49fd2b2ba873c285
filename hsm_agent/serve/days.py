"""The last day of what fills up, from the histories that rules keep; nothing is stored for it. Pure."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.evaluate.trends import Points
    from hsm_agent.serve.snapshot import Snapshot

SPANS = 12
"""Of a day in a terminal: two hours each."""

TrendKey = tuple[str, str, str]
"""Source, resource and metric."""

_METRICS = {
    "memory": "token_memory_private_used_percent",
    "storage": "token_storage_used_percent",
    "sessions": "token_sessions",
    "audit store": "audit_used_percent",
}
"""By the name of a bar in `overview`."""


def histories(present: Snapshot) -> dict[TrendKey, Points]:
    """The finest history of each series without labels."""
    found: dict[TrendKey, tuple[float, Points]] = {}
    for ((source, resource, metric, labels), spacing), points in present.histories.items():
        key = (source, resource, metric)
        if not labels and (key not in found or spacing < found[key][0]):
            found[key] = spacing, points
    return {key: points for key, (_, points) in found.items()}


def histories_of(known: Mapping[TrendKey, Points], source: str, resource: str) -> dict[str, Points]:
    """Those of a token, by the name of the bar."""
    return {name: known[key] for name, metric in _METRICS.items() if (key := (source, resource, metric)) in known}


def last_day(points: Points, now: float) -> list[tuple[float, float]]:
    """Times and values, the oldest first."""
    return [(at, value) for at, value in zip(points.times, points.values, strict=True) if now - DAY <= at <= now]


def spans_of_day(day: Sequence[tuple[float, float]], now: float) -> list[float | None]:
    """The highest value of each part of the last day, the oldest first; None where there is none."""
    found: list[float | None] = [None] * SPANS
    for at, value in day:
        part = min(SPANS - 1, max(0, floor((at - (now - DAY)) / DAY * SPANS)))
        before = found[part]
        found[part] = value if before is None else max(before, value)
    return found
