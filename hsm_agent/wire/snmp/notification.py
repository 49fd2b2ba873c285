"""An event as the variable bindings of an SNMP notification (contract: HSM-AGENT-MIB, RFC 3416 section 4.2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.wire.snmp import ber, mib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.model import Event

SYS_UP_TIME: ber.Oid = (1, 3, 6, 1, 2, 1, 1, 3, 0)
SNMP_TRAP_OID: ber.Oid = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
COLD_START: ber.Oid = (1, 3, 6, 1, 6, 3, 1, 1, 5, 1)
AUTHENTICATION_FAILURE: ber.Oid = (1, 3, 6, 1, 6, 3, 1, 1, 5, 5)


def encode_notification(oid: ber.Oid, varbinds: Sequence[bytes], *, up_seconds: float) -> tuple[bytes, ...]:
    """The variable bindings of a notification: how long the agent is up, which one it is, and then its own."""
    return (
        ber.encode_varbind(SYS_UP_TIME, ber.encode_timeticks(int(up_seconds * 100))),
        ber.encode_varbind(SNMP_TRAP_OID, ber.encode_oid(oid)),
        *varbinds,
    )


def encode_event(event: Event, base: ber.Oid, *, up_seconds: float) -> tuple[bytes, ...]:
    """An event's notification, with every object of the MIB's notification group in order.

    Raises ValueError for an event that has no encoding.
    """
    arc, _ = mib.NOTIFICATIONS[event.kind]
    values: dict[str, mib.Value] = {
        "hsmAlarmEventId": event.event_id,
        "hsmAlarmSeverity": event.severity.number,
        "hsmAlarmSource": event.source,
        "hsmAlarmResource": event.resource,
        "hsmAlarmMetric": event.metric,
        "hsmAlarmValue": event.value,
        "hsmAlarmThreshold": event.threshold,
        "hsmAlarmRule": event.rule,
        "hsmAlarmText": event.text,
        "hsmAlarmAlarmId": event.alarm_id,
        "hsmAlarmTime": event.time,
        "hsmAlarmUnit": event.unit,
        "hsmAlarmAgentName": event.agent,
        "hsmAlarmRunbook": event.runbook,
    }
    try:
        varbinds = [
            ber.encode_varbind(
                (*base, *mib.ALARM_ARC, column.number, 0), mib.encode_value(column.syntax, values[column.name])
            )
            for column in mib.ALARM
        ]
    except (OverflowError, OSError) as error:
        raise ValueError(f"its time is outside the calendar: {event.time}") from error
    return encode_notification((*base, *arc), varbinds, up_seconds=up_seconds)
