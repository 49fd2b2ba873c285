"""LibreNMS: how the agent is told from other devices, what is discovered of it, and what is done with its traps.

Paths are those of LibreNMS's own tree. It discovers with the MIB and with hints off (`-Ih`), and polls in numbers: so
percentages are hundredths both times. Texts are read once more with hints, or UTF-8 would come with dots in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from hsm_agent.templates.librenms_handler import handler
from hsm_agent.templates.objects import oid_of, words_by_name
from hsm_agent.wire.snmp.mib import parse_base

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

OS = "hsm-agent"
_MIB = "HSM-AGENT-MIB"
_OK, _WARNING, _CRITICAL, _UNKNOWN = range(4)
"""LibreNMS's generic states."""
_GENERIC = {
    "unknown": _UNKNOWN,
    "indeterminate": _WARNING,
    **dict.fromkeys(("cleared", "up", "present", "ok", "intact", "idle"), _OK),
    **dict.fromkeys(("warning", "minor", "degraded", "countLow", "finalTry", "retrying", "unverifiable"), _WARNING),
    **dict.fromkeys(("critical", "major", "down", "absent", "failed", "locked", "broken", "refused"), _CRITICAL),
    "uninitialized": _UNKNOWN,
}
_UNKNOWN_STATE, _UNINITIALIZED = 1, 4
_INDEX = "{{ $index }}"

_SOURCE = "source {{ hsmSourceName }}"
_TOKEN = "token {{ hsmTokenName }} of {{ hsmTokenSource }}"  # noqa: S105 - a token of an HSM
_AUDIT = "audit {{ hsmAuditResource }} of {{ hsmAuditSource }}"
_SINK = "sink {{ hsmSinkName }}"
_NAMES = ("hsmSourceName", "hsmTokenName", "hsmTokenSource", "hsmAuditResource", "hsmAuditSource", "hsmSinkName")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A column or scalar that becomes a sensor of each row. Limits are in the sensor's unit, after the divisor."""

    kind: str
    column: str
    text: str
    divisor: int = 1
    warning: float | None = None
    critical: float | None = None
    below: bool = False
    never_when_unknown: bool = False
    """A state that a device may not have at all is no sensor while it is unknown."""


def _percent(column: str, text: str, warning: float, critical: float) -> Sensor:
    return Sensor(kind="percent", column=column, text=text, divisor=100, warning=warning, critical=critical)


_DAY_MINUTES, _HOUR_MINUTES = 1440, 60
SENSORS = (
    Sensor(kind="state", column="hsmAgentWorstSeverity", text="worst active alarm"),
    Sensor(kind="state", column="hsmSourceStatus", text=_SOURCE),
    Sensor(kind="state", column="hsmTokenStatus", text=_TOKEN),
    Sensor(kind="state", column="hsmTokenPinStatus", text=f"{_TOKEN}: PIN", never_when_unknown=True),
    Sensor(kind="state", column="hsmTokenSoPinStatus", text=f"{_TOKEN}: SO PIN", never_when_unknown=True),
    Sensor(kind="state", column="hsmAuditChain", text=f"{_AUDIT}: chain", never_when_unknown=True),
    Sensor(kind="state", column="hsmSinkStatus", text=_SINK),
    _percent("hsmTokenPrivateMemoryUsedPercent", f"{_TOKEN}: private memory", 75, 90),
    _percent("hsmTokenPublicMemoryUsedPercent", f"{_TOKEN}: public memory", 75, 90),
    _percent("hsmTokenSessionsUsedPercent", f"{_TOKEN}: sessions", 80, 95),
    _percent("hsmTokenStorageUsedPercent", f"{_TOKEN}: storage", 80, 95),
    _percent("hsmAuditUsedPercent", f"{_AUDIT}: fill", 50, 80),
    Sensor(kind="count", column="hsmAgentActiveAlarms", text="active alarms"),
    Sensor(kind="count", column="hsmAgentSpooledEvents", text="spooled events"),
    Sensor(kind="count", column="hsmTokenSessions", text=f"{_TOKEN}: sessions"),
    Sensor(kind="count", column="hsmTokenObjects", text=f"{_TOKEN}: objects", warning=10_000),
    Sensor(kind="count", column="hsmAuditRecords", text=f"{_AUDIT}: records"),
    Sensor(kind="count", column="hsmSinkQueued", text=f"{_SINK}: queued"),
    Sensor(kind="delay", column="hsmSourceSecondsSinceSuccess", text=f"{_SOURCE}: last success"),
    Sensor(
        kind="runtime",
        column="hsmAuditSecondsToFull",
        text=f"{_AUDIT}: time to full",
        divisor=60,
        warning=_DAY_MINUTES,
        critical=_HOUR_MINUTES,
        below=True,
    ),
)
"""Limits are those of the agent's default rules."""


def write(base_oid: str) -> dict[str, str]:
    """Detection, discovery and trap handler, by their paths in LibreNMS's tree."""
    base = parse_base(base_oid)
    return {
        f"resources/definitions/os_detection/{OS}.yaml": _dump(_detection(base)),
        f"resources/definitions/os_discovery/{OS}.yaml": _dump(_discovery(base)),
        "LibreNMS/Snmptrap/Handlers/HsmAgentNotification.php": handler(),
    }


def _dump(tree: dict[str, Any]) -> str:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)


def _detection(base: Oid) -> dict[str, Any]:
    return {
        "os": OS,
        "text": "HSM agent",
        "type": "appliance",
        "discovery": [{"sysObjectID": [f".{oid_of(base, 'hsmAgentProduct')}"]}],
    }


def _discovery(base: Oid) -> dict[str, Any]:
    kinds = dict.fromkeys(sensor.kind for sensor in SENSORS)
    texts = {"oid": list(_NAMES), "snmp_flags": "-OteQUs", "snmp_no_Ih_flag": "true"}
    return {
        "mib": _MIB,
        "modules": {
            "os": {"version": f"{_MIB}::hsmAgentVersion.0"},
            "sensors": {
                "additional_oids": {"data": [texts]},
                **{kind: {"data": [_entry(base, each) for each in SENSORS if each.kind == kind]} for kind in kinds},
            },
            "storage": {"data": [_partition(base), _memory(base)]},
        },
    }


def _entry(base: Oid, sensor: Sensor) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "oid": sensor.column,
        "value": sensor.column,
        "num_oid": f".{oid_of(base, sensor.column)}.{_INDEX}",
        "descr": sensor.text,
        "index": f"{sensor.column}.{_INDEX}",
    }
    if sensor.divisor != 1:
        entry["divisor"] = sensor.divisor
    names = ("low_warn_limit", "low_limit") if sensor.below else ("warn_limit", "high_limit")
    limits = zip(names, (sensor.warning, sensor.critical), strict=True)
    entry |= {name: limit for name, limit in limits if limit is not None}
    skipped: list[Any] = [_UNKNOWN_STATE] if sensor.never_when_unknown else []
    if sensor.column.startswith("hsmToken"):
        skipped.append(_skip_uninitialized())
    if skipped:
        entry["skip_values"] = skipped
    if sensor.kind == "state":
        entry["state_name"] = f"{sensor.column}State"  # not the column's own name, which stands for its value
        entry["states"] = [
            {"value": number, "descr": word, "graph": 0, "generic": _GENERIC[word]}
            for number, word in words_by_name(sensor.column).items()
        ]
    return entry


def _skip_uninitialized() -> dict[str, Any]:
    """An empty slot that waits for a token: SoftHSM always has one, under a new number each time."""
    return {"oid": "hsmTokenStatus", "op": "=", "value": _UNINITIALIZED}


def _partition(base: Oid) -> dict[str, Any]:
    return {
        **_of_table("storage", 80),
        "size": f"{_MIB}::hsmTokenStorageTotal",
        "size_num_oid": f".{oid_of(base, 'hsmTokenStorageTotal')}.{_INDEX}",
        "used": f"{_MIB}::hsmTokenStorageUsed",
        "used_num_oid": f".{oid_of(base, 'hsmTokenStorageUsed')}.{_INDEX}",
        "index": f"hsmTokenStorage.{_INDEX}",
    }


def _memory(base: Oid) -> dict[str, Any]:
    return {
        **_of_table("private memory", 75),
        "size": f"{_MIB}::hsmTokenPrivateMemoryTotal",
        "size_num_oid": f".{oid_of(base, 'hsmTokenPrivateMemoryTotal')}.{_INDEX}",
        "free": f"{_MIB}::hsmTokenPrivateMemoryFree",
        "free_num_oid": f".{oid_of(base, 'hsmTokenPrivateMemoryFree')}.{_INDEX}",
        "index": f"hsmTokenPrivateMemory.{_INDEX}",
    }


def _of_table(what: str, warn_percent: int) -> dict[str, Any]:
    """The module for storage walks the table by itself: with hints, whole names, and words for enumerations."""
    name, source = f"{{{{ {_MIB}::hsmTokenName }}}}", f"{{{{ {_MIB}::hsmTokenSource }}}}"
    return {
        "oid": f"{_MIB}::hsmTokenTable",
        "units": 1,
        "type": f"{OS} {what}",
        "descr": f"token {name} of {source}: {what}",
        "warn_percent": warn_percent,
        "skip_values": [{"oid": f"{_MIB}::hsmTokenStatus", "op": "=", "value": "uninitialized"}],
    }
