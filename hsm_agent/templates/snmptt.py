"""SNMPTT: an `snmptt.conf` that gives each notification the severity it carries.

One NOTIFICATION-TYPE stands for all severities, so the static `--#SEVERITY` of the MIB can't do it; several EVENTs of
one OID, each with a MATCH on the severity's varbind, can. SNMPTT needs `multiple_event = 1`, its default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.model import EventKind, Severity
from hsm_agent.templates.objects import NOTIFICATION_NAMES, oid_of, varbind_number
from hsm_agent.wire.snmp.mib import parse_base

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

_LEVELS = {
    "CRITICAL": (Severity.CRITICAL, Severity.MAJOR),
    "WARNING": (Severity.WARNING, Severity.MINOR, Severity.INDETERMINATE),
    "NORMAL": (Severity.CLEARED,),
}
"""SNMPTT's own words, as its syslog and Nagios settings know them, and what each stands for."""
_WITH_SEVERITY = (EventKind.RAISED, EventKind.CHANGED)
_CATEGORY = "HSM"

_HEAD = """\
#
# Notifications of HSM-AGENT-MIB for SNMPTT 1.4 and later, made by `hsm-agent templates snmptt`.
#
# Severities are those of the notification: CRITICAL, WARNING, NORMAL. Varbind 10 is the alarm's identity: the same from
# its raise to its clear. Texts come from devices: never put them into an EXEC line.
#
"""


def write(base_oid: str) -> dict[str, str]:
    """`snmptt.hsm-agent.conf`, to be named in snmptt.ini below [TrapFiles]."""
    base = parse_base(base_oid)
    events = [_event(base, kind, level) for kind, level in _kinds_and_levels()]
    return {"snmptt.hsm-agent.conf": _HEAD + "".join(events)}


def _kinds_and_levels() -> list[tuple[EventKind, str]]:
    found = [(kind, level) for kind in _WITH_SEVERITY for level in _LEVELS]
    return found + [(kind, "NORMAL") for kind in EventKind if kind not in _WITH_SEVERITY]


def _event(base: Oid, kind: EventKind, level: str) -> str:
    name = NOTIFICATION_NAMES[kind]
    lines = [
        f'EVENT {name} .{oid_of(base, name)} "{_CATEGORY}" {level}',
        f"FORMAT {_form(kind)}",
    ]
    if kind in _WITH_SEVERITY:
        lines.append(f"MATCH {_varbind('Severity')}: ({_pattern(level)})")
    return "\n".join(["", *lines, ""])


def _pattern(level: str) -> str:
    """The number as it is sent, or the word where SNMPTT translates it by the MIB."""
    return "|".join(f"^{severity.number}$|^{severity.value}" for severity in _LEVELS[level])


def _form(kind: EventKind) -> str:
    """The text, which names source and resource of an alarm; who says it, and how to join raise and clear."""
    form = f"{_varbind('Text')} [agent {_varbind('AgentName')}]"
    if kind in {EventKind.TEST, EventKind.HEARTBEAT, EventKind.NOTICE}:
        return form
    return f"{form} [rule {_varbind('Rule')}] [alarm {_varbind('AlarmId')}]"


def _varbind(name: str) -> str:
    return f"${varbind_number(f'hsmAlarm{name}')}"
