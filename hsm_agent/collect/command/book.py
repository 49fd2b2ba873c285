"""Readings of a poll of commands, and what is carried to the next one. Pure.

It must not let anything vanish in silence: what a run once brought and does not bring now has no value and a reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.collect.audit_forecast import KEPT_POINTS, Point, seconds_to_full
from hsm_agent.collect.shell.text import Fact
from hsm_agent.model import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.collect.shell.text import Parsed

Place = tuple[str, str, tuple[tuple[str, str], ...]]
"""Resource, metric, and identifying labels."""

KEPT_PLACES = 8000
"""How many readings of a run are remembered, to miss them when they are gone."""

NOT_PRINTED = "the command does not print it any more"
ABSENT = "the token is not present"
PRESENT = "token_present"
AUDIT_METRICS = ("audit_capacity_records", "audit_used_percent", "audit_seconds_to_full")


def place_of(fact: Fact) -> Place:
    """What makes two facts the same one at different times; labels of `..._info` are its content."""
    return fact.resource, fact.metric, () if fact.metric.endswith("_info") else fact.labels


def _tokens(known: dict[Place, Fact]) -> set[str]:
    return {resource for resource, metric, _ in known if metric == PRESENT}


class Book:
    """What is known of one source. Runs are told apart by their position in the configuration."""

    def __init__(self, source: str, *, resource: str, expected: Iterable[str], audit_capacity: int) -> None:
        self._source = source
        self._resource = resource
        self._expected = tuple(expected)
        self._audit_capacity = audit_capacity
        self._known: dict[int, dict[Place, Fact]] = {}
        self._points: dict[int, tuple[Point, ...]] = {}
        self._there: set[str] = set()
        self._whole: set[int] = set()
        self._is_unsure = False
        """Of the poll that is being written down: tokens found, runs known to be complete, and whether one is not."""

    def read(self, run: int, parsed: Parsed, at: float) -> list[Reading]:
        """Readings of a run's output, and of what it misses."""
        facts = [self._named(fact) for fact in (*parsed.facts, *self._audit(run, parsed, at))]
        known = self._known.setdefault(run, {})
        now = {place_of(fact): fact for fact in facts}
        there = {resource for resource, metric, _ in now if metric == PRESENT}
        self._there |= there
        if parsed.whole:
            self._whole.add(run)
        elif there or _tokens(known):
            self._is_unsure = True
        gone = _tokens(known) - there if parsed.whole else set()
        lost = [
            replace(fact, value=None, reason=ABSENT if fact.resource in gone else NOT_PRINTED, limit=None)
            for place, fact in known.items()
            if place not in now and not (fact.metric == PRESENT and fact.resource in gone)
        ]
        known |= {place: fact for place, fact in now.items() if fact.value is not None or place in known}
        # Names that change from poll to poll are the device's fault, but memory is ours.
        for place in [place for place in known if place not in now][: max(0, len(known) - KEPT_PLACES)]:
            del known[place]
        return [self._reading(fact, at) for fact in (*facts, *lost)]

    def fail(self, run: int, reason: str, at: float) -> list[Reading]:
        """Everything that was ever read of a run has no value now."""
        known = self._known.get(run, {})
        self._is_unsure = self._is_unsure or bool(_tokens(known))
        return [self._reading(replace(fact, value=None, reason=reason, limit=None), at) for fact in known.values()]

    def finish(self, at: float) -> list[Reading]:
        """The end of a poll: tokens that were there, or should be, and are in none of the complete outputs."""
        seen = {name for run in self._whole for name in _tokens(self._known[run])}
        wanted = set(self._expected) if self._whole and not self._is_unsure else set()
        missed = (seen | wanted) - self._there
        self._there, self._whole, self._is_unsure = set(), set(), False
        return [self._reading(self._named(Fact(metric=PRESENT, value=0, resource=name)), at) for name in sorted(missed)]

    def forget(self, resource: str) -> bool:
        """Stop missing a resource. False if it was not known."""
        found = False
        for known in self._known.values():
            for place in [place for place in known if place[0] == resource]:
                del known[place]
                found = True
        return found

    def _named(self, fact: Fact) -> Fact:
        """A fact of the whole device bears the name the operator gave; a token that is expected says so."""
        if fact.metric == PRESENT:
            fact = replace(fact, labels=(("expected", "true" if fact.resource in self._expected else "false"),))
        return fact if fact.resource else replace(fact, resource=self._resource)

    def _audit(self, run: int, parsed: Parsed, at: float) -> list[Fact]:
        """Fill and forecast of the audit store, where its records were counted."""
        records = next((fact for fact in parsed.facts if fact.metric == "audit_records"), None)
        if records is None:
            return []
        capacity = Fact(metric=AUDIT_METRICS[0], value=self._audit_capacity)
        if records.value is None:
            return [capacity, *(Fact(metric=name, value=None, reason=records.reason) for name in AUDIT_METRICS[1:])]
        count = int(records.value)
        self._points[run] = (*self._points.get(run, ()), (at, count))[-KEPT_POINTS:]
        return [
            capacity,
            Fact(metric=AUDIT_METRICS[1], value=100 * count / self._audit_capacity),
            Fact(metric=AUDIT_METRICS[2], value=seconds_to_full(self._points[run], self._audit_capacity)),
        ]

    def _reading(self, fact: Fact, at: float) -> Reading:
        return Reading(
            source=self._source,
            resource=fact.resource,
            metric=fact.metric,
            value=fact.value,
            time=at,
            labels=fact.labels,
            reason=fact.reason,
            limit=fact.limit,
        )
