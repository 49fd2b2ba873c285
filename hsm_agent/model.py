"""The values that all rooms share: readings, severities, events, alarms, states of sources and sinks.

Nothing here reads a clock, opens a file or imports another module of the package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from functools import cached_property

Labels = tuple[tuple[str, str], ...]
"""Label names and values, sorted by name: hashable, and equal whenever the sets are equal."""

Series = tuple[str, str, str, Labels]
"""Identity of a reading over time: source, resource, metric, identifying labels."""

AGENT_SOURCE = "agent"
"""The source under which the agent reports on itself."""


class Severity(Enum):
    """Perceived severity, RFC 3877 section 5.4 (ItuPerceivedSeverity).

    Not an IntEnum: the numbers of RFC 3877 do not rise with urgency, so `<` on them would be wrong. Compare `rank`.
    """

    CLEARED = "cleared"
    INDETERMINATE = "indeterminate"
    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    WARNING = "warning"

    # Found once for each member: they are compared for every reading.
    @cached_property
    def number(self) -> int:
        """The enumeration's number in RFC 3877, as the MIB shows it."""
        return _NUMBERS[self]

    @cached_property
    def rank(self) -> int:
        """Urgency, rising from cleared (0) over indeterminate and warning to critical."""
        return _RANKS[self]


_NUMBERS = {
    Severity.CLEARED: 1,
    Severity.INDETERMINATE: 2,
    Severity.CRITICAL: 3,
    Severity.MAJOR: 4,
    Severity.MINOR: 5,
    Severity.WARNING: 6,
}
_RANKS = {
    Severity.CLEARED: 0,
    Severity.INDETERMINATE: 1,
    Severity.WARNING: 2,
    Severity.MINOR: 3,
    Severity.MAJOR: 4,
    Severity.CRITICAL: 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One measured value, or that it is unavailable and why.

    `value` is None when there is no data; `reason` then says why, and is empty otherwise. `math.inf` means "never" (an
    audit store that is not filling). `time` is UTC, in seconds since the epoch. `limit` is a level that the source
    declares for this reading (a sensor's maximum); a rule refers to it as `own`. `note` is text from the source besides
    the number, made fit to be shown; it is not part of the reading's identity. `hsm` names the HSM that the object is
    on, where the source knows it.
    """

    source: str
    resource: str
    metric: str
    value: float | int | None
    time: float
    labels: Labels = ()
    reason: str = ""
    limit: float | None = None
    note: str = ""
    hsm: str = ""

    @property
    def series(self) -> Series:
        """The identity of the reading over time.

        The labels of an `..._info` metric are its content (a firmware version), not its identity.
        """
        labels = () if self.metric.endswith("_info") else self.labels
        return (self.source, self.resource, self.metric, labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownObject:
    """A token, partition, audit store or trail that tables have a row of, as a restart remembers it.

    `identity` are the labels of its `token_info` as read last, None for what is no token. `is_audited`: it has an audit
    store, or is a trail.
    """

    source: str
    resource: str
    identity: Labels | None = None
    is_audited: bool = False


class EventKind(Enum):
    """Kind of an event; the value is the MSGID of RFC 5424."""

    RAISED = "ALARM_RAISED"
    CHANGED = "ALARM_CHANGED"
    CLEARED = "ALARM_CLEARED"
    TEST = "TEST"
    HEARTBEAT = "HEARTBEAT"
    NOTICE = "NOTICE"
    """An action of an operator or of the agent itself: a new configuration, a silence, a forgotten alarm."""


_LEFT_OUT_IF_EMPTY = {"missing": ""}
"""For `codec`: older versions stored no empty text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One message for all sinks: a transition of an alarm, a test, a heartbeat or a notice.

    `event_id` is the same at every sink and at every retry; `alarm_id` is shared by all events of one alarm
    from raise to clear, and empty where there is no alarm. `value` and `threshold` are decimal text as shown
    to people, empty where there is none. `time` is when it happened (UTC seconds), not when it is sent.
    `labels` are the agent's, the source's and the reading's own, merged.
    """

    event_id: str = field(metadata=_LEFT_OUT_IF_EMPTY)
    kind: EventKind
    severity: Severity
    time: float
    text: str = field(metadata=_LEFT_OUT_IF_EMPTY)
    agent: str = field(metadata=_LEFT_OUT_IF_EMPTY)
    alarm_id: str = ""
    source: str = ""
    resource: str = ""
    metric: str = ""
    value: str = ""
    unit: str = ""
    threshold: str = ""
    rule: str = ""
    runbook: str = ""
    cause: str = ""
    """Probable cause, a mnemonic of IANAItuProbableCause."""
    labels: Labels = ()


class Guarantee(Enum):
    """How far a sink's deliveries can be relied on; the value is shown in status, documentation and MIB."""

    BEST_EFFORT = "best effort"
    AT_LEAST_ONCE = "at least once"


def number_text(value: float | None) -> str:
    """A value as decimal text without noise or exponent: `75`, `75.1`, `0.000012`, `inf`; empty for None."""
    if value is None:
        return ""
    if isinstance(value, int) or not math.isfinite(value):
        return str(int(value) if isinstance(value, int) else value)
    if value == int(value):
        return str(int(value))
    text = f"{value:.6g}" if abs(value) < _SIX_DIGITS else repr(value)
    return format(Decimal(text), "f") if "e" in text else text


_SIX_DIGITS = 1e6


class SourceState(Enum):
    """Status of a source; the value is its number in the MIB."""

    UNKNOWN = 1
    UP = 2
    DEGRADED = 3
    DOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """State of a source. `last_success` is on the monotonic clock, None before the first."""

    name: str
    kind: str
    every_seconds: float
    state: SourceState = SourceState.UNKNOWN
    last_success: float | None = None
    last_poll_seconds: float | None = None
    failures: int = 0
    last_error: str = ""


class SinkState(Enum):
    """Status of a sink; the value is its number in the MIB."""

    IDLE = 1
    UP = 2
    RETRYING = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """State of a sink. `failing_since` is on the monotonic clock, None while it accepts events.

    `refused`: events it did not take for half a minute or longer since the start; it may have taken them later.
    """

    name: str
    kind: str
    guarantee: Guarantee
    state: SinkState = SinkState.IDLE
    queued: int = 0
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    refused: int = 0
    failing_since: float | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used, and how much memory it has."""

    cpu_seconds: float
    resident_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveAlarm:
    """An alarm that is raised now: its latest event, since when, and whether a silence holds it back.

    `severity` is the current one; `event` is the last notification, or the one that is held back.
    """

    alarm_id: str
    rule: str
    series: Series
    severity: Severity
    since: float
    event: Event
    silenced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentIdentity:
    """What each message says of the agent itself."""

    agent_name: str
    host_name: str
    version: str
    enterprise_id: int


class GroupRole(Enum):
    """What an agent does for its group; the number is that of the MIB."""

    SINGLE = "single"
    """There is no group."""
    LEADER = "leader"
    """Judges and tells."""
    STANDBY = "standby"
    """Follows."""
    ALONE = "alone"
    """No quorum can exist: judges and tells for itself."""
    ISOLATED = "isolated"
    """There may be a quorum elsewhere: tells of itself only."""

    @property
    def number(self) -> int:
        """The enumeration's number in the MIB."""
        return list(GroupRole).index(self) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """A member of the group, as another one sees it. `seconds_since_seen`: None where it never was."""

    name: str
    role: GroupRole
    is_up: bool
    seconds_since_seen: float | None
    version: str = ""
    sources_up: int = 0
    sources_expected: int = 0
    config_differs: bool = False
    """From the configuration of the agent that looks."""
    clock_offset_seconds: float | None = None
    """By how much its clock is ahead of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """The group as this agent sees it now."""

    group: str
    name: str
    """The agent's own."""
    role: GroupRole
    epoch: int = 0
    """Of the leader that is followed, or of this agent's own leading; 0 where none is known."""
    leader: str = ""
    """Empty where none is known."""
    beat_age_seconds: float | None = None
    lag_seconds: float | None = None
    """By how much what is followed is behind; None where it is not known."""
    untold: int = 0
    """Shared events that wait for a sink."""
    is_caught_up: bool = False
    is_connected: bool = False
    differs: bool = False
    """Whether the configuration of a member that is up differs from this one's."""
    problem: str = ""
    """Why the group is not well for this agent; empty while it is."""
    members: tuple[MemberStatus, ...] = ()
    commit_seconds: float | None = None
    """How long the last commit took."""
    takeovers_total: int = 0
    """How often this agent has taken over the lead since it started."""
    fenced_total: int = 0
    """How often it was told that it leads no more by what it wanted to write."""
