"""The readings of one poll while it is parsed, and the memory that a source carries from one poll to the next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from hsm_agent.collect.pkcs11.token import hsm_of
from hsm_agent.collect.series import Fact, KnownSeries, unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hsm_agent.collect.pkcs11.recording import RawPoll
    from hsm_agent.collect.pkcs11.token import TokenIdentity, TokenKey
    from hsm_agent.collect.series import Point
    from hsm_agent.model import Labels, Reading

Topic = tuple[str, str]
"""What an error is about: the step and the resource; `token` without one is the sweep."""
SWEEP: Topic = ("token", "")
STORE: Topic = ("fill", "")
Pairs = tuple[tuple[int, int], ...]
ShownIds = Literal["all"] | tuple[int, ...]
Clock = tuple[int, int]
"""Time the HSM was up, and time it was idle, in the same unit."""
_NO_SERIES: KnownSeries[Fact] = KnownSeries()
_MOST_MISSING = 1024
"""Series of one resource that are kept though they are not read any more: ids of capabilities and policies, say."""


class AnswerError(Exception):
    """An answer that cannot be decoded; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseOptions:
    """The settings of a source as far as parsing needs them, under the names of `Pkcs11Settings`."""

    name: str
    tokens: tuple[str, ...] = ("*",)
    memory_total: Mapping[str, int] = field(default_factory=dict)
    sessions_max: Mapping[str, int] = field(default_factory=dict)
    sessions_scope: str = "auto"
    audit_capacity: int = 198120
    capabilities: ShownIds = (1, 7, 12, 37)
    policies: ShownIds = ()
    store_directory: str = ""
    store_capacity: int = 0


@dataclass(frozen=True, slots=True)
class TokenSlot:
    """A watched token in a slot, and what its readings are called."""

    resource: str
    identity: TokenIdentity
    key: TokenKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PollMemory:
    """Carried from poll to poll. Only `seen` is written to disk."""

    process: int = 0
    """The worker whose slot numbers are those of `tokens`."""
    tokens: Mapping[int, TokenSlot] = field(default_factory=dict)
    listed: frozenset[int] = frozenset()
    """Slots of the last sweep, those without a token included."""
    seen: Mapping[str, TokenIdentity] = field(default_factory=dict)
    series: Mapping[str, KnownSeries[Fact]] = field(default_factory=dict)
    """By resource: what becomes unavailable when its token cannot be read."""
    audit: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    """Time up and time idle, by resource, as they were last read."""
    sets: Mapping[tuple[str, str], Pairs] = field(default_factory=dict)
    """Capabilities and policies, by step and resource, as they were last read."""
    logged: frozenset[str] = frozenset()
    """Remarks that the log has already: HA groups of which no member is watched, steps that are refused."""
    sessions_refused: frozenset[str] = frozenset()
    unsupported: frozenset[tuple[str, TokenKey]] = frozenset()
    """Steps that make no sense for a token, so that the present worker is not asked again."""
    unsupported_before: frozenset[tuple[str, TokenKey]] = frozenset()
    """Those of the workers before: the present one is asked once more, but nothing that is known comes from them."""
    errors: Mapping[Topic, tuple[str, ...]] = field(default_factory=dict)
    """What failed when it was last tried: it stands until it is tried again, however often others are read."""

    def for_fresh_worker(self) -> PollMemory:
        """What stays when the worker is replaced: what a slot refused or did not know may be allowed or there now."""
        here = self.slots()
        # Both: what was not due since the worker before was replaced is still as it was then.
        before = frozenset(asked for asked in self.unsupported | self.unsupported_before if asked[1] in here)
        return replace(self, unsupported=frozenset(), unsupported_before=before)

    def without(self, resources: Collection[str], *, there: Collection[str] = ()) -> PollMemory:
        """Without what an operator forgot; of those that are `there` only what is missed of them."""
        seen = {name: token for name, token in self.seen.items() if name not in resources or name in there}
        series = {name: known for name, known in self.series.items() if name not in resources}
        return replace(self, seen=seen, series=series)

    def slots(self) -> dict[TokenKey, int]:
        """The slots of the last sweep, by token."""
        return {token.key: slot for slot, token in self.tokens.items()}


class ParseState:
    """One poll while it is parsed."""

    def __init__(self, raw: RawPoll, options: ParseOptions, memory: PollMemory) -> None:
        self.raw = raw
        self.options = options
        self.memory = memory
        self.readings: list[Reading] = []
        self._facts: dict[str, list[Fact]] = {}
        self._errors: dict[Topic, list[str]] = {}
        self.tokens: Mapping[int, TokenSlot] = memory.tokens
        self.failed: dict[int, TokenSlot] = {}
        self.seen: Mapping[str, TokenIdentity] = memory.seen
        self.audit = dict(memory.audit)
        self.clocks = dict(memory.clocks)
        self.sets = dict(memory.sets)
        self.logged = set(memory.logged)
        self.remarks: list[str] = []
        self.unsupported = set(memory.unsupported)
        self.unsupported_before = set(memory.unsupported_before)
        self.sessions_refused = set(memory.sessions_refused)
        self.forgotten: set[str] = set()

    def add(self, resource: str, facts: Iterable[Fact], at: float) -> None:
        """Add facts as readings of a resource."""
        hsm, known = self._hsm(resource), self._facts.setdefault(resource, [])
        for fact in facts:
            known.append(fact)
            self.readings.append(fact.reading(self.options.name, at, hsm, resource))

    def _hsm(self, resource: str) -> str:
        """The HSM a token is on, as far as its serial number tells; a group's slot is on none in particular."""
        if not self.raw.luna or self.labels_known(resource, "ha_members_up"):
            return ""
        found = (token for token in (*self.tokens.values(), *self.failed.values()) if token.resource == resource)
        token = next(found, None)
        identity = token.identity if token is not None else self.memory.seen.get(resource)
        return hsm_of(identity.serial) if identity is not None else ""

    def fail(self, topic: Topic, error: str) -> None:
        """Add an isolated failure."""
        self._errors.setdefault(topic, []).append(error)

    def errors(self) -> tuple[str, ...]:
        """What failed in this poll; the sweep comes first, then the order of asking."""
        return tuple(error for errors in self._errors.values() for error in errors)

    def standing(self) -> tuple[str, ...]:
        """What failed in an earlier poll and was not tried again."""
        return tuple(error for errors in self._not_tried_again().values() for error in errors)

    def _not_tried_again(self) -> dict[Topic, tuple[str, ...]]:
        tried = {SWEEP} if self.raw.slots is not None else set()
        tried |= {STORE} if self.raw.fill is not None else set()
        asked = {*self.raw.results, *self.raw.failed}
        tried |= {(step, self.tokens[slot].resource) for step, slot in asked if slot in self.tokens}
        here = {"", *(token.resource for token in self.tokens.values())}
        return {topic: was for topic, was in self.memory.errors.items() if topic not in tried and topic[1] in here}

    def lose(self, resource: str, reason: str, *, but: Collection[str] = ()) -> None:
        """Make every series that was ever read of a resource unavailable."""
        known = self.memory.series.get(resource, _NO_SERIES).facts.values()
        self.add(resource, [unavailable(fact, reason) for fact in known if fact.metric not in but], self.raw.time)

    def labels_known(self, resource: str, metric: str) -> list[Labels]:
        """The labels under which a metric of a resource was read before."""
        known = self.memory.series.get(resource, _NO_SERIES).facts.values()
        return [fact.labels for fact in known if fact.metric == metric]

    def presence(self, *, present: bool | None, expected: bool, reason: str = "") -> Fact:
        """`token_present`, which says whether the configuration names exactly this token."""
        labels = (("expected", "true" if expected else "false"),)
        return Fact("token_present", None if present is None else int(present), reason, labels)

    def with_refusals(self, resource: str, facts: Sequence[Fact]) -> list[Fact]:
        """A token that refuses sessions is full, where its own count says nothing to the contrary."""
        if resource not in self.sessions_refused:
            return list(facts)
        full = Fact("token_sessions_used_percent", 100.0)
        return [full if fact.metric == full.metric and fact.value is None else fact for fact in facts]

    def memory_afterwards(self) -> PollMemory:
        """The memory for the next poll."""
        series = dict(self.memory.series)
        for resource, facts in self._facts.items():
            series[resource] = series.get(resource, _NO_SERIES).updated(facts, most_missing=_MOST_MISSING)
        for resource in self.forgotten:
            series.pop(resource, None)
        return replace(
            self.memory,
            # Between two sweeps slot numbers stay those of the last one, whatever process was asked since.
            process=self.memory.process if self.raw.slots is None else self.raw.process,
            listed=self.memory.listed if self.raw.slots is None else frozenset(self.raw.slots),
            errors={
                **self._not_tried_again(),
                **{topic: tuple(errors) for topic, errors in self._errors.items()},
            },
            tokens={**self.tokens, **self.failed},
            seen=self.seen,
            series=series,
            audit=self.audit,
            clocks=self.clocks,
            sets=self.sets,
            logged=frozenset(self.logged),
            sessions_refused=frozenset(self.sessions_refused),
            unsupported=frozenset(self.unsupported),
            unsupported_before=frozenset(self.unsupported_before),
        )
