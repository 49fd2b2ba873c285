"""Traps and informs as appliances send them: messages for tests, whole or wrong on purpose."""

from __future__ import annotations

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.mib import encode_notification
from hsm_agent.wire.snmp.pdu import PduType, Version, encode_community_message, encode_pdu
from hsm_agent.wire.snmp.trap_receiver import Trap
from tests.fakes.snmp_messages import V3

SENDER_ENGINE = bytes.fromhex("80001f8804") + b"appliance"
COMMUNITY = b"traps-only"
LUNA = (1, 3, 6, 1, 4, 1, 23629, 1, 5, 2, 2)
FAN = (*LUNA, 2)
REFERENCE = (*LUNA, 1)
ASSERTED = "[luna-a:172.20.11.40 / messages / 2014 Apr  3 15:47:30 / ipmievd[812] / 1]"
DEASSERTED = "[luna-a:172.20.11.40 / messages / 2014 Apr  3 15:52:11 / ipmievd[812] / 0]"
UTIMACO = (1, 3, 6, 1, 4, 1, 3159, 1, 3)


def text(oid: ber.Oid, value: str) -> bytes:
    """A varbind of text."""
    return ber.encode_varbind(oid, ber.encode_octets(value.encode()))


def varbinds(oid: ber.Oid = FAN, *own: bytes) -> tuple[bytes, ...]:
    """The varbinds of an SNMPv2 notification; of Luna's fan, asserted, unless others are given."""
    return encode_notification(oid, own or (text(REFERENCE, ASSERTED),), up_seconds=12.0)


def notification_pdu(oid: ber.Oid = FAN, *own: bytes, kind: PduType = PduType.TRAP, request_id: int = 815) -> bytes:
    """A trap, or an inform."""
    return encode_pdu(kind, request_id, 0, 0, varbinds(oid, *own))


def v1_pdu(
    enterprise: ber.Oid = LUNA,
    specific: int = 2,
    *own: bytes,
    generic: int = 6,
    address: bytes = b"\x40\x04\x0a\x00\x00\x01",
    ticks: bytes = b"\x43\x01\x0c",
) -> bytes:
    """An SNMPv1 Trap-PDU."""
    listed = b"".join(own or (text(REFERENCE, ASSERTED),))
    content = b"".join(
        (
            ber.encode_oid(enterprise),
            address,
            ber.encode_integer(generic),
            ber.encode_integer(specific),
            ticks,
            ber.encode(ber.SEQUENCE, listed),
        )
    )
    return ber.encode(PduType.TRAP_V1, content)


def v2c(pdu: bytes | None = None, *, community: bytes = COMMUNITY, version: Version = Version.V2C) -> bytes:
    """A message by community."""
    return encode_community_message(version, community, notification_pdu() if pdu is None else pdu)


def v3_trap(**others: object) -> V3:
    """A trap of the sender's own engine; parts can be something else. Needs `keys` at that engine."""
    given = {"inner": notification_pdu(), "engine_id": SENDER_ENGINE, "context_engine_id": SENDER_ENGINE, **others}
    return V3(**{"boots": 3, "time": 1000, **given})  # type: ignore[arg-type]  # any part may be wrong


def trap(oid: ber.Oid, **values: object) -> Trap:
    """A decoded trap; varbinds as `o1_3_6=value`."""
    found = []
    for name, value in values.items():
        tag = {str: ber.OCTET_STRING, bytes: ber.OCTET_STRING, int: ber.INTEGER, tuple: ber.OBJECT_IDENTIFIER}[
            type(value)
        ]
        own = tuple(map(int, name.removeprefix("o").split("_")))
        found.append(ber.VarBind(own, tag, value.encode() if isinstance(value, str) else value))  # type: ignore[arg-type]  # as its tag says
    return Trap(oid, oid, tuple(found), Version.V2C, False)
