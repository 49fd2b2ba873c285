"""What is known of each agent of a fleet, from one look at its reports to the next. Pure.

Silence is measured by this agent's own monotonic clock, from the look that found a report changed: the clock of an
agent that publishes may be wrong. Only how old a report was when it was first seen is taken from the time in it, and
of a report that came between two looks no more than lies between them.

An agent is not taken for silent before this one could have heard it: after a start, and after a time in which etcd
could not be read, each has as long as it may be silent to publish again. Until then it is unknown, which neither raises
an alarm nor clears one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hsm_agent.wire.agent_report import NoReportError, decode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hsm_agent.wire.agent_report import AgentReport

LEAST_SILENCE_SECONDS = 120.0
_INTERVALS = 3
_USUAL_SECONDS = 60.0
"""The interval of an agent whose report cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What stands under the key of an agent, and the revision of etcd that put it there."""

    value: bytes
    revision: int
    trouble: str = ""
    """Why there is no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """When etcd was read. `monotonic` and `wall` (UTC) are seconds."""

    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """An agent's report as it was found, and since when it is that one.

    `report` is None, and `trouble` says why, where it could not be read. `age_seconds` is how old it was when it was
    seen first, at `seen_at` on the monotonic clock. `offset_seconds` is how far the agent's clock is ahead of this
    host's at least, None until it published between two looks.
    """

    revision: int
    report: AgentReport | None
    trouble: str
    seen_at: float
    age_seconds: float
    offset_seconds: float | None = None
    is_silent: bool | None = False
    """None: it may be, but could not have been heard."""

    def silent_seconds(self, monotonic: float) -> float:
        """For how long nothing was published."""
        return self.age_seconds + max(0.0, monotonic - self.seen_at)

    def patience_seconds(self, silent_after: float | None) -> float:
        """How long it may be silent: `silent_after`, or three of its own intervals, two minutes at least."""
        if silent_after is not None:
            return silent_after
        every = _USUAL_SECONDS if self.report is None else self.report.every_seconds
        return max(LEAST_SILENCE_SECONDS, _INTERVALS * every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """That nothing stands under an expected agent's name: from a look on, on the monotonic clock."""

    since: float
    patience_seconds: float
    """After so long it is missing: it may have had no time yet to publish, as where etcd lost its data."""

    def is_missing(self, monotonic: float) -> bool:
        """Whether the agent could have been heard, and was not."""
        return monotonic - self.since >= self.patience_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """All agents that were seen, by name, and of the expected ones those of which there is nothing.

    `last` is the last look that reached etcd, `since` the first of those that all did.
    """

    agents: Mapping[str, Sighting] = field(default_factory=dict)
    absent: Mapping[str, Absence] = field(default_factory=dict)
    last: Look | None = None
    since: Look | None = None

    def failed(self) -> Sightings:
        """After a look that did not reach etcd."""
        return replace(self, since=None, absent={})

    def updated(
        self,
        found: Mapping[str, Stored],
        look: Look,
        *,
        silent_after: float | None,
        kept: Collection[str] = (),
        expected: Collection[str] = (),
    ) -> Sightings:
        """After a look that found these. Of those that were not found the `kept` are known, but not how they are."""
        since = self.since or look
        listened_for = look.monotonic - since.monotonic
        agents = {
            name: _judged(self._seen(name, stored, look), look, listened_for, silent_after)
            for name, stored in found.items()
        }
        unread = (name for name in kept if name in self.agents and name not in found)
        agents |= {name: replace(self.agents[name], is_silent=None) for name in unread}
        absent = {name: self._absence(name, look, silent_after) for name in expected if name not in agents}
        return Sightings(agents=agents, absent=absent, last=look, since=since)

    def _absence(self, name: str, look: Look, silent_after: float | None) -> Absence:
        if name in self.absent:
            return self.absent[name]
        before = self.agents.get(name)
        usual = _INTERVALS * _USUAL_SECONDS if silent_after is None else silent_after
        patience = usual if before is None else before.patience_seconds(silent_after)
        return Absence(since=look.monotonic, patience_seconds=patience)

    def _seen(self, name: str, stored: Stored, look: Look) -> Sighting:
        before = self.agents.get(name)
        if before is not None and before.revision == stored.revision:
            return before
        report, trouble = _read(stored)
        age = 0.0 if report is None else max(0.0, look.wall - report.time)
        offset = None if before is None else before.offset_seconds
        if self.last is not None:
            age = min(age, look.monotonic - self.last.monotonic)
            offset = offset if report is None else _offset(report.time, self.last.wall, look.wall)
        return Sighting(
            revision=stored.revision,
            report=report,
            trouble=trouble,
            seen_at=look.monotonic,
            age_seconds=age,
            offset_seconds=offset,
        )


def _read(stored: Stored) -> tuple[AgentReport | None, str]:
    """The report, or why there is none."""
    if stored.trouble:
        return None, stored.trouble
    try:
        return decode(stored.value), ""
    except NoReportError as error:
        return None, str(error)


def _judged(sighting: Sighting, look: Look, listened_for: float, silent_after: float | None) -> Sighting:
    patience = sighting.patience_seconds(silent_after)
    has_published = sighting.seen_at == look.monotonic and listened_for > 0  # whatever the time in its report
    if has_published or sighting.silent_seconds(look.monotonic) < patience:
        is_silent: bool | None = False
    else:
        is_silent = True if sighting.is_silent or listened_for >= patience else None
    return sighting if is_silent == sighting.is_silent else replace(sighting, is_silent=is_silent)


def _offset(published: float, earliest: float, latest: float) -> float:
    """How far a clock is ahead at least that read `published` at some time between two of this host's."""
    if published > latest:
        return published - latest
    return min(0.0, published - earliest)
