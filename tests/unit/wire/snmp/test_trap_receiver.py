"""Who is believed, what is answered, what is dropped and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.engine import MAX_BOOTS, RemoteClock
from hsm_agent.wire.snmp.pdu import PduType, Version, encode_pdu
from hsm_agent.wire.snmp.trap_receiver import (
    MAX_OCTETS,
    AcceptedTrap,
    DiscoveryReply,
    Drop,
    DroppedTrap,
    SendingUser,
    TrapOutcome,
    TrapReceiver,
)
from tests.fakes.snmp_messages import (
    AUTH_USER,
    ENGINE_ID,
    NOW,
    PRIV_USER,
    V3,
    engine,
    open_community,
    open_v3,
    pdu,
)
from tests.fakes.traps import COMMUNITY, FAN, SENDER_ENGINE, notification_pdu, text, v1_pdu, v2c, v3_trap, varbinds

AUTH_THERE, PRIV_THERE = AUTH_USER.localize(SENDER_ENGINE), PRIV_USER.localize(SENDER_ENGINE)
AUTH_HERE, PRIV_HERE = AUTH_USER.localize(ENGINE_ID), PRIV_USER.localize(ENGINE_ID)
INFORM = notification_pdu(kind=PduType.INFORM)
DAMAGED = encode_pdu(PduType.INFORM, 815, 0, 0, [*varbinds(), ber.encode_varbind((1, 3, 6, 1, 4, 1, 9), b"\x40\x00")])


def receiver(clocks: dict[bytes, RemoteClock] | None = None) -> TrapReceiver:
    return TrapReceiver(
        engine=engine(),
        communities=(b"another", COMMUNITY),
        users=(SendingUser(AUTH_USER, (SENDER_ENGINE,)), SendingUser(PRIV_USER, (SENDER_ENGINE,))),
        clocks=clocks,
    )


def receive(message: bytes) -> TrapOutcome:
    return receiver().receive(message, "127.0.0.1", NOW)


def heard(outcome: TrapOutcome) -> AcceptedTrap:
    assert isinstance(outcome, AcceptedTrap), outcome
    return outcome


# Communities


@pytest.mark.parametrize(
    ("message", "version"),
    [
        pytest.param(v2c(), Version.V2C, id="v2c"),
        pytest.param(v2c(v1_pdu(), version=Version.V1), Version.V1, id="v1"),
    ],
)
def test_a_trap_by_community_is_heard_and_not_answered(message: bytes, version: Version) -> None:
    found = heard(receive(message))

    assert (found.trap.plain_oid, found.trap.version, found.trap.inform, found.answer) == (FAN, version, False, None)


def test_a_v2c_inform_is_acknowledged_with_what_it_said() -> None:
    found = heard(receive(v2c(INFORM)))

    assert (found.trap.inform, found.trap.request_id) == (True, 815)
    assert found.answer is not None
    version, community, answer = open_community(found.answer)
    assert (version, community) == (Version.V2C, COMMUNITY)
    assert answer == (PduType.RESPONSE, 815, 0, 0, b"".join(varbinds()))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param(v2c(community=b"public"), Drop.COMMUNITY, id="wrong community"),
        pytest.param(v2c(community=b""), Drop.COMMUNITY, id="no community"),
        pytest.param(v2c(pdu()), Drop.PDU, id="a GET"),
        pytest.param(v2c(notification_pdu(kind=PduType.RESPONSE)), Drop.PDU, id="a response"),
        pytest.param(v2c(notification_pdu(), version=Version.V1), Drop.PDU, id="a v2 trap in v1"),
        pytest.param(v2c()[:-1], Drop.MALFORMED, id="cut short"),
        pytest.param(b"", Drop.MALFORMED, id="nothing"),
        pytest.param(
            ber.encode(ber.SEQUENCE, ber.encode_integer(2) + ber.encode_octets(COMMUNITY)), Drop.VERSION, id="version 2"
        ),
        pytest.param(v2c(notification_pdu(FAN, text(FAN, "x" * MAX_OCTETS))), Drop.TOO_LONG, id="too long"),
    ],
)
def test_what_is_no_notification_of_a_known_sender_is_dropped(message: bytes, why: Drop) -> None:
    outcome = receive(message)

    assert isinstance(outcome, DroppedTrap)
    assert outcome[:2] == (why, None)
    assert bool(outcome.detail) is (why is Drop.MALFORMED)


def test_what_was_malformed_is_said() -> None:
    assert receive(v2c()[:-1]) == DroppedTrap(Drop.MALFORMED, None, "truncated")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(v2c(DAMAGED), id="v2c"),
        pytest.param(v2c(DAMAGED) + b"\0", id="v2c and an octet behind"),
        pytest.param(V3(keys=PRIV_HERE, inner=DAMAGED + b"\0").encode(), id="v3"),
    ],
)
def test_an_inform_with_a_damaged_value_is_heard_and_acknowledged(message: bytes) -> None:
    found = heard(receive(message))

    assert found.trap.oid == FAN
    assert found.trap.varbinds[-1].value == ber.Undecodable("IpAddress of 0 octets")
    assert found.answer is not None


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(v2c(v1_pdu()), id="a v1 trap in v2c"),
        pytest.param(v2c(b"", version=Version.V1), id="no PDU"),
        pytest.param(v2c(encode_pdu(PduType.INFORM, 1, 0, 0, ())), id="an inform of nothing"),
        pytest.param(V3(keys=AUTH_HERE, inner=encode_pdu(PduType.INFORM, 1, 0, 0, ())).encode(), id="by v3"),
    ],
)
def test_what_a_known_sender_says_and_nobody_can_read_is_known_to_be_from_it(message: bytes) -> None:
    outcome = receive(message)

    assert isinstance(outcome, DroppedTrap)
    assert (outcome.why, outcome.answer, outcome.authentic) == (Drop.MALFORMED, None, True)
    assert outcome.detail


def test_without_communities_and_users_nobody_is_heard() -> None:
    closed = TrapReceiver(engine=engine())

    assert closed.receive(v2c(), "127.0.0.1", NOW) == DroppedTrap(Drop.COMMUNITY)
    assert closed.receive(V3(keys=AUTH_HERE, inner=INFORM).encode(), "127.0.0.1", NOW) == DroppedTrap(Drop.VERSION)


# Traps by SNMPv3: the sender is the authority


@pytest.mark.parametrize("keys", [AUTH_THERE, PRIV_THERE], ids=["authNoPriv", "authPriv"])
def test_a_v3_trap_of_a_known_engine_is_heard(keys: object) -> None:
    found = heard(receive(v3_trap(keys=keys).encode()))

    assert (found.trap.oid, found.trap.version, found.answer) == (FAN, Version.V3, None)


WRONG = [
    pytest.param(v3_trap(keys=replace(AUTH_THERE, user_name=b"nobody")), Drop.USER, id="unknown user"),
    pytest.param(v3_trap(keys=b"auth", flags=0), Drop.LEVEL, id="no authentication"),
    pytest.param(v3_trap(keys=replace(PRIV_THERE, privacy=None)), Drop.LEVEL, id="below the user's level"),
    pytest.param(v3_trap(keys=AUTH_HERE), Drop.DIGEST, id="keys of our own engine"),
    pytest.param(v3_trap(keys=AUTH_THERE, boots=MAX_BOOTS), Drop.TIME, id="boots used up"),
    pytest.param(v3_trap(keys=replace(PRIV_THERE, privacy_key=bytes(32))), Drop.DECRYPTION, id="wrong privacy key"),
    pytest.param(v3_trap(keys=AUTH_THERE, inner=INFORM), Drop.PDU, id="an inform under its sender's engine"),
]


@pytest.mark.parametrize(("message", "why"), WRONG)
def test_a_v3_trap_that_fails_a_check_is_dropped_and_names_its_engine(message: V3, why: Drop) -> None:
    assert receive(message.encode()) == DroppedTrap(why, None, f"engine ID {SENDER_ENGINE.hex()}")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param(v3_trap(keys=AUTH_THERE, model=4), Drop.VERSION, id="another security model"),
        pytest.param(V3(keys=PRIV_HERE, flags=v3.PRIVACY, inner=INFORM), Drop.MALFORMED, id="privacy alone"),
    ],
)
def test_a_v3_message_that_is_none_is_dropped(message: V3, why: Drop) -> None:
    outcome = receive(message.encode())

    assert isinstance(outcome, DroppedTrap)
    assert outcome[:2] == (why, None)


def test_a_malformed_v3_trap_is_known_to_be_its_engines() -> None:
    found = receive(v3_trap(keys=AUTH_THERE, inner=b"\xa7\x00").encode())

    assert isinstance(found, DroppedTrap)
    assert (found.why, found.authentic) == (Drop.MALFORMED, True)
    assert found.detail.endswith(f"; engine ID {SENDER_ENGINE.hex()}")


@pytest.mark.parametrize(
    "message", [v3_trap(keys=AUTH_THERE), V3(keys=AUTH_HERE, inner=INFORM)], ids=["trap", "inform"]
)
def test_a_v3_notification_names_its_message(message: V3) -> None:
    datagram = message.encode()

    first, copy = heard(receive(datagram)).trap.origin, heard(receive(datagram)).trap.origin
    other = heard(receive(replace(message, message_id=9).encode())).trap.origin

    assert first is not None
    assert other is not None
    assert first == copy
    assert first[:3] == other[:3] == (message.engine_id, message.boots, message.time)
    assert first.digest != other.digest


def test_a_trap_of_an_unknown_engine_is_dropped_with_the_engine_id_to_configure() -> None:
    other = b"\x80\0\0\0\x01other"
    message = v3_trap(keys=AUTH_USER.localize(other), engine_id=other, flags=v3.AUTH)

    assert receive(message.encode()) == DroppedTrap(Drop.ENGINE, None, f"engine ID {other.hex()}")


def test_each_engine_has_its_own_time_window_that_never_goes_back() -> None:
    one = receiver()

    def outcome(boots: int, time: int, *, now: float = NOW) -> Drop | None:
        found = one.receive(v3_trap(keys=AUTH_THERE, boots=boots, time=time).encode(), "127.0.0.1", now)
        return found.why if isinstance(found, DroppedTrap) else None

    assert outcome(3, 1000) is None
    assert outcome(3, 851) is None
    assert outcome(3, 849) is Drop.TIME
    assert outcome(2, 9000) is Drop.TIME
    assert outcome(3, 1000, now=NOW + 151) is Drop.TIME
    assert outcome(4, 0, now=NOW + 152) is None
    assert outcome(3, 2000, now=NOW + 153) is Drop.TIME


def test_an_unauthentic_message_moves_no_clock() -> None:
    one = receiver()
    one.receive(v3_trap(keys=AUTH_HERE, boots=9).encode(), "127.0.0.1", NOW)

    assert one.clocks == {}
    assert isinstance(one.receive(v3_trap(keys=AUTH_THERE).encode(), "127.0.0.1", NOW), AcceptedTrap)
    assert {engine_id: (clock.boots, clock.time) for engine_id, clock in one.clocks.items()} == {
        SENDER_ENGINE: (3, 1000)
    }


def test_a_clock_from_before_the_start_goes_on() -> None:
    one = receiver({SENDER_ENGINE: RemoteClock(boots=3, time=1000, latest_received=1000, learnt=NOW, authentic=True)})
    replayed = v3_trap(keys=AUTH_THERE, time=849).encode()

    outcome = one.receive(replayed, "127.0.0.1", NOW)

    assert isinstance(outcome, DroppedTrap)
    assert outcome.why is Drop.TIME


# Informs by SNMPv3: our own engine is the authority


@pytest.mark.parametrize(("keys", "context"), [(AUTH_HERE, SENDER_ENGINE), (PRIV_HERE, ENGINE_ID), (AUTH_HERE, b"")])
def test_a_v3_inform_is_acknowledged_in_its_own_context(keys: object, context: bytes) -> None:
    given = AUTH_HERE if keys is AUTH_HERE else PRIV_HERE
    message = V3(keys=given, inner=INFORM, context_engine_id=context, context_name=b"hsm")

    found = heard(receive(message.encode()))

    assert (found.trap.oid, found.trap.inform, found.trap.request_id) == (FAN, True, 815)
    assert found.answer is not None
    answer = open_v3(found.answer, given)
    assert answer.pdu == (PduType.RESPONSE, 815, 0, 0, b"".join(varbinds()))
    assert answer.scoped[:2] == (context, b"hsm")
    assert answer.header.message_id == message.message_id


def test_a_sender_of_informs_learns_our_engine_and_time_and_nothing_is_counted_as_lost() -> None:
    probe = V3(keys=b"", engine_id=b"", boots=0, time=0, context_engine_id=b"", inner=pdu(names=()))

    first = receive(probe.encode())
    second = receive(V3(keys=AUTH_HERE, boots=0, time=0, inner=INFORM).encode())

    assert isinstance(first, DiscoveryReply)
    assert open_v3(first.answer).parameters.engine_id == ENGINE_ID
    assert isinstance(second, DiscoveryReply)
    assert open_v3(second.answer, AUTH_HERE).parameters[1:3] == (7, 5000)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param(V3(keys=replace(AUTH_HERE, user_name=b"nobody"), inner=INFORM), Drop.USER, id="unknown user"),
        pytest.param(V3(keys=b"auth", flags=4, inner=INFORM), Drop.LEVEL, id="no authentication"),
        pytest.param(V3(keys=replace(AUTH_HERE, auth_key=b"no"), inner=INFORM), Drop.DIGEST, id="wrong digest"),
        pytest.param(V3(keys=replace(PRIV_HERE, privacy_key=bytes(32)), inner=INFORM), Drop.DECRYPTION, id="wrong key"),
        pytest.param(V3(keys=AUTH_HERE), Drop.PDU, id="a GET"),
    ],
)
def test_a_v3_inform_that_fails_a_check_is_dropped_and_its_sender_told(message: V3, why: Drop) -> None:
    outcome = receive(message.encode())

    assert isinstance(outcome, DroppedTrap)
    assert outcome.why is why
    assert outcome.answer is not None
    keys = PRIV_HERE if message.keys == PRIV_HERE else AUTH_HERE
    assert open_v3(outcome.answer, keys).pdu.pdu_type is PduType.REPORT


def test_a_v3_trap_under_our_own_engine_is_nobodys() -> None:
    outcome = receive(V3(keys=AUTH_HERE, inner=notification_pdu(), flags=v3.AUTH).encode())

    assert outcome == DroppedTrap(Drop.PDU)


def test_an_inform_that_names_no_notification_is_not_acknowledged() -> None:
    empty = encode_pdu(PduType.INFORM, 1, 0, 0, ())

    assert receive(V3(keys=AUTH_HERE, inner=empty).encode()) == DroppedTrap(
        Drop.MALFORMED, None, "object identifier", authentic=True
    )
