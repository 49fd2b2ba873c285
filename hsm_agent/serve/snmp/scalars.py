"""What the responder serves beside its tables: the system group, the agent's scalars, the engine and its counters.

Counters, uptime and engine time are rendered when answered. `Segments` here hold one instance each, number 0.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from hsm_agent.model import AGENT_SOURCE, Severity
from hsm_agent.serve.snmp.view import Moment, Render, Segment
from hsm_agent.version import VERSION
from hsm_agent.wire.snmp import ber, mib
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.mib import text_octets
from hsm_agent.wire.snmp.pdu import MAX_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.model import ActiveAlarm
    from hsm_agent.store import Store
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.engine import Counters, Engine

SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)
_SNMP: Oid = (1, 3, 6, 1, 2, 1, 11)
_ENGINE: Oid = (1, 3, 6, 1, 6, 3, 10, 2, 1)
_SERVICES = 72  # RFC 3418 sysServices: end-to-end (layer 4) and applications (layer 7)
_AUTHENTICATION_TRAPS_ENABLED = 1


def fixed(prefix: Oid, value: bytes) -> Segment:
    """A scalar whose encoded value stays."""
    return Segment(rows=(0,), cells=(ber.encode_varbind((*prefix, 0), value),))


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
        (*_ENGINE, 4): fixed((*_ENGINE, 4), ber.encode_integer(MAX_MESSAGE)),
    }


def _arc(base: Oid, name: str) -> tuple[Oid, mib.Syntax]:
    scalar = next(one for one in mib.SCALARS if one.name == name)
    return (*base, 1, 1, scalar.number), scalar.syntax


def agent_scalars(base: Oid, store: Store) -> dict[Oid, Segment]:
    """The agent's scalars that no poll changes, and its counters."""
    found: dict[Oid, Segment] = {}
    for name, value in (
        ("hsmAgentVersion", VERSION),
        ("hsmAgentName", store.agent_name),
        ("hsmAgentStarted", store.started),
    ):
        prefix, syntax = _arc(base, name)
        found[prefix] = fixed(prefix, mib.encode_value(syntax, value))
    prefix, _ = _arc(base, "hsmAgentPolls")
    found[prefix] = rendered(prefix, lambda _number, _moment: ber.encode_counter64(store.polls), counter64=True)
    prefix, _ = _arc(base, "hsmAgentDroppedEvents")
    found[prefix] = rendered(
        prefix, lambda _number, _moment: ber.encode_counter64(store.dropped_events), counter64=True
    )
    return {**found, **alarm_scalars(base, ()), **spool_scalar(base, store)}


def alarm_scalars(base: Oid, alarms: Iterable[ActiveAlarm]) -> dict[Oid, Segment]:
    """How many alarms are raised and how bad the worst is: of the same moment as the table of alarms."""
    severities = [alarm.severity for alarm in alarms]
    worst = max(severities, key=lambda severity: severity.rank, default=Severity.CLEARED)
    found: dict[Oid, Segment] = {}
    for name, value in (("hsmAgentActiveAlarms", len(severities)), ("hsmAgentWorstSeverity", worst.number)):
        prefix, syntax = _arc(base, name)
        found[prefix] = fixed(prefix, mib.encode_value(syntax, value))
    return found


def spool_scalar(base: Oid, store: Store) -> dict[Oid, Segment]:
    """Events that not every sink has accepted, as the agent last read its own spool; absent before that."""
    prefix, syntax = _arc(base, "hsmAgentSpooledEvents")
    reading = store.reading(AGENT_SOURCE, "", "spool_entries")
    if reading is None or reading.value is None:
        return {prefix: Segment()}
    return {prefix: fixed(prefix, mib.encode_value(syntax, reading.value))}
