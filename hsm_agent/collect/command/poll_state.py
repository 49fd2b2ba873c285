"""Readings of a poll of commands, and what is carried to the next one. Pure.

A series never vanishes in silence: one that a run printed before and does not print now has no value and a reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.collect.identity import Names
from hsm_agent.collect.series import KEPT_POINTS, Fact, KnownSeries, Point, audit_fill_facts, unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from hsm_agent.collect.command.parsers.text import ParsedOutput
    from hsm_agent.collect.identity import KnownObjects, ObjectIdentity
    from hsm_agent.model import Reading

_NO_SERIES: KnownSeries[Fact] = KnownSeries()
MOST_MISSING = 4000
"""Missing series that are remembered of each run: as many as one output may have."""

NOT_PRINTED = "the command does not print it any more"
ABSENT = "the token is not present"
PRESENT = "token_present"


class PollState:
    """What is known of one source. Runs are told apart by their position in the configuration."""

    def __init__(
        self,
        source: str,
        *,
        resource: str,
        expected: Iterable[str],
        audit_capacity: int,
        listing: Collection[int] = (),
    ) -> None:
        """`listing` are the runs that list tokens: while one of them cannot be read, it may have any of them."""
        self.gone: tuple[str, ...] = ()
        """Of the last poll: resources that are not there under that name any more, nor missed."""
        self._source = source
        self._resource = resource
        self._expected = tuple(expected)
        self._audit_capacity = audit_capacity
        self._listing = frozenset(listing)
        self._names = Names()
        self._known: dict[int, KnownSeries[Fact]] = {}
        self._points: dict[int, tuple[Point, ...]] = {}
        self._there: set[str] = set()
        self._called: set[str] = set()
        self._gone: set[str] = set()
        self._whole: set[int] = set()
        self._is_unsure = False
        """Of the poll that is being written down: tokens found, their labels and serial numbers, names that are no
        more, runs known to be complete, and whether one is not."""

    @property
    def seen(self) -> KnownObjects:
        """The tokens that are missed from now on when they are not there, by run and name."""
        return self._names.known

    def remember(self, seen: KnownObjects) -> None:
        """Tokens that were seen before this process began."""
        self._names.known = {run: dict(tokens) for run, tokens in seen.items()}

    def read(self, run: int, parsed: ParsedOutput, at: float) -> list[Reading]:
        """Readings of a run's output, and of what it misses."""
        facts = self._take(run, parsed, at)
        known = self._known[run]
        now = {fact.key for fact in facts}
        there = {resource for resource, metric, _ in now if metric == PRESENT}
        self._there |= there
        if parsed.whole:
            self._whole.add(run)
        elif there or self._tokens(run):
            self._is_unsure = True
        gone = self._tokens(run) - there if parsed.whole else set()
        # A series that never had a value is not missed.
        learnt = (fact for fact in facts if fact.value is not None or fact.key in known.facts)
        self._known[run] = known = known.updated(learnt, most_missing=MOST_MISSING)
        lost = [
            unavailable(fact, ABSENT if fact.resource in gone else NOT_PRINTED)
            for fact in known.missing(now)
            if not (fact.metric == PRESENT and fact.resource in gone)
        ]
        return [fact.reading(self._source, at) for fact in (*facts, *lost)]

    def _take(self, run: int, parsed: ParsedOutput, at: float) -> list[Fact]:
        """The facts of a run's output under the names of the tokens they are of."""
        names, gone = self._names.give(run, parsed.tokens) if parsed.tokens else ({}, set())
        self._called |= {name for token in parsed.tokens.values() for name in (token.label, token.serial)}
        self._known[run] = self._known.get(run, _NO_SERIES).without(gone)
        self._gone |= gone
        facts = [replace(fact, resource=names.get(fact.resource, fact.resource)) for fact in parsed.facts]
        called = {names[key]: token for key, token in parsed.tokens.items()}
        return [self._named(fact, called.get(fact.resource)) for fact in (*facts, *self._audit(run, parsed, at))]

    def fail(self, run: int, reason: str, at: float) -> list[Reading]:
        """Everything that was ever read of a run has no value now."""
        self._is_unsure = self._is_unsure or run in self._listing or bool(self._tokens(run))
        known = self._known.get(run, _NO_SERIES)
        return [unavailable(fact, reason).reading(self._source, at) for fact in known.facts.values()]

    def finish(self, at: float) -> list[Reading]:
        """The end of a poll: tokens that were there, or should be, and are in none of the complete outputs."""
        seen = {name: token for run in self._whole for name, token in self._seen(run).items()}
        missed = {name: token for name, token in seen.items() if name not in self._there}
        wanted = self._expected if self._whole and not self._is_unsure else ()
        met = {*self._there, *missed, *self._called}
        met |= {name for token in missed.values() if token for name in (token.label, token.serial)}
        missed |= dict.fromkeys(name for name in wanted if name not in met)
        facts = [self._named(Fact(metric=PRESENT, value=0, resource=name), missed[name]) for name in sorted(missed)]
        self.gone = tuple(sorted(self._gone - self._there - missed.keys()))
        self._there, self._called, self._gone, self._whole, self._is_unsure = set(), set(), set(), set(), False
        return [fact.reading(self._source, at) for fact in facts]

    def forget(self, resource: str) -> bool:
        """Stop missing a resource. False if it was not known."""
        found = self._names.forget(resource)
        for run, known in self._known.items():
            self._known[run] = known.without({resource})
            found = found or len(self._known[run].facts) < len(known.facts)
        return found

    def _tokens(self, run: int) -> set[str]:
        return set(self._seen(run))

    def _seen(self, run: int) -> dict[str, ObjectIdentity | None]:
        """Tokens that a run has listed, by name; of one that a pattern lists nothing but the name is known."""
        found = dict.fromkeys(self._known.get(run, _NO_SERIES).resources(PRESENT))
        return {**found, **self._names.known.get(run, {})}

    def _named(self, fact: Fact, token: ObjectIdentity | None) -> Fact:
        """A fact of the whole device bears the name the operator gave; a token that is expected says so.

        One that is missing is not what was expected while another one of that label is there.
        """
        if fact.metric == PRESENT:
            names = {fact.resource} if token is None else {fact.resource, token.label, token.serial}
            if not fact.value:
                names -= self._called
            fact = replace(fact, labels=(("expected", "true" if names & {*self._expected} else "false"),))
        return fact if fact.resource else replace(fact, resource=self._resource)

    def _audit(self, run: int, parsed: ParsedOutput, at: float) -> list[Fact]:
        """Fill and forecast of the audit store, where its records were counted."""
        records = next((fact for fact in parsed.facts if fact.metric == "audit_records"), None)
        if records is None:
            return []
        count = None if records.value is None else int(records.value)
        if count is not None:
            self._points[run] = (*self._points.get(run, ()), (at, count))[-KEPT_POINTS:]
        return [
            Fact("audit_capacity_records", self._audit_capacity),
            *audit_fill_facts(self._points.get(run, ()), count, self._audit_capacity, records.reason),
        ]
