"""Traps, informs, discovery, the receiver's engine and its time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.client_engine import Complaint, Discovered, Originator, SnmpResponse, TooBigError
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.pdu import PduType, encode_pdu
from tests.fakes.inform_receiver import RECEIVER_ENGINE, InformReceiver
from tests.fakes.snmp_messages import AUTH_USER, ENGINE_ID, NOW, PRIV_USER, engine, open_community, open_v3

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.usm import User
from tests.fakes.snmp_talk import VARBINDS, Talk, talk, v2c_originator, v3_originator


def test_a_v2c_trap_has_the_community() -> None:
    version, community, pdu = open_community(v2c_originator().encode_trap(VARBINDS, NOW))

    assert (version, community) == (1, b"public")
    assert pdu == (PduType.TRAP, 101, 0, 0, VARBINDS[0])


@pytest.mark.parametrize("user", [AUTH_USER, PRIV_USER], ids=["authNoPriv", "authPriv"])
def test_a_v3_trap_is_under_our_own_engine_and_not_reportable(user: User) -> None:
    keys = user.localize(ENGINE_ID)

    trap = open_v3(v3_originator(user).encode_trap(VARBINDS, NOW), keys)

    assert trap.header.flags == (v3.LEVEL if keys.privacy else v3.AUTH)
    assert trap.parameters[:4] == (ENGINE_ID, 7, 5000, user.name.encode())
    assert trap.scoped[:2] == (ENGINE_ID, b"")
    assert trap.pdu.pdu_type is PduType.TRAP
    assert trap.pdu.varbinds == VARBINDS[0]


def test_a_v2c_inform_is_acknowledged_by_a_response_to_it() -> None:
    made = Talk(v2c_originator(), InformReceiver())

    assert made.originator.ready
    assert made.inform(7) == SnmpResponse(7, 0)
    assert made.receiver.informs[0].pdu_type is PduType.INFORM


def test_a_response_with_an_error_declines() -> None:
    assert Talk(v2c_originator(), InformReceiver(error_status=5)).inform(7) == SnmpResponse(7, 5)


def test_the_community_of_an_answer_is_not_looked_at() -> None:
    assert isinstance(Talk(v2c_originator(), InformReceiver(forged=True)).inform(), SnmpResponse)


def test_what_was_ignored_is_said() -> None:
    made = Talk(v2c_originator(), InformReceiver())
    answer = made.receiver.answer(made.originator.encode_inform(7, VARBINDS, NOW), NOW) or b""

    assert made.hear(answer[:-1]) is None
    assert made.originator.ignored == f"{len(answer) - 1} octets that cannot be decoded (truncated)"
    assert made.hear(answer.replace(b"\x02\x01\x01", b"\x02\x01\x00", 1)) is None
    assert made.originator.ignored == "a message of SNMP v1"
    assert made.hear(answer.replace(b"\x02\x01\x01", b"\x02\x01\x09", 1)) is None
    assert made.originator.ignored == "a message of SNMP version number 9"


def test_an_answer_to_nothing_asked_is_ignored() -> None:
    made = Talk(v2c_originator(), InformReceiver())
    message = made.originator.encode_inform(7, VARBINDS, NOW)
    made.originator.forget(7)

    assert made.hear(made.receiver.answer(message, NOW)) is None


def test_an_inform_sent_back_is_no_answer() -> None:
    made = Talk(v2c_originator(), InformReceiver())

    assert made.hear(made.originator.encode_inform(7, VARBINDS, NOW)) is None


def test_v3_informs_wait_for_discovery() -> None:
    with pytest.raises(ValueError, match="send a probe first"):
        v3_originator().encode_inform(1, VARBINDS, NOW)


@pytest.mark.parametrize("user", [AUTH_USER, PRIV_USER], ids=["authNoPriv", "authPriv"])
def test_discovery_takes_two_probes_and_the_second_is_authentic(user: User) -> None:
    made = Talk(v3_originator(user), InformReceiver(user=user))

    steps = [(made.probe(), made.originator.ready) for _ in range(2)]

    assert steps == [(Discovered(), False), (Discovered(), True)]
    assert made.inform(7) == SnmpResponse(7, 0)


def test_boots_and_time_of_a_report_in_clear_are_not_believed() -> None:
    made = Talk(v3_originator(), InformReceiver(user=PRIV_USER))
    made.probe()

    second = open_v3(made.originator.encode_probe(), PRIV_USER.localize(RECEIVER_ENGINE))

    assert second.parameters[:3] == (RECEIVER_ENGINE, 0, 0)


def test_an_inform_is_under_the_receivers_engine_and_clock() -> None:
    made = talk()
    made.now += 100

    inform = open_v3(made.originator.encode_inform(7, VARBINDS, made.now), PRIV_USER.localize(RECEIVER_ENGINE))

    assert inform.header.flags == v3.LEVEL | v3.REPORTABLE
    assert inform.parameters[:3] == (RECEIVER_ENGINE, 3, NOW + 100)
    assert inform.scoped.context_engine_id == ENGINE_ID
    assert inform.pdu == (PduType.INFORM, 7, 0, 0, VARBINDS[0])


def test_a_repetition_keeps_its_request_id_and_has_a_new_message_id_and_salt() -> None:
    made = talk()
    keys = PRIV_USER.localize(RECEIVER_ENGINE)

    first, second = (open_v3(made.originator.encode_inform(7, VARBINDS, NOW), keys) for _ in range(2))

    assert first.pdu.request_id == second.pdu.request_id == 7
    assert first.header.message_id != second.header.message_id
    assert first.parameters.salt != second.parameters.salt


def test_the_answer_to_an_earlier_repetition_counts() -> None:
    made = talk()
    first = made.originator.encode_inform(7, VARBINDS, NOW)
    made.originator.encode_inform(7, VARBINDS, NOW)

    assert made.hear(made.receiver.answer(first, NOW)) == SnmpResponse(7, 0)


def test_a_receiver_that_started_anew_is_learnt_again() -> None:
    made = talk()
    made.receiver.boots, made.receiver.started = 4, NOW

    assert made.inform(7) == Discovered()
    assert made.originator.ready
    assert made.inform(7) == SnmpResponse(7, 0)


def test_a_receiver_with_a_new_engine_is_discovered_again() -> None:
    made = talk()
    made.receiver.engine_id = b"another engine"

    assert made.inform(7) == Discovered()
    assert not made.originator.ready
    assert made.probe() == Discovered()
    assert made.inform(7) == SnmpResponse(7, 0)


def test_a_clock_that_lags_is_followed() -> None:
    made = talk()
    made.now += 1000
    made.receiver.started += 400

    assert made.inform(7) == Discovered()
    assert made.inform(7) == SnmpResponse(7, 0)


@pytest.mark.parametrize(
    ("receiver", "cause"),
    [
        pytest.param(InformReceiver(user=AUTH_USER), Count.UNKNOWN_USER_NAMES, id="unknown user"),
        pytest.param(
            InformReceiver(user=replace(PRIV_USER, auth_master=b"other")), Count.WRONG_DIGESTS, id="wrong pass-phrase"
        ),
        pytest.param(
            InformReceiver(user=PRIV_USER, complaint=Count.UNSUPPORTED_SEC_LEVELS),
            Count.UNSUPPORTED_SEC_LEVELS,
            id="level not allowed",
        ),
    ],
)
def test_a_complaint_in_discovery_is_passed_on(receiver: InformReceiver, cause: Count) -> None:
    made = Talk(v3_originator(), receiver)
    assert made.probe() == Discovered()

    assert made.probe() == Complaint(cause)


def test_a_complaint_of_something_unheard_of_has_no_cause() -> None:
    made = talk()
    sent = made.originator.encode_inform(7, VARBINDS, NOW)
    header = open_v3(sent, PRIV_USER.localize(RECEIVER_ENGINE)).header
    varbind = ber.encode_varbind((1, 3, 6, 1, 4, 1, 99), ber.encode_counter32(1))

    for varbinds in ((varbind,), ()):
        report = v3.encode_message(
            v3.Header(header.message_id, 65507, 0, 3),
            engine_id=RECEIVER_ENGINE,
            boots=3,
            time=int(NOW),
            keys=b"",
            scoped=v3.encode_scoped(b"", b"", encode_pdu(PduType.REPORT, 0, 0, 0, varbinds)),
        )
        assert made.hear(report) == Complaint(None)


def test_a_receivers_maximum_size_is_kept() -> None:
    made = Talk(v3_originator(), InformReceiver(user=PRIV_USER, max_size=484))
    made.get_ready()
    large = [ber.encode_varbind((1, 3), ber.encode_octets(bytes(500)))]

    with pytest.raises(TooBigError, match="484 at most"):
        made.originator.encode_inform(7, large, NOW)


@pytest.mark.parametrize("make", [v2c_originator, v3_originator])
def test_what_fits_no_datagram_is_not_encoded(make: object) -> None:
    originator = v2c_originator() if make is v2c_originator else v3_originator()

    with pytest.raises(TooBigError):
        originator.encode_trap([bytes(65507)], NOW)


def test_an_originator_speaks_for_a_community_or_for_a_user() -> None:
    with pytest.raises(ValueError, match="either"):
        Originator(engine=engine(), first_id=1)


def test_identifiers_start_over_at_nought() -> None:
    originator = Originator(engine=engine(), first_id=2**31 - 1, community=b"public")

    assert [originator.next_id(), originator.next_id()] == [0, 1]


def test_what_is_remembered_of_unanswered_informs_is_bounded() -> None:
    made = Talk(v2c_originator(), InformReceiver())
    messages = [made.originator.encode_inform(number, VARBINDS, NOW) for number in range(1100)]

    assert made.hear(made.receiver.answer(messages[0], NOW)) is None
    assert made.hear(made.receiver.answer(messages[-1], NOW)) == SnmpResponse(1099, 0)
