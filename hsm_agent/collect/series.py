"""The series of a source: what a poll has read, and what earlier polls read and this one did not. Pure.

One rule for every kind of source: a series that was read before and is missing now does not vanish. It is unavailable,
with a reason, until it is read again or its object is forgotten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from hsm_agent.model import Labels, Reading

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence

SeriesKey = tuple[str, str, Labels]
"""Resource, metric, and the labels that tell series apart. Those of a metric `…_info` are its content and do not."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One value of one metric, or the reason why there is none. `limit` is a level that the source itself gives."""

    metric: str
    value: float | int | None
    reason: str = ""
    labels: Labels = ()
    limit: float | None = None
    resource: str = ""

    @property
    def key(self) -> SeriesKey:
        """The series of this fact."""
        return self.resource, self.metric, () if self.metric.endswith("_info") else self.labels

    def reading(self, source: str, time: float, hsm: str = "", resource: str | None = None) -> Reading:
        """The fact as a reading of a source, and of `resource` where the fact names none. `time` is UTC seconds."""
        return Reading(
            source=source,
            resource=self.resource if resource is None else resource,
            metric=self.metric,
            value=self.value,
            time=time,
            labels=self.labels,
            reason=self.reason,
            limit=self.limit,
            hsm=hsm,
        )


F = TypeVar("F", bound=Fact)


def unavailable(fact: F, reason: str) -> F:
    """The same series without a value."""
    return replace(fact, value=None, reason=reason, limit=None)


@dataclass(frozen=True, slots=True)
class KnownSeries(Generic[F]):
    """The series that polls have read, each with its last fact."""

    facts: Mapping[SeriesKey, F] = field(default_factory=dict)

    def missing(self, present: Container[SeriesKey]) -> Iterator[F]:
        """Known series that are not among the present ones, the latest missed first."""
        return (fact for key, fact in self.facts.items() if key not in present)

    def updated(self, facts: Iterable[F], *, most_missing: int) -> KnownSeries[F]:
        """With the facts of a poll. Of the missing series the latest are kept: a source that keeps renaming its
        objects would fill the memory.
        """
        present = {fact.key: fact for fact in facts}
        missing = [fact for _, fact in zip(range(most_missing), self.missing(present), strict=False)]
        return KnownSeries({**present, **{fact.key: fact for fact in missing}})

    def without(self, resources: Collection[str]) -> KnownSeries[F]:
        """Without the series of these resources."""
        return KnownSeries({key: fact for key, fact in self.facts.items() if key[0] not in resources})

    def resources(self, metric: str) -> list[str]:
        """The resources that have a series of this metric, in order of first appearance."""
        return list(dict.fromkeys(resource for resource, name, _ in self.facts if name == metric))


def without_forgotten(readings: Iterable[Reading], forgotten: Container[str]) -> Iterator[Reading]:
    """Readings of a poll without what it still misses of resources that an operator forgot while it was on its way."""
    for reading in readings:
        is_missed = reading.value is None or (reading.metric == "token_present" and not reading.value)
        if not is_missed or reading.resource not in forgotten:
            yield reading


Point = tuple[float, int]
"""When, and how many records there were."""

_FEWEST_RISING = 3
_SLOPE_POINTS = 5
_FILLING_FROM_PERCENT = 5
KEPT_POINTS = 20
"""How many readings of a store are worth remembering."""


def audit_fill_facts(points: Sequence[Point], records: int | None, capacity: int, reason: str) -> list[Fact]:
    """Fill and forecast of an audit store of `capacity` records; `reason` says why its records were not counted."""
    if records is None:
        return [Fact("audit_used_percent", None, reason), Fact("audit_seconds_to_full", None, reason)]
    return [
        Fact("audit_used_percent", 100 * records / capacity),
        Fact("audit_seconds_to_full", seconds_to_full(points, capacity)),
    ]


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
