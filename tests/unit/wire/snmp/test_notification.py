"""wire.notification: what an event looks like in an SNMP notification."""

from __future__ import annotations

import pytest
from hypothesis import given

from hsm_agent.model import EventKind, Severity
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.notification import COLD_START, encode_event, encode_notification
from hsm_agent.wire.snmp.pdu import read_varbinds
from tests.fakes.syslog_events import any_event, event

BASE = (1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 4801)
ALARM = (*BASE, 1, 8)
UP_TIME = (1, 3, 6, 1, 2, 1, 1, 3, 0)
TRAP_OID = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)


def test_an_event_carries_every_object_in_order() -> None:
    one = event(kind=EventKind.RAISED, severity=Severity.CRITICAL, time=1_700_000_000.25)

    found = read_varbinds(b"".join(encode_event(one, BASE, up_seconds=12.345)))

    assert [varbind.name for varbind in found] == [UP_TIME, TRAP_OID, *((*ALARM, n, 0) for n in range(1, 15))]
    assert [varbind.tag for varbind in found] == [
        ber.TIMETICKS,
        ber.OBJECT_IDENTIFIER,
        ber.OCTET_STRING,
        ber.INTEGER,
    ] + [ber.OCTET_STRING] * 12
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
    ]


@pytest.mark.parametrize(
    ("kind", "arc"),
    [
        (EventKind.RAISED, 1),
        (EventKind.CHANGED, 2),
        (EventKind.CLEARED, 3),
        (EventKind.TEST, 4),
        (EventKind.HEARTBEAT, 5),
        (EventKind.NOTICE, 6),
    ],
)
def test_each_kind_of_event_is_a_notification_of_its_own(kind: EventKind, arc: int) -> None:
    found = read_varbinds(b"".join(encode_event(event(kind=kind), BASE, up_seconds=0)))

    assert found[1].value == (*BASE, 0, arc)


@given(any_event())
def test_whatever_an_event_says_it_is_told(one: object) -> None:
    from hsm_agent.model import Event

    assert isinstance(one, Event)
    found = read_varbinds(b"".join(encode_event(one, BASE, up_seconds=1)))

    assert len(found) == 16
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
