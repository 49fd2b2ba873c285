"""What is taken, what is counted, what is logged, and how much of it there can be."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from hsm_agent.collect.traps.duplicates import MOST_INFORMS_EACH
from hsm_agent.collect.traps.held_alarms import SentAt, TrapEvent
from hsm_agent.collect.traps.intake import MOST_PENDING_EACH, MOST_SENDERS, permitted
from hsm_agent.collect.traps.trap_maps import AlarmChange, AlarmLevel
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.pdu import PduType
from hsm_agent.wire.snmp.trap_receiver import MAX_OCTETS, Drop
from tests.fakes.snmp_messages import AUTH_USER, ENGINE_ID, V3, pdu
from tests.fakes.trap_desk import NETWORKS, WALL, Desk
from tests.fakes.traps import ASSERTED, FAN, REFERENCE, SENDER_ENGINE, notification_pdu, text, v2c, v3_trap
from tests.fakes.traps import LUNA as LUNA_TRAPS

NOTE = "ipmievd[812] in messages of luna-a:172.20.11.40, 2014 Apr 3 15:47:30"
INFORM = v2c(notification_pdu(kind=PduType.INFORM))
UNKNOWN = (1, 3, 6, 1, 4, 1, 32473, 9)
THERE = AUTH_USER.localize(SENDER_ENGINE)


def test_a_trap_waits_with_its_sender_and_its_time() -> None:
    desk = Desk()

    assert desk.handle(v2c()) is None
    change = AlarmChange(alarm="fan", component="", level=AlarmLevel.WARNING, note=NOTE)
    (pending,) = desk.intake.pending
    assert pending.events == (TrapEvent(address="192.0.2.1", change=change, time=WALL),)
    assert pending.acknowledge is None
    assert (desk.woken, desk.count("received"), desk.dropped) == (1, 1, {})


def test_an_inform_is_acknowledged_by_whoever_fetches_it() -> None:
    desk = Desk()

    assert desk.handle(INFORM) is None
    desk.store()

    assert len(desk.sent) == 1
    assert desk.sent[0][-20:] == INFORM[-20:]


def test_a_repeated_inform_is_no_news_and_acknowledged_once_the_first_one_is() -> None:
    desk = Desk()
    desk.handle(INFORM)
    assert desk.handle(INFORM) is None
    desk.store()

    assert desk.handle(INFORM) == desk.sent[0]
    assert len(desk.intake.pending) == 0
    assert desk.count("received") == 3


def test_the_same_words_in_another_inform_of_another_sender_or_in_a_trap_are_news() -> None:
    desk = Desk()
    desk.handle(INFORM)
    desk.handle(INFORM, "192.0.2.2")
    desk.handle(v2c(notification_pdu(kind=PduType.INFORM, request_id=816)))
    desk.handle(v2c())
    desk.handle(v2c())

    assert len(desk.intake.pending) == 5


def test_what_is_remembered_of_informs_is_bounded() -> None:
    desk = Desk()
    for number in range(MOST_INFORMS_EACH + 50):
        desk.handle(v2c(notification_pdu(kind=PduType.INFORM, request_id=number)))
        desk.store()

    assert len(desk.intake.duplicates.to_store(WALL, ()).informs) == MOST_INFORMS_EACH


def test_an_inform_whose_words_were_not_taken_is_news_when_it_is_repeated() -> None:
    desk = Desk()
    desk.handle(INFORM)
    desk.intake.pending.pop("192.0.2.1").refuse()

    assert desk.handle(INFORM) is None
    assert len(desk.intake.pending) == 1


def test_a_copy_of_a_v3_trap_is_no_news_whatever_address_it_comes_from() -> None:
    desk = Desk()
    trap = v3_trap(keys=THERE).encode()
    desk.handle(trap)
    desk.store()
    desk.handle(trap)
    desk.handle(trap, "192.0.2.2")
    desk.handle(v3_trap(keys=THERE, message_id=9).encode())

    assert desk.dropped == {"repeated": 2}
    assert len(desk.intake.pending) == 1
    (pending,) = desk.intake.pending
    assert pending.events[0].sent == SentAt(SENDER_ENGINE.hex(), 3, 1000)
    assert pending.events[0].authentic


def test_a_copy_of_a_v3_inform_from_another_address_is_no_news() -> None:
    desk = Desk()
    inform = V3(keys=AUTH_USER.localize(ENGINE_ID), inner=notification_pdu(kind=PduType.INFORM)).encode()
    desk.handle(inform)
    desk.store()

    assert desk.handle(inform) is not None, "its sender may have missed the acknowledgement"
    assert desk.handle(inform, "192.0.2.2") is None
    assert desk.dropped == {"repeated": 1}


def test_who_may_not_speak_is_not_even_listened_to(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()

    assert desk.handle(INFORM, "198.51.100.7") is None
    assert (desk.dropped, desk.count("received"), desk.woken) == ({"sender": 1}, 0, 0)
    assert "source traps: 198.51.100.7: a datagram was dropped: sender" in caplog.text


def test_getting_acquainted_is_answered_and_nothing_is_counted() -> None:
    desk = Desk()
    probe = V3(keys=b"", engine_id=b"", boots=0, time=0, context_engine_id=b"", inner=pdu(names=()))

    assert desk.handle(probe.encode()) is not None
    assert (desk.dropped, desk.count("received")) == ({}, 0)


def test_what_is_not_believed_is_counted_by_reason_and_helps_to_configure(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    other = b"\x80\0\0\0\x01other"
    desk.handle(v3_trap(keys=AUTH_USER.localize(other), engine_id=other, flags=1).encode(), "192.0.2.2")
    desk.handle(v2c(community=b"public"))

    assert desk.dropped == {"auth-engine": 1, "auth-community": 1}
    assert f"192.0.2.2: a datagram was dropped: auth-engine (engine ID {other.hex()})" in caplog.text
    assert "public" not in caplog.text


def test_a_trap_that_means_nothing_is_acknowledged_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()

    assert desk.handle(v2c(notification_pdu(UNKNOWN, kind=PduType.INFORM))) is not None
    assert desk.handle(v2c(notification_pdu(UNKNOWN))) is None
    assert (desk.count("received"), desk.count("unmapped"), desk.woken, desk.dropped) == (2, 2, 0, {})
    assert "192.0.2.1: trap 1.3.6.1.4.1.32473.9 means nothing here: name it in maps" in caplog.text


def test_a_flood_of_one_sender_is_bounded_and_its_informs_are_not_acknowledged() -> None:
    desk = Desk()
    for _ in range(MOST_PENDING_EACH):
        desk.handle(v2c())

    desk.handle(INFORM)
    desk.handle(v2c())
    assert desk.sent == []
    assert len(desk.intake.pending) == MOST_PENDING_EACH
    desk.handle(v2c(), "192.0.2.2")
    assert len(desk.intake.pending) == MOST_PENDING_EACH + 1, "another sender has its own queue"
    desk.store()
    desk.handle(INFORM)
    assert len(desk.intake.pending) == 1, "what was dropped is news when it is repeated"
    assert desk.dropped == {"queue-full": 2}
    assert desk.count("received") == MOST_PENDING_EACH + 4


def test_damage_is_counted_by_device_and_by_who_can_have_sent_it() -> None:
    desk = Desk()
    desk.handle(b"garbage")
    desk.handle(v2c(b"\xa7\x00"))
    desk.handle(b"garbage", "192.0.2.77")
    desk.handle(v2c(notification_pdu(FAN, text(FAN, "x" * MAX_OCTETS))), "192.0.2.78")
    desk.handle(b"garbage", "198.51.100.7")

    assert desk.counts("malformed") == {
        ("yes", "luna-a"): 1,
        ("no", "luna-a"): 1,
        ("yes", "other"): 0,
        ("no", "other"): 2,
    }


def test_what_is_refused_is_counted_by_device_and_reason() -> None:
    desk = Desk()
    for _ in range(50):
        desk.handle(v2c(community=b"guess"), "192.0.2.77")
    desk.handle(v2c(community=b"old"))

    shown = desk.counts("refused")
    assert shown["auth-community", "other"] == 50
    assert shown["auth-community", "luna-a"] == 1
    assert sum(shown.values()) == 51
    assert {reason for reason, _ in shown} == {why.value for why in Drop if why.value.startswith("auth-")}


def test_what_is_lost_for_want_of_room_is_counted_by_device_but_for_what_the_kernel_dropped() -> None:
    desk = Desk()
    for _ in range(MOST_PENDING_EACH + 3):
        desk.handle(v2c(), "192.0.2.77")
    for _ in range(MOST_PENDING_EACH + 1):
        desk.handle(v2c())
    desk.intake.drop(Drop.ALARMS, "192.0.2.1")
    desk.intake.note_unread([4])

    assert desk.counts("lost") == {
        ("queue-full", "luna-a"): 1,
        ("queue-full", "other"): 3,
        ("alarms-full", "luna-a"): 1,
        ("alarms-full", "other"): 0,
        ("socket-full", "other"): 4,
    }
    assert sum(reading.metric == "traps_lost_total" for reading in desk.intake.readings(WALL)) == 5


def test_a_sender_that_is_permitted_by_its_own_address_is_known_by_it_within_a_bound() -> None:
    lone = [ip_network(f"198.51.100.{number}") for number in range(200)]
    desk = Desk(networks=(*lone, ip_network("192.0.2.0/24")))
    for address in ("198.51.100.1", "198.51.100.199", "192.0.2.9"):
        desk.handle(v2c(community=b"guess"), address)

    senders = {sender for _, sender in desk.counts("refused")}
    assert senders == {"luna-a", "other", *(f"198.51.100.{number}" for number in range(MOST_SENDERS))}
    assert desk.count("refused", reason="auth-community", sender="198.51.100.1") == 1
    assert desk.count("refused", reason="auth-community", sender="other") == 2


def test_a_trap_with_a_damaged_value_is_judged_by_the_others_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    broken = ber.encode_varbind((*LUNA_TRAPS, 99), b"\x02\x09" + bytes(range(1, 10)))
    desk.handle(v2c(notification_pdu(FAN, broken, text(REFERENCE, ASSERTED))))
    desk.handle(v2c(notification_pdu(UNKNOWN, broken)))

    (pending,) = desk.intake.pending
    assert pending.events[0].change.note == NOTE
    assert (desk.count("received"), desk.count("unmapped"), desk.dropped) == (2, 0, {})
    assert desk.count("malformed", authentic="yes", sender="luna-a") == 2
    assert f"a value of trap {'.'.join(map(str, FAN))} cannot be decoded: INTEGER of 9 octets" in caplog.text


def test_what_the_kernel_dropped_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    for counts in ([0, 0], [3, 0], [3, 4], [0], [2]):
        desk.intake.note_unread(counts)

    assert desk.dropped == {"socket-full": 9}
    assert [record.getMessage() for record in caplog.records] == [
        "source traps: any address: 3 datagrams came faster than they could be read"
    ]


def test_forged_senders_do_not_silence_the_log_about_a_device(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    for number in range(1100):
        desk.handle(b"garbage", f"2001:db8::{number:x}")

    desk.handle(v2c(community=b"public"))

    assert "192.0.2.1: a datagram was dropped: auth-community" in caplog.text


def test_a_sender_is_spoken_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    for _ in range(500):
        desk.handle(b"garbage")
    desk.now += 59
    desk.handle(v2c(community=b"public"))
    assert len(caplog.records) == 1

    desk.now += 1
    desk.handle(b"garbage")

    assert len(caplog.records) == 2
    assert desk.dropped == {"malformed": 501, "auth-community": 1}


def test_forged_senders_fill_neither_log_nor_memory(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    for number in range(1100):
        desk.handle(b"garbage", f"2001:db8::{number:x}")
    assert len(caplog.records) == MOST_SENDERS + 1  # one for all the others

    desk.now += 60
    desk.handle(b"garbage", "2001:db8::ffff")

    assert len(caplog.records) == MOST_SENDERS + 2
    assert len(desk.intake._names) <= 1024


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("2001:db8:0::1%eth0", "2001:db8::1"),
        ("198.51.100.1", None),
        ("no address", None),
    ],
)
def test_a_sender_has_one_spelling(address: str, sender: str | None) -> None:
    assert permitted(address, NETWORKS) == sender


def test_every_reason_has_its_counter() -> None:
    assert {reason for (reason,) in Desk().counts("dropped")} == {why.value for why in Drop}
