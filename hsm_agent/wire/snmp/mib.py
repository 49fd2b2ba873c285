"""The one table of HSM-AGENT-MIB: every object's arc, name and syntax; how values and notifications are encoded.

The text of the MIB is for people and managers; the agent works from this table, and a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING

from hsm_agent.model import EventKind
from hsm_agent.text import one_line
from hsm_agent.wire.snmp import ber

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.model import Event
    from hsm_agent.wire.snmp.ber import Oid

PRODUCT: ber.Oid = (3, 1)
"""Arc of hsmAgentProduct, the sysObjectID, below the base."""

MAX_TEXT_OCTETS = 255

NEVER = 2**32 - 1
"""What an Unsigned32 says of a time that does not come: an audit store that is not filling is never full."""

CellValue = int | float | str | bytes | bool | ber.Oid
"""What a cell may hold before it is encoded; its syntax says which."""


class Syntax(Enum):
    """How an object's value is written: the names are those of the MIB's textual conventions where it has its own."""

    TEXT = "HsmText"
    PERCENT = "HsmPercent"
    GAUGE64 = "HsmGauge64"
    ENUMERATION = "enumeration"
    DATE = "DateAndTime"
    TRUTH = "TruthValue"
    UNSIGNED32 = "Unsigned32"
    GAUGE32 = "Gauge32"
    COUNTER64 = "Counter64"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, or one scalar of a group: its number and name there."""

    number: int
    name: str
    syntax: Syntax


@dataclass(frozen=True, slots=True)
class Table:
    """A conceptual table. Column 1, the index, is not accessible and not among `columns`."""

    arc: int
    name: str
    columns: tuple[Column, ...]

    def prefix(self, base: ber.Oid, column: Column) -> ber.Oid:
        """The name of a column; an instance has the row's index appended."""
        return (*base, 1, self.arc, 1, column.number)


_Named = tuple[tuple[str, Syntax], ...]


def _all(syntax: Syntax, *names: str) -> _Named:
    return tuple((name, syntax) for name in names)


def _columns(prefix: str, first: int, *groups: _Named) -> tuple[Column, ...]:
    named = (pair for group in groups for pair in group)
    return tuple(Column(number, prefix + name, syntax) for number, (name, syntax) in enumerate(named, first))


def _table(arc: int, name: str, *groups: _Named) -> Table:
    return Table(arc, name, _columns(name, 2, *groups))


_T, _P, _E = Syntax.TEXT, Syntax.PERCENT, Syntax.ENUMERATION
_G32, _G64, _C64 = Syntax.GAUGE32, Syntax.GAUGE64, Syntax.COUNTER64

SCALARS = _columns(
    "hsmAgent",
    1,
    _all(_T, "Version", "Name"),
    _all(Syntax.DATE, "Started"),
    _all(_C64, "Polls"),
    _all(_G32, "ActiveAlarms"),
    _all(_E, "WorstSeverity"),
    _all(_G32, "SpooledEvents"),
    _all(_C64, "DroppedEvents"),
    _all(_E, "Role"),
    _all(_C64, "Epoch"),
)
SOURCE = _table(
    2,
    "hsmSource",
    _all(_T, "Name", "Kind"),
    _all(_E, "Status"),
    _all(_G32, "SecondsSinceSuccess", "LastPollMilliseconds"),
    _all(_C64, "Failures"),
    _all(_T, "LastError"),
)
TOKEN = _table(
    3,
    "hsmToken",
    _all(_T, "Source", "Label", "Serial", "Manufacturer", "Model", "Firmware", "Hardware"),
    _all(Syntax.UNSIGNED32, "SlotId"),
    _all(_E, "Status"),
    _all(_G64, "PrivateMemoryTotal", "PrivateMemoryFree"),
    _all(_P, "PrivateMemoryUsedPercent"),
    _all(_G64, "PublicMemoryTotal", "PublicMemoryFree"),
    _all(_P, "PublicMemoryUsedPercent"),
    _all(_G32, "Sessions", "SessionsMax"),
    _all(_P, "SessionsUsedPercent"),
    _all(_G32, "RwSessions", "RwSessionsMax", "Objects"),
    _all(_G64, "StorageTotal", "StorageUsed"),
    _all(_P, "StorageUsedPercent"),
    _all(_E, "PinStatus", "SoPinStatus"),
    _all(_T, "Resource", "Name"),
)
AUDIT = _table(
    4,
    "hsmAudit",
    _all(_T, "Source", "Resource"),
    _all(_G32, "Records", "Capacity"),
    _all(_P, "UsedPercent"),
    _all(_G32, "SecondsToFull"),
    _all(_E, "Chain"),
    _all(_C64, "Events", "Failures"),
    _all(Syntax.TRUTH, "Filling"),
)
READING = _table(
    5,
    "hsmReading",
    _all(_T, "Source", "Resource", "Metric", "Value", "Unit"),
    _all(_E, "Severity"),
    _all(_G32, "AgeSeconds"),
    _all(_T, "Labels"),
)
ACTIVE = _table(
    6,
    "hsmActive",
    _all(_T, "EventId"),
    _all(_E, "Severity"),
    _all(_T, "Source", "Resource", "Metric", "Value", "Threshold", "Rule", "Text"),
    _all(Syntax.DATE, "Since"),
    _all(_T, "AlarmId"),
    _all(Syntax.TRUTH, "Silenced"),
)
SINK = _table(
    7,
    "hsmSink",
    _all(_T, "Name", "Kind"),
    _all(_E, "Guarantee", "Status"),
    _all(_G32, "Queued"),
    _all(_C64, "Delivered", "Failed", "Dropped"),
    _all(_T, "LastError"),
)
MEMBER = _table(
    9,
    "hsmMember",
    _all(_T, "Name"),
    _all(_E, "Role"),
    _all(Syntax.TRUTH, "Up"),
    _all(_G32, "SecondsSinceSeen"),
    _all(_T, "Version"),
    _all(_G32, "SourcesUp", "SourcesExpected"),
    _all(Syntax.TRUTH, "ConfigDiffers"),
)
TABLES = (SOURCE, TOKEN, AUDIT, READING, ACTIVE, SINK, MEMBER)

ALARM = _columns(
    "hsmAlarm",
    1,
    _all(_T, "EventId"),
    _all(_E, "Severity"),
    _all(_T, "Source", "Resource", "Metric", "Value", "Threshold", "Rule", "Text", "AlarmId"),
    _all(Syntax.DATE, "Time"),
    _all(_T, "Unit", "AgentName", "Runbook", "Kind"),
)
"""What a notification carries, always all and in this order, with instance .0."""

ALARM_ARC: ber.Oid = (1, 8)
"""Arc of the notification objects below the base."""

NOTIFICATIONS: dict[EventKind, tuple[ber.Oid, str]] = {
    EventKind.RAISED: ((0, 1), "hsmAlarmRaised"),
    EventKind.CHANGED: ((0, 2), "hsmAlarmChanged"),
    EventKind.CLEARED: ((0, 3), "hsmAlarmCleared"),
    EventKind.TEST: ((0, 4), "hsmTestNotification"),
    EventKind.HEARTBEAT: ((0, 5), "hsmHeartbeat"),
    EventKind.NOTICE: ((0, 6), "hsmAgentNotice"),
}
"""Arc below the base and name of the notification for each kind of event."""


def text_octets(text: str) -> bytes:
    """UTF-8 of at most 255 octets, cut between characters; runs of control characters become one space."""
    octets = one_line(text).encode()
    if len(octets) <= MAX_TEXT_OCTETS:
        return octets
    return octets[:MAX_TEXT_OCTETS].decode("utf-8", errors="ignore").encode()


def decimal_text(number: str) -> str:
    """A value as model.number_text writes it, with a number for "never": a manager reads no `inf`."""
    return str(NEVER) if number == "inf" else number


def date_and_time(seconds: float) -> bytes:
    """DateAndTime (RFC 2579) of a UTC time in seconds since the epoch: eleven octets, offset +0:0."""
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    tenths = moment.microsecond // 100_000
    clock = (moment.month, moment.day, moment.hour, moment.minute, moment.second, tenths)
    return moment.year.to_bytes(2, "big") + bytes(clock) + b"+\x00\x00"


_ENCODERS: dict[Syntax, Callable[[float], bytes]] = {
    Syntax.PERCENT: lambda value: ber.encode_gauge32(round(value * 100)),
    Syntax.GAUGE64: lambda value: ber.encode_counter64(min(max(int(value), 0), ber.MAX_UNSIGNED64)),
    Syntax.ENUMERATION: lambda value: ber.encode_integer(int(value)),
    Syntax.DATE: lambda value: ber.encode_octets(date_and_time(value)),
    Syntax.TRUTH: lambda value: ber.encode_integer(1 if value else 2),  # RFC 2579: true(1), false(2)
    Syntax.UNSIGNED32: lambda value: ber.encode_gauge32(int(value)),
    Syntax.GAUGE32: lambda value: ber.encode_gauge32(int(value)),
    Syntax.COUNTER64: lambda value: ber.encode_counter64(int(value)),
}


def encode_value(syntax: Syntax, value: CellValue) -> bytes:
    """An encoded value. Gauges latch at their ends, counters wrap, text is cut: no value is too large to be encoded."""
    if syntax is Syntax.TEXT:
        return ber.encode_octets(text_octets(str(value)))
    if not isinstance(value, int | float):
        raise TypeError(f"not a number: {value!r}")
    return _ENCODERS[syntax](value)


SYS_UP_TIME: Oid = (1, 3, 6, 1, 2, 1, 1, 3, 0)
SNMP_TRAP_OID: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
COLD_START: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 5, 1)
AUTHENTICATION_FAILURE: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 5, 5)


def encode_notification(oid: Oid, varbinds: Sequence[bytes], *, up_seconds: float) -> tuple[bytes, ...]:
    """The variable bindings of a notification: how long the agent is up, which one it is, and then its own."""
    return (
        ber.encode_varbind(SYS_UP_TIME, ber.encode_timeticks(int(up_seconds * 100))),
        ber.encode_varbind(SNMP_TRAP_OID, ber.encode_oid(oid)),
        *varbinds,
    )


def encode_event(event: Event, base: Oid, *, up_seconds: float) -> tuple[bytes, ...]:
    """An event's notification, with every object of the MIB's notification group in order.

    Raises ValueError for an event that has no encoding.
    """
    arc, _ = NOTIFICATIONS[event.kind]
    values: dict[str, CellValue] = {
        "hsmAlarmEventId": event.event_id,
        "hsmAlarmSeverity": event.severity.number,
        "hsmAlarmSource": event.source,
        "hsmAlarmResource": event.resource,
        "hsmAlarmMetric": event.metric,
        "hsmAlarmValue": decimal_text(event.value),
        "hsmAlarmThreshold": event.threshold,
        "hsmAlarmRule": event.rule,
        "hsmAlarmText": event.text,
        "hsmAlarmAlarmId": event.alarm_id,
        "hsmAlarmTime": event.time,
        "hsmAlarmUnit": event.unit,
        "hsmAlarmAgentName": event.agent,
        "hsmAlarmRunbook": event.runbook,
        "hsmAlarmKind": event.kind.name.lower(),
    }
    try:
        varbinds = [
            ber.encode_varbind((*base, *ALARM_ARC, column.number, 0), encode_value(column.syntax, values[column.name]))
            for column in ALARM
        ]
    except (OverflowError, OSError) as error:
        raise ValueError(f"its time is outside the calendar: {event.time}") from error
    return encode_notification((*base, *arc), varbinds, up_seconds=up_seconds)


BASE: Oid = (1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 4801)
"""Where the text of the MIB is rooted: netSnmpPlaypen 4801."""

_PARENTS: tuple[tuple[str, Oid], ...] = (("enterprises", (1, 3, 6, 1, 4, 1)), ("experimental", (1, 3, 6, 1, 3)))
_MAX_SUBIDS = 64  # leaves room for tables, columns and rows below the 128 of RFC 2578 section 3.5


def parse_base(text: str) -> Oid:
    """The OID of a `base_oid` or `--base`; ValueError if the MIB can't be rooted there."""
    oid = ber.parse_oid(text)
    parent = _parent(oid)
    if parent is None:
        raise ValueError(f"{text}: the base must lie below enterprises, 1.3.6.1.4.1, or experimental, 1.3.6.1.3")
    if len(oid) > _MAX_SUBIDS:
        raise ValueError(f"{text}: at most {_MAX_SUBIDS} numbers")
    return oid


def _parent(base: Oid) -> tuple[str, Oid] | None:
    for name, prefix in _PARENTS:
        if len(base) > len(prefix) and base[: len(prefix)] == prefix:
            return name, prefix
    return None


_PLAYPEN_IMPORT = "    netSnmpPlaypen\n        FROM NET-SNMP-MIB;"
_PLAYPEN_ROOT = "    ::= { netSnmpPlaypen 4801 }\n"
_LAST_SMI_IMPORT = "    Counter64\n        FROM SNMPv2-SMI\n"


def rooted(text: str, base: Oid) -> str:
    """The MIB's text rooted at `base`, which parse_base accepted; unchanged for the base it has.

    Each number between the parent and the base becomes a named node: smilint calls a bare `{ enterprises 1 2 }`
    implicit.
    """
    if base == BASE:
        return text
    found = _parent(base)
    if found is None:
        raise ValueError("the base must lie below enterprises or experimental")
    for landmark in (_PLAYPEN_IMPORT, _PLAYPEN_ROOT, _LAST_SMI_IMPORT):
        if text.count(landmark) != 1:
            raise ValueError("not the text of HSM-AGENT-MIB: its import or its root is missing")
    name, prefix = found
    nodes = []
    for depth, number in enumerate(base[len(prefix) : -1], 1):
        nodes.append(f"\nhsmAgentRoot{depth} OBJECT IDENTIFIER ::= {{ {name} {number} }}\n")
        name = f"hsmAgentRoot{depth}"
    text = text.replace("        FROM SNMPv2-CONF\n" + _PLAYPEN_IMPORT, "        FROM SNMPv2-CONF;")
    text = text.replace(_LAST_SMI_IMPORT, _LAST_SMI_IMPORT.replace("Counter64", f"Counter64,\n    {found[0]}"))
    return text.replace(_PLAYPEN_ROOT, f"    ::= {{ {name} {base[-1]} }}\n" + "".join(nodes))
