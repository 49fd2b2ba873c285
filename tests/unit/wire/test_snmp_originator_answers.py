"""wire.snmp_originator: which answers are not believed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.wire import snmp, snmp_v3
from hsm_agent.wire.engine import MAX_BOOTS
from hsm_agent.wire.snmp import PduType
from hsm_agent.wire.snmp_originator import (
    Acknowledged,
    Declined,
    Learned,
)
from tests.fakes.inform_receiver import RECEIVER_ENGINE, InformReceiver
from tests.fakes.snmp_messages import NOW, PRIV_USER, open_v3
from tests.fakes.snmp_talk import VARBINDS, Talk, talk, v2c, v3


def test_an_answer_from_before_is_not_believed() -> None:
    made = talk()
    old = made.receiver.answer(made.originator.encode_inform(7, VARBINDS, made.now), made.now)
    made.now += 1000
    assert made.inform(8) == Acknowledged(8)

    assert made.hear(old) is None


def test_an_answer_of_earlier_boots_is_not_believed() -> None:
    made = talk()
    old = made.receiver.answer(made.originator.encode_inform(7, VARBINDS, made.now), made.now)
    made.receiver.boots = 4
    assert made.inform(8) == Learned()

    assert made.hear(old) is None


def test_a_receiver_that_has_used_up_its_boots_is_not_believed() -> None:
    made = Talk(v3(), InformReceiver(user=PRIV_USER, boots=MAX_BOOTS))

    assert made.probe() == Learned()
    assert made.probe() is None


def test_a_forged_answer_is_not_believed() -> None:
    made = talk()
    made.receiver.forged = True

    assert made.inform() is None


def test_an_answer_below_the_users_level_is_not_believed() -> None:
    made = talk(PRIV_USER)
    made.originator.encode_inform(7, VARBINDS, NOW)
    sent = made.originator.encode_inform(7, VARBINDS, NOW)
    keys = replace(PRIV_USER.localize(RECEIVER_ENGINE), privacy=None)
    header = open_v3(sent, PRIV_USER.localize(RECEIVER_ENGINE)).header
    response = snmp.encode_pdu(PduType.RESPONSE, 7, 0, 0, VARBINDS)

    answer = snmp_v3.encode_message(
        snmp_v3.Header(header.message_id, 65507, snmp_v3.AUTH, 3),
        engine_id=RECEIVER_ENGINE,
        boots=3,
        time=int(NOW),
        keys=keys,
        scoped=snmp_v3.encode_scoped(RECEIVER_ENGINE, b"", response),
    )

    assert made.hear(answer) is None


def test_a_response_in_clear_is_not_believed() -> None:
    made = talk()
    header = open_v3(made.originator.encode_inform(7, VARBINDS, NOW), PRIV_USER.localize(RECEIVER_ENGINE)).header

    answer = snmp_v3.encode_message(
        snmp_v3.Header(header.message_id, 65507, 0, 3),
        engine_id=RECEIVER_ENGINE,
        boots=3,
        time=int(NOW),
        keys=b"priv",
        scoped=snmp_v3.encode_scoped(RECEIVER_ENGINE, b"", snmp.encode_pdu(PduType.RESPONSE, 7, 0, 0, VARBINDS)),
    )

    assert made.hear(answer) is None


@given(st.data())
def test_a_damaged_answer_is_never_an_acknowledgement_in_v3(data: st.DataObject) -> None:
    made = talk()
    answer = bytearray(
        made.receiver.answer(made.originator.encode_inform(7, VARBINDS, NOW), NOW) or b"",
    )
    at = data.draw(st.integers(0, len(answer) - 1))
    answer[at] ^= data.draw(st.integers(1, 255))

    assert not isinstance(made.hear(bytes(answer)), Acknowledged | Declined)


@given(st.binary(max_size=200))
def test_any_octets_raise_nothing(data: bytes) -> None:
    assert v2c().receive(data, NOW) is None
    assert v3().receive(data, NOW) is None
