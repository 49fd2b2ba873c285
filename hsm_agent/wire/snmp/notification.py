"""SNMP notifications: an event encoded as one (RFC 3416 section 4.2.6), and received ones of all versions decoded.

SNMPv1 traps are given the form of SNMPv2 ones (RFC 3584 section 3.1). Decoders raise ber.DecodeError and nothing else.
Which notifications to believe is decided in trap_receiver.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber, mib
from hsm_agent.wire.snmp.ber import DecodeError, Reason, VarBind
from hsm_agent.wire.snmp.pdu import PduType, Version, read_varbinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.model import Event
    from hsm_agent.wire.snmp.ber import Oid

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
    values: dict[str, mib.CellValue] = {
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


MAX_OCTETS = 8192
"""The longest datagram that is looked into: notifications have a few hundred octets, and reading one takes time."""
MAX_VARBINDS = 128
"""As many are read, for the same reason: a list of 128 takes about a millisecond."""
CONTENT_OCTETS = 12
_GENERIC_TRAPS: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 5)
_ENTERPRISE_SPECIFIC = 6


class Drop(Enum):
    """Why a datagram came to nothing; a closed set, fit for counters.

    The value is a label's: `auth-` where the sender could not prove who it is, `-full` where there was no room.
    """

    SENDER = "sender"
    TOO_LONG = "too-long"
    MALFORMED = "malformed"
    VERSION = "version"
    COMMUNITY = "auth-community"
    PDU = "pdu"
    ENGINE = "auth-engine"
    USER = "auth-user"
    LEVEL = "auth-level"
    DIGEST = "auth-digest"
    TIME = "auth-time"
    DECRYPTION = "auth-privacy"
    REPEATED = "repeated"
    OUTDATED = "outdated"
    SOCKET = "socket-full"
    QUEUE = "queue-full"
    ALARMS = "alarms-full"


class TrapOrigin(NamedTuple):
    """Which message of which engine's time brought it. `digest` is the message's own, the same in any copy of it."""

    engine_id: bytes
    boots: int
    time: int
    digest: bytes


class Trap(NamedTuple):
    """A notification. `varbinds` are those behind sysUpTime and snmpTrapOID, in order.

    Two OIDs are made from a v1 trap: RFC 3584 puts a 0 between enterprise and number, and many vendors number their
    SNMPv2 notifications without it, which that RFC cannot give back. `plain_oid` is the one without, else the same.
    `request_id` and `content`, a hash of all variable bindings with sysUpTime, are the same in every repetition of an
    inform; a v1 trap has neither. `origin` is that of an authentic v3 message.
    """

    oid: Oid
    plain_oid: Oid
    varbinds: tuple[VarBind, ...]
    version: Version
    inform: bool
    request_id: int = 0
    content: bytes = b""
    origin: TrapOrigin | None = None


def read_trap_v1(data: bytes, position: int, end: int) -> Trap:
    """The SNMPv1 Trap-PDU at `position` (RFC 1157 section 4.1.6).

    Its agent-addr and time-stamp are not used, so they may be whatever the sender makes of them.
    """
    start, stop = ber.enter(data, position, end, PduType.TRAP_V1)
    enterprise, start = ber.read_oid(data, start, stop)
    _, _, start = ber.read_header(data, start, stop)
    generic, start = ber.read_integer(data, start, stop)
    specific, start = ber.read_integer(data, start, stop)
    _, _, start = ber.read_header(data, start, stop)
    start, list_end = ber.enter(data, start, stop, ber.SEQUENCE)
    if not 0 <= generic <= _ENTERPRISE_SPECIFIC or specific < 0:
        raise DecodeError(Reason.RANGE)
    oid = plain = (*_GENERIC_TRAPS, generic + 1)
    if generic == _ENTERPRISE_SPECIFIC:
        oid, plain = (*enterprise, 0, specific), (*enterprise, specific)
    return Trap(oid, plain, read_varbinds(data[start:list_end], MAX_VARBINDS), Version.V1, False)


def read_notification(varbinds: bytes, version: Version, *, inform: bool, request_id: int = 0) -> Trap:
    """The notification in an encoded list of variable bindings (RFC 3416 section 4.2.6)."""
    found = read_varbinds(varbinds, MAX_VARBINDS)
    for position, varbind in enumerate(found[:2]):  # some agents leave sysUpTime out
        if varbind.name == SNMP_TRAP_OID and isinstance(varbind.value, tuple):
            content = hashlib.blake2b(varbinds, digest_size=CONTENT_OCTETS).digest()
            return Trap(varbind.value, varbind.value, found[position + 1 :], version, inform, request_id, content)
    raise DecodeError(Reason.OID)
