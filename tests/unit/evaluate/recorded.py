"""Recorded series: what a source showed over hours or weeks, and the events it must lead to.

A value may stand as [value, how many times]; "inf" is never, null is unavailable. `expect` lists rule, kind, severity and
seconds since the first reading of every event.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsm_agent.model import Labels

FOLDER = Path(__file__).parents[2] / "data" / "series"
Expected = tuple[str, str, str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One series. `version` is given where the labels change: from which reading on, and to what."""

    name: str
    rule: str
    source: str
    resource: str
    metric: str
    every: float
    values: tuple[float | None, ...]
    expect: tuple[Expected, ...]
    labels: Labels
    labels_after: tuple[int, Labels]
    limit: float | None

    def labels_at(self, index: int) -> Labels:
        since, labels = self.labels_after
        return labels if labels and index >= since else self.labels


def _spread(values: list[Any]) -> tuple[float | None, ...]:
    spread: list[float | None] = []
    for item in values:
        value, times = item if isinstance(item, list) else (item, 1)
        spread += [inf if value == "inf" else value] * times
    return tuple(spread)


def load(path: Path) -> Recorded:
    fields = json.loads(path.read_text())
    after = fields.get("labels_after", {"from": 0, "labels": {}})
    return Recorded(
        name=path.stem,
        rule=fields["rule"],
        source=fields["source"],
        resource=fields["resource"],
        metric=fields["metric"],
        every=fields["every"],
        values=_spread(fields["values"]),
        expect=tuple((rule, kind, severity, at) for rule, kind, severity, at in fields["expect"]),
        labels=tuple(sorted(fields.get("labels", {}).items())),
        labels_after=(after["from"], tuple(sorted(after["labels"].items()))),
        limit=fields.get("limit"),
    )


ALL = tuple(load(path) for path in sorted(FOLDER.glob("*.json")))
