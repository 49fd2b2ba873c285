"""Notifications: an event encoded as one, and received ones of all versions in one form."""

from __future__ import annotations

import pytest
from hypothesis import given

from hsm_agent.model import EventKind, Severity
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.ber import DecodeError
from hsm_agent.wire.snmp.mib import COLD_START, encode_event, encode_notification
from hsm_agent.wire.snmp.pdu import PduType, Version, read_varbinds
from hsm_agent.wire.snmp.trap_receiver import CONTENT_OCTETS, Drop, read_notification, read_trap_v1
from tests.fakes.syslog_events import any_event, event
from tests.fakes.traps import ASSERTED, FAN, LUNA, REFERENCE, text, v1_pdu, varbinds

BASE = (1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 4801)
ALARM = (*BASE, 1, 8)
UP_TIME = (1, 3, 6, 1, 2, 1, 1, 3, 0)
TRAP_OID = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)


def test_an_event_carries_every_object_in_order() -> None:
    one = event(kind=EventKind.RAISED, severity=Severity.CRITICAL, time=1_700_000_000.25)

    found = read_varbinds(b"".join(encode_event(one, BASE, up_seconds=12.345)))

    assert [varbind.name for varbind in found] == [UP_TIME, TRAP_OID, *((*ALARM, n, 0) for n in range(1, 16))]
    assert [varbind.tag for varbind in found] == [
        ber.TIMETICKS,
        ber.OBJECT_IDENTIFIER,
        ber.OCTET_STRING,
        ber.INTEGER,
    ] + [ber.OCTET_STRING] * 13
    assert [varbind.value for varbind in found] == [
        1234,
        (*BASE, 0, 1),
        one.event_id.encode(),
        3,
        b"luna-a",
        b"SIGN",
        b"token_memory_private_used_percent",
        b"91",
        b"90",
        b"token-memory",
        one.text.encode(),
        one.alarm_id.encode(),
        bytes((7, 231, 11, 14, 22, 13, 20, 2)) + b"+\x00\x00",
        b"%",
        b"hsm-monitor-1",
        b"https://wiki.example.net/hsm/memory",
        b"raised",
    ]


@pytest.mark.parametrize(
    ("kind", "arc", "word"),
    [
        (EventKind.RAISED, 1, b"raised"),
        (EventKind.CHANGED, 2, b"changed"),
        (EventKind.CLEARED, 3, b"cleared"),
        (EventKind.TEST, 4, b"test"),
        (EventKind.HEARTBEAT, 5, b"heartbeat"),
        (EventKind.NOTICE, 6, b"notice"),
    ],
)
def test_each_kind_of_event_is_a_notification_of_its_own(kind: EventKind, arc: int, word: bytes) -> None:
    found = read_varbinds(b"".join(encode_event(event(kind=kind), BASE, up_seconds=0)))

    assert found[1].value == (*BASE, 0, arc)
    assert found[-1] == ber.VarBind((*ALARM, 15, 0), ber.OCTET_STRING, word)


def test_a_base_of_ones_own_moves_the_notification_and_all_it_carries() -> None:
    own = (1, 3, 6, 1, 4, 1, 32473)

    found = read_varbinds(b"".join(encode_event(event(), own, up_seconds=0)))

    assert found[1].value == (*own, 0, 1)
    assert [varbind.name for varbind in found[2:]] == [(*own, 1, 8, number, 0) for number in range(1, 16)]


def test_a_value_of_never_is_decimal_text() -> None:
    found = read_varbinds(b"".join(encode_event(event(value="inf"), BASE, up_seconds=0)))

    assert found[2 + 5].value == b"4294967295"


@given(any_event())
def test_whatever_an_event_says_it_is_told(one: object) -> None:
    from hsm_agent.model import Event

    assert isinstance(one, Event)
    found = read_varbinds(b"".join(encode_event(one, BASE, up_seconds=1)))

    assert len(found) == 17
    assert found[-1].value, "the last one is never empty"
    for varbind in found[2:]:
        if isinstance(varbind.value, bytes) and varbind.name != (*ALARM, 11, 0):
            assert len(varbind.value) <= 255
            assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in varbind.value.decode())


@pytest.mark.parametrize("time", [float("nan"), 1e300, -1e18])
def test_a_time_outside_the_calendar_has_no_encoding(time: float) -> None:
    with pytest.raises(ValueError):
        encode_event(event(time=time), BASE, up_seconds=0)


def test_other_notifications_have_uptime_and_name_first() -> None:
    own = ber.encode_varbind((1, 3, 6), ber.NULL)

    found = read_varbinds(b"".join(encode_notification(COLD_START, [own], up_seconds=0.5)))

    assert [varbind.value for varbind in found] == [50, (1, 3, 6, 1, 6, 3, 1, 1, 5, 1), None]


REFERRED = (ber.VarBind(REFERENCE, ber.OCTET_STRING, ASSERTED.encode()),)


def test_a_v2_notification_is_its_oid_and_its_own_varbinds() -> None:
    trap = read_notification(b"".join(varbinds()), Version.V2C, inform=True, request_id=7)

    assert trap[:6] == (FAN, FAN, REFERRED, Version.V2C, True, 7)
    assert len(trap.content) == CONTENT_OCTETS


def test_a_notification_without_uptime_is_understood() -> None:
    trap = read_notification(b"".join(varbinds()[1:]), Version.V3, inform=False)

    assert (trap.oid, trap.varbinds) == (FAN, REFERRED)


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(varbinds()[0], id="uptime only"),
        pytest.param(varbinds()[0] + varbinds()[2] + varbinds()[1], id="too far behind"),
        pytest.param(text((1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0), "no OID"), id="an OID that is none"),
        pytest.param(varbinds()[1][:-1], id="cut short"),
        pytest.param(b"".join(varbinds()) + b"\x30\x05\x06\x01\x2b\x05\x00" * 126, id="too many varbinds"),
    ],
)
def test_what_names_no_notification_is_malformed(listed: bytes) -> None:
    with pytest.raises(DecodeError):
        read_notification(listed, Version.V2C, inform=False)


def test_a_v1_trap_of_an_enterprise_has_both_oids_that_it_can_mean() -> None:
    pdu = v1_pdu()

    assert read_trap_v1(pdu, 0, len(pdu)) == ((*LUNA, 0, 2), FAN, REFERRED, Version.V1, False, 0, b"", None)


@pytest.mark.parametrize(("generic", "last"), [(0, 1), (2, 3), (5, 6)])
def test_a_generic_v1_trap_is_one_of_the_standard_ones(generic: int, last: int) -> None:
    pdu = v1_pdu(generic=generic)

    found = read_trap_v1(pdu, 0, len(pdu))

    assert found.oid == found.plain_oid == (1, 3, 6, 1, 6, 3, 1, 1, 5, last)


@pytest.mark.parametrize(
    "pdu",
    [
        pytest.param(v1_pdu(generic=7), id="a generic trap there is not"),
        pytest.param(v1_pdu(generic=-1), id="a negative one"),
        pytest.param(v1_pdu(specific=-1), id="a negative number"),
        pytest.param(v1_pdu()[:-1], id="cut short"),
        pytest.param(b"\xa7" + v1_pdu()[1:], id="another tag"),
    ],
)
def test_a_spoilt_v1_trap_is_malformed(pdu: bytes) -> None:
    with pytest.raises(DecodeError):
        read_trap_v1(pdu, 0, len(pdu))


@pytest.mark.parametrize(
    "pdu",
    [
        pytest.param(v1_pdu(address=b"\x40\x00"), id="an address without octets"),
        pytest.param(v1_pdu(address=b"\x40\x08" + bytes(8)), id="an address of eight octets"),
        pytest.param(v1_pdu(ticks=b"\x43\x00"), id="ticks without octets"),
        pytest.param(v1_pdu() + b"\0", id="something behind"),
        pytest.param(ber.encode(PduType.TRAP_V1, v1_pdu()[2:] + b"\x05\x00"), id="something behind the varbinds"),
    ],
)
def test_what_is_of_no_use_in_a_v1_trap_may_be_damaged(pdu: bytes) -> None:
    assert read_trap_v1(pdu, 0, len(pdu))[:6] == ((*LUNA, 0, 2), FAN, REFERRED, Version.V1, False, 0)


def test_a_damaged_value_leaves_the_notification_and_its_other_values() -> None:
    name = (1, 3, 6, 1, 4, 1, 9)
    listed = [*varbinds()[:2], ber.encode_varbind(name, b"\x40\x00"), *varbinds()[2:]]

    trap = read_notification(b"".join(listed), Version.V2C, inform=False)

    damaged = ber.VarBind(name, ber.IP_ADDRESS, ber.Undecodable("IpAddress of 0 octets"))
    assert (trap.oid, trap.varbinds) == (FAN, (damaged, *REFERRED))


def test_reasons_are_fit_for_labels() -> None:
    assert all(drop.value.replace("-", "").isalnum() for drop in Drop)
