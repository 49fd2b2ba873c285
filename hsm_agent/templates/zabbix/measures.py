"""Items of the template: for each object of the MIB that is polled, how Zabbix names, scales and keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.templates.objects import oid_of, words_of
from hsm_agent.templates.zabbix import scripts
from hsm_agent.templates.zabbix.export import Node, absent_as, identity, step, tags, unchanged_discarded
from hsm_agent.wire.snmp import mib
from hsm_agent.wire.snmp.mib import Syntax

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.mib import Column, Table

POLL_MACRO = "{$HSM.POLL}"
DISCOVERY_MACRO = "{$HSM.DISCOVERY}"
ALARM_DISCOVERY_MACRO = "{$HSM.ALARM.DISCOVERY}"
_TEXT_DELAY = "10m"
_TEXT_HEARTBEAT = "1d"

VALUE_MAPS: dict[str, str] = {
    "HSM severity": "hsmAgentWorstSeverity",
    "HSM agent role": "hsmAgentRole",
    "HSM source status": "hsmSourceStatus",
    "HSM token status": "hsmTokenStatus",
    "HSM PIN status": "hsmTokenPinStatus",
    "HSM audit chain": "hsmAuditChain",
    "HSM truth": "hsmAuditFilling",
    "HSM sink guarantee": "hsmSinkGuarantee",
    "HSM sink status": "hsmSinkStatus",
}
"""Each with a column whose words it has."""

TIME_TO_FULL_MAP = "HSM time to full"


@dataclass(frozen=True, slots=True)
class Measure:
    """An item: `name` as shown, `key` below `hsm.`, and the object it reads."""

    name: str
    key: str
    column: str
    unit: str = ""
    value_map: str = ""
    rate: bool = False
    """A total that is kept as its change each second."""
    factor: str = ""
    """What the raw number is multiplied by, if the syntax does not say it."""
    if_absent: str | None = None
    """The value where the object is absent; None keeps the last one."""
    decimal: bool = False
    """A number written as text."""


def find_column(name: str) -> tuple[Table | None, Column]:
    """A column with its table, or a scalar with None."""
    for table in mib.TABLES:
        for column in table.columns:
            if column.name == name:
                return table, column
    return None, next(scalar for scalar in mib.SCALARS if scalar.name == name)


def key_of(measure: Measure) -> str:
    """The item's key: of a row with the row's number."""
    table, _column = find_column(measure.column)
    return f"hsm.{measure.key}" if table is None else f"hsm.{measure.key}[{{#SNMPINDEX}}]"


def item(measure: Measure, base: Oid, *, subject: str, component: str) -> Node:
    """The item, or its prototype. `subject` stands before its name: what the row is about."""
    table, column = find_column(measure.column)
    is_text = column.syntax is Syntax.TEXT and not measure.decimal
    node: Node = {
        "uuid": identity("item", key_of(measure)),
        "name": f"{subject}: {measure.name}" if subject else measure.name,
        "type": "SNMP_AGENT",
        "snmp_oid": f"{oid_of(base, measure.column)}.{0 if table is None else '{#SNMPINDEX}'}",
        "key": key_of(measure),
        "delay": _TEXT_DELAY if is_text and measure.if_absent is None and table is not mib.ACTIVE else POLL_MACRO,
        **_kept_as(measure, column, is_text=is_text),
    }
    if measure.unit:
        node["units"] = measure.unit
    if measure.value_map:
        node["valuemap"] = {"name": measure.value_map}
    node["preprocessing"] = _steps(measure, column, is_text=is_text)
    node["tags"] = tags(component=component)
    return node


def _kept_as(measure: Measure, column: Column, *, is_text: bool) -> Node:
    if is_text:
        return {"history": "30d", "trends": "0", "value_type": "CHAR"}
    if column.syntax is Syntax.DATE:
        return {"history": "30d", "trends": "0"}
    if column.syntax is Syntax.PERCENT or measure.rate or measure.factor or measure.decimal:
        return {"history": "30d", "value_type": "FLOAT"}
    if measure.value_map and measure.value_map != TIME_TO_FULL_MAP:
        return {"history": "30d", "trends": "0"}
    return {"history": "30d"}


def _steps(measure: Measure, column: Column, *, is_text: bool) -> list[Node]:
    steps = [absent_as(measure.if_absent)]
    if column.syntax is Syntax.PERCENT:
        steps.append(step("MULTIPLIER", "0.01"))
    elif measure.factor:
        steps.append(step("MULTIPLIER", measure.factor))
    elif column.syntax is Syntax.DATE:
        steps.append(step("JAVASCRIPT", scripts.DATE))
    elif is_text:
        steps.append(step("JAVASCRIPT", scripts.TEXT))
    if measure.rate:
        steps.append(step("CHANGE_PER_SECOND", ""))
    if is_text or column.syntax is Syntax.DATE:
        steps.append(unchanged_discarded(_TEXT_HEARTBEAT))
    return steps


AGENT = (
    Measure("version", "agent.version", "hsmAgentVersion"),
    Measure("name", "agent.name", "hsmAgentName"),
    Measure("started", "agent.started", "hsmAgentStarted", "unixtime"),
    Measure("polls a second", "agent.polls", "hsmAgentPolls", rate=True),
    Measure("active alarms", "agent.alarms", "hsmAgentActiveAlarms"),
    Measure("worst severity", "agent.severity", "hsmAgentWorstSeverity", value_map="HSM severity"),
    Measure("events waiting for sinks", "agent.spooled", "hsmAgentSpooledEvents"),
    Measure("events dropped", "agent.dropped", "hsmAgentDroppedEvents"),
    Measure("role in its group", "agent.role", "hsmAgentRole", value_map="HSM agent role"),
)
SOURCE = (
    Measure("status", "source.status", "hsmSourceStatus", value_map="HSM source status"),
    Measure("age of the last success", "source.age", "hsmSourceSecondsSinceSuccess", "s"),
    Measure("duration of the last poll", "source.poll", "hsmSourceLastPollMilliseconds", "s", factor="0.001"),
    Measure("failed polls", "source.failures", "hsmSourceFailures"),
    Measure("last error", "source.error", "hsmSourceLastError"),
)
TOKEN = (
    Measure("status", "token.status", "hsmTokenStatus", value_map="HSM token status"),
    Measure("PIN", "token.pin", "hsmTokenPinStatus", value_map="HSM PIN status"),
    Measure("security officer's PIN", "token.so_pin", "hsmTokenSoPinStatus", value_map="HSM PIN status"),
    Measure("firmware", "token.firmware", "hsmTokenFirmware"),
    Measure("serial number", "token.serial", "hsmTokenSerial"),
)
TOKEN_MEMORY = (
    Measure("private memory", "token.memory.total", "hsmTokenPrivateMemoryTotal", "B"),
    Measure("private memory free", "token.memory.free", "hsmTokenPrivateMemoryFree", "B"),
    Measure("private memory used", "token.memory.used", "hsmTokenPrivateMemoryUsedPercent", "%"),
)
TOKEN_SESSIONS = (
    Measure("sessions", "token.sessions", "hsmTokenSessions"),
    Measure("sessions with write access", "token.sessions.rw", "hsmTokenRwSessions"),
    Measure("sessions used", "token.sessions.used", "hsmTokenSessionsUsedPercent", "%"),
)
TOKEN_OBJECTS = (Measure("objects", "token.objects", "hsmTokenObjects"),)
TOKEN_STORAGE = (
    Measure("storage", "token.storage.total", "hsmTokenStorageTotal", "B"),
    Measure("storage in use", "token.storage.bytes", "hsmTokenStorageUsed", "B"),
    Measure("storage used", "token.storage.used", "hsmTokenStorageUsedPercent", "%"),
)
AUDIT_STORE = (
    Measure("store records", "audit.records", "hsmAuditRecords"),
    Measure("store capacity", "audit.capacity", "hsmAuditCapacity"),
    Measure("store used", "audit.used", "hsmAuditUsedPercent", "%"),
    Measure("store time to full", "audit.to_full", "hsmAuditSecondsToFull", "s", value_map=TIME_TO_FULL_MAP),
    Measure("store is filling", "audit.filling", "hsmAuditFilling", value_map="HSM truth"),
)
AUDIT_TRAIL = (
    Measure("trail chain", "audit.chain", "hsmAuditChain", value_map="HSM audit chain"),
    Measure("trail events a second", "audit.events", "hsmAuditEvents", rate=True),
    Measure("trail failed operations", "audit.failures", "hsmAuditFailures"),
)
SINK = (
    Measure("status", "sink.status", "hsmSinkStatus", value_map="HSM sink status"),
    Measure("guarantee", "sink.guarantee", "hsmSinkGuarantee", value_map="HSM sink guarantee"),
    Measure("events waiting", "sink.queued", "hsmSinkQueued"),
    Measure("events delivered", "sink.delivered", "hsmSinkDelivered"),
    Measure("failed attempts", "sink.failed", "hsmSinkFailed"),
    Measure("events dropped", "sink.dropped", "hsmSinkDropped"),
    Measure("last error", "sink.error", "hsmSinkLastError"),
)
ALARM = (  # of a row that has gone: cleared, not silenced, and no identity or text for the next alarm with its number
    Measure("severity", "alarm.severity", "hsmActiveSeverity", value_map="HSM severity", if_absent="1"),
    Measure("silenced", "alarm.silenced", "hsmActiveSilenced", value_map="HSM truth", if_absent="2"),
    Measure("identity", "alarm.id", "hsmActiveAlarmId", if_absent=""),
    Measure("text", "alarm.text", "hsmActiveText", if_absent=""),
)
READING = (Measure("value {#LABELS}", "reading.value", "hsmReadingValue", "{#UNIT}", decimal=True),)


def value_maps() -> list[Node]:
    """All maps: the words of the MIB, and a word for the number that means never."""
    maps = {name: words_of(find_column(column)[1]) for name, column in VALUE_MAPS.items()}
    maps[TIME_TO_FULL_MAP] = {mib.NEVER: "not filling"}
    return [
        {
            "uuid": identity("value map", name),
            "name": name,
            "mappings": [{"value": str(number), "newvalue": word} for number, word in words.items()],
        }
        for name, words in maps.items()
    ]
