"""The scalars that are answered beside the tables: of the system, of the engine, and of the agent itself. Pure.

Scalars are segments of one instance, number 0; counters, uptime and engine time are rendered when answered.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from hsm_agent.model import AGENT_SOURCE, GroupRole, Severity
from hsm_agent.serve.snmp.view import Moment, Render, Segment
from hsm_agent.version import VERSION
from hsm_agent.wire.snmp import ber, mib
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.mib import text_octets
from hsm_agent.wire.snmp.pdu import MAX_MESSAGE_OCTETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hsm_agent.model import ActiveAlarm, GroupStatus
    from hsm_agent.store import Store
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.engine import Counters, Engine

SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)
_SNMP: Oid = (1, 3, 6, 1, 2, 1, 11)
_ENGINE: Oid = (1, 3, 6, 1, 6, 3, 10, 2, 1)
_SERVICES = 72  # RFC 3418 sysServices: end-to-end (layer 4) and applications (layer 7)
_AUTHENTICATION_TRAPS_ENABLED = 1


def fixed(prefix: Oid, value: bytes, *, counter64: bool = False) -> Segment:
    """A scalar whose encoded value stays."""
    return Segment(rows=(0,), cells=(ber.encode_varbind((*prefix, 0), value),), counter64=counter64)


def rendered(prefix: Oid, render: Render, *, counter64: bool = False) -> Segment:
    """A scalar whose value is made when it is answered."""
    return Segment((0,), (ber.encode_oid((*prefix, 0)),), (0.0,), render, counter64)


def system_group(*, base: Oid, engine: Engine, name: str, contact: str, location: str) -> dict[Oid, Segment]:
    """The system group of RFC 3418; its uptime is the engine's."""
    host = platform.uname()
    description = f"hsm-agent {VERSION} on {host.system} {host.release} {host.machine}"

    def uptime(_number: float, moment: Moment) -> bytes:
        return ber.encode_timeticks(int((moment.monotonic - engine.started) * 100))

    values = (
        ber.encode_octets(text_octets(description)),
        ber.encode_oid(base + mib.PRODUCT),
        None,
        ber.encode_octets(text_octets(contact)),
        ber.encode_octets(text_octets(name)),
        ber.encode_octets(text_octets(location)),
        ber.encode_integer(_SERVICES),
    )
    arcs = (((*SYSTEM, number), value) for number, value in enumerate(values, 1))
    return {arc: rendered(arc, uptime) if value is None else fixed(arc, value) for arc, value in arcs}


def engine_groups(engine: Engine, counters: Counters) -> dict[Oid, Segment]:
    """The snmp group, snmpEngine, and the counters of message processing, contexts and USM."""

    def seconds(_number: float, moment: Moment) -> bytes:
        return ber.encode_integer(engine.time(moment.monotonic))

    def count(what: Count) -> Render:
        return lambda _number, _moment: ber.encode_counter32(counters[what])

    return {
        **{what.oid[:-1]: rendered(what.oid[:-1], count(what)) for what in Count},
        (*_SNMP, 30): fixed((*_SNMP, 30), ber.encode_integer(_AUTHENTICATION_TRAPS_ENABLED)),
        (*_ENGINE, 1): fixed((*_ENGINE, 1), ber.encode_octets(engine.engine_id)),
        (*_ENGINE, 2): fixed((*_ENGINE, 2), ber.encode_integer(engine.boots)),
        (*_ENGINE, 3): rendered((*_ENGINE, 3), seconds),
        (*_ENGINE, 4): fixed((*_ENGINE, 4), ber.encode_integer(MAX_MESSAGE_OCTETS)),
    }


def _prefix(base: Oid, scalar: mib.Column) -> Oid:
    return (*base, 1, 1, scalar.number)


def _scalars(base: Oid, values: Mapping[str, mib.CellValue | None]) -> dict[Oid, Segment]:
    """Scalars by name; one without a value is absent."""
    found: dict[Oid, Segment] = {}
    for scalar in mib.SCALARS:
        if scalar.name in values:
            prefix, value = _prefix(base, scalar), values[scalar.name]
            found[prefix] = Segment() if value is None else _fixed_scalar(scalar, prefix, value)
    return found


def _fixed_scalar(scalar: mib.Column, prefix: Oid, value: mib.CellValue) -> Segment:
    is_wide = scalar.syntax is mib.Syntax.COUNTER64
    return fixed(prefix, mib.encode_value(scalar.syntax, value), counter64=is_wide)


def group_scalars(base: Oid, group: GroupStatus | None) -> dict[Oid, Segment]:
    """What the agent does for its group, and since when it is led as it is."""
    role = GroupRole.SINGLE if group is None else group.role
    epoch = None if group is None else group.epoch or None
    return _scalars(base, {"hsmAgentRole": role.number, "hsmAgentEpoch": epoch})


def agent_scalars(base: Oid, store: Store) -> dict[Oid, Segment]:
    """The agent's scalars that no poll changes, and its counters."""
    counters: dict[str, Render] = {
        "hsmAgentPolls": lambda _number, _moment: ber.encode_counter64(store.polls),
        "hsmAgentDroppedEvents": lambda _number, _moment: ber.encode_counter64(store.dropped_events),
    }
    return {
        **_scalars(
            base, {"hsmAgentVersion": VERSION, "hsmAgentName": store.agent_name, "hsmAgentStarted": store.started}
        ),
        **{
            _prefix(base, one): rendered(_prefix(base, one), counters[one.name], counter64=True)
            for one in mib.SCALARS
            if one.name in counters
        },
        **alarm_scalars(base, ()),
        **spool_scalar(base, store),
        **group_scalars(base, store.group),
    }


def alarm_scalars(base: Oid, alarms: Iterable[ActiveAlarm]) -> dict[Oid, Segment]:
    """How many alarms are raised and how bad the worst is: of the same moment as the table of alarms."""
    severities = [alarm.severity for alarm in alarms]
    worst = max(severities, key=lambda severity: severity.rank, default=Severity.CLEARED)
    return _scalars(base, {"hsmAgentActiveAlarms": len(severities), "hsmAgentWorstSeverity": worst.number})


def spool_scalar(base: Oid, store: Store) -> dict[Oid, Segment]:
    """Events that not every sink has accepted, as the agent last read its own spool; absent before that."""
    reading = store.reading(AGENT_SOURCE, "", "spool_entries")
    return _scalars(base, {"hsmAgentSpooledEvents": None if reading is None else reading.value})
