"""Which answers are not believed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.client_engine import Complaint, Discovered, SnmpResponse
from hsm_agent.wire.snmp.engine import MAX_BOOTS, Count
from hsm_agent.wire.snmp.pdu import PduType, encode_pdu
from hsm_agent.wire.snmp.usm import Keys, PrivacyProtocol
from tests.fakes.inform_receiver import RECEIVER_ENGINE, InformReceiver
from tests.fakes.snmp_messages import AUTH_USER, NOW, PRIV_USER, open_v3, parameters_of, rebuilt
from tests.fakes.snmp_talk import VARBINDS, Talk, talk, v2c_originator, v3_originator


def test_an_answer_from_before_is_not_believed() -> None:
    made = talk()
    old = made.receiver.answer(made.originator.encode_inform(7, VARBINDS, made.now), made.now)
    made.now += 1000
    assert made.inform(8) == SnmpResponse(8, 0)

    assert made.hear(old) is None


def test_an_answer_of_earlier_boots_is_not_believed() -> None:
    made = talk()
    old = made.receiver.answer(made.originator.encode_inform(7, VARBINDS, made.now), made.now)
    made.receiver.boots = 4
    assert made.inform(8) == Discovered()

    assert made.hear(old) is None


def test_a_receiver_that_has_used_up_its_boots_is_not_believed() -> None:
    made = Talk(v3_originator(), InformReceiver(user=PRIV_USER, boots=MAX_BOOTS))

    assert made.probe() == Discovered()
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
    response = encode_pdu(PduType.RESPONSE, 7, 0, 0, VARBINDS)

    answer = v3.encode_message(
        v3.Header(header.message_id, 65507, v3.AUTH, 3),
        engine_id=RECEIVER_ENGINE,
        boots=3,
        time=int(NOW),
        keys=keys,
        scoped=v3.encode_scoped(RECEIVER_ENGINE, b"", response),
    )

    assert made.hear(answer) is None


def test_a_response_in_clear_is_not_believed() -> None:
    made = talk()
    header = open_v3(made.originator.encode_inform(7, VARBINDS, NOW), PRIV_USER.localize(RECEIVER_ENGINE)).header

    answer = v3.encode_message(
        v3.Header(header.message_id, 65507, 0, 3),
        engine_id=RECEIVER_ENGINE,
        boots=3,
        time=int(NOW),
        keys=b"priv",
        scoped=v3.encode_scoped(RECEIVER_ENGINE, b"", encode_pdu(PduType.RESPONSE, 7, 0, 0, VARBINDS)),
    )

    assert made.hear(answer) is None


def _forge(
    made: Talk, *, flags: int, keys: Keys | bytes, salt: bytes = b"", engine_id: bytes = RECEIVER_ENGINE
) -> bytes:
    """A Report of an unknown engine ID in answer to an inform, at any level."""
    sent = made.originator.encode_inform(7, VARBINDS, NOW)
    header = open_v3(sent, made.receiver.user.localize(RECEIVER_ENGINE) if made.receiver.user else None).header
    varbind = ber.encode_varbind(Count.UNKNOWN_ENGINE_IDS.oid, ber.encode_counter32(1))
    return v3.encode_message(
        v3.Header(header.message_id, 65507, flags, 3),
        engine_id=engine_id,
        boots=3,
        time=int(NOW),
        keys=keys,
        scoped=v3.encode_scoped(b"", b"", encode_pdu(PduType.REPORT, 0, 0, 0, (varbind,))),
        salt=salt,
    )


def test_a_report_that_claims_privacy_alone_is_not_believed() -> None:
    made = talk()

    assert made.hear(_forge(made, flags=v3.PRIVACY, keys=b"")) is None


def test_a_report_that_names_no_engine_is_not_believed() -> None:
    made = talk()

    assert made.hear(_forge(made, flags=0, keys=b"", engine_id=b"four")) is None


def test_a_receiver_that_denies_the_engine_it_named_contradicts_itself() -> None:
    made = talk()

    assert made.hear(_forge(made, flags=0, keys=b"")) == Complaint(Count.UNKNOWN_ENGINE_IDS)


def test_a_denial_of_the_engine_from_before_it_was_learnt_is_no_contradiction() -> None:
    made = talk()
    denial = _forge(made, flags=0, keys=b"")
    made.receiver.boots += 1
    assert made.inform(8) == Discovered()

    assert made.hear(denial) is None


def test_an_encrypted_answer_to_a_user_without_privacy_is_not_believed() -> None:
    made = talk(AUTH_USER)
    keys = replace(AUTH_USER.localize(RECEIVER_ENGINE), privacy=PrivacyProtocol.AES128, privacy_key=bytes(16))

    assert made.hear(_forge(made, flags=v3.LEVEL, keys=keys, salt=bytes(8))) is None


def test_an_encrypted_answer_without_a_salt_is_not_believed() -> None:
    made = talk()
    keys = PRIV_USER.localize(RECEIVER_ENGINE)
    sent = made.originator.encode_inform(7, VARBINDS, NOW)
    blank = rebuilt(sent, bytes(48), flags=v3.LEVEL, salt=b"short", data=ber.encode_octets(b"noise"))

    assert made.hear(keys.sign(blank, parameters_of(blank).digest_offset)) is None


def test_an_answer_of_another_version_or_to_another_message_is_ignored() -> None:
    community, user = Talk(v2c_originator(), InformReceiver()), talk()
    to_community = community.receiver.answer(community.originator.encode_inform(7, VARBINDS, NOW), NOW)
    to_user = user.receiver.answer(user.originator.encode_inform(7, VARBINDS, NOW), NOW)

    assert user.hear(to_community) is None
    assert community.hear(to_user) is None
    assert Talk(v3_originator(), InformReceiver()).hear(to_user) is None


@given(st.data())
def test_a_damaged_answer_is_never_an_acknowledgement_in_v3(data: st.DataObject) -> None:
    made = talk()
    answer = bytearray(
        made.receiver.answer(made.originator.encode_inform(7, VARBINDS, NOW), NOW) or b"",
    )
    at = data.draw(st.integers(0, len(answer) - 1))
    answer[at] ^= data.draw(st.integers(1, 255))

    assert not isinstance(made.hear(bytes(answer)), SnmpResponse)


@given(st.binary(max_size=200))
def test_any_octets_raise_nothing(data: bytes) -> None:
    assert v2c_originator().receive(data, NOW) is None
    assert v3_originator().receive(data, NOW) is None
