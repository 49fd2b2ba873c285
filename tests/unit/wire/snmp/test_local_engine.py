"""The discovery of RFC 5343, any other context engine, and what is seen of a message before it is authentic."""

from __future__ import annotations

import pytest

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.authority import LOCAL_ENGINE_ID, Incoming, asks_for_engine_id, peek
from hsm_agent.wire.snmp.pdu import ErrorStatus, PduType, open_message, read_varbinds
from tests.fakes.snmp_authority import AUTH, PRIV, Agent
from tests.fakes.snmp_messages import AUTH_USER, ENGINE_ID, NOW, PRIV_USER, SYS_NAME, V3, open_v3, pdu

SNMP_ENGINE_ID = (1, 3, 6, 1, 6, 3, 10, 2, 1, 1, 0)
ASKING = pdu(names=(SNMP_ENGINE_ID,))


@pytest.mark.parametrize(
    ("pdu_type", "names", "asks"),
    [
        (PduType.GET, (SNMP_ENGINE_ID,), True),
        (PduType.GETNEXT, (SNMP_ENGINE_ID[:-1],), True),
        (PduType.GETNEXT, (SNMP_ENGINE_ID,), False),
        (PduType.GET, (SNMP_ENGINE_ID, SYS_NAME), False),
        (PduType.GET, (SYS_NAME,), False),
        (PduType.GETBULK, (SNMP_ENGINE_ID[:-1],), False),
        (PduType.SET, (SNMP_ENGINE_ID,), False),
        (PduType.GET, (), False),
    ],
)
def test_what_asks_for_the_engine_id_and_nothing_else(
    pdu_type: PduType, names: tuple[ber.Oid, ...], asks: bool
) -> None:
    assert asks_for_engine_id(pdu_type, names) is asks


@pytest.mark.parametrize("keys", [AUTH, PRIV], ids=["authNoPriv", "authPriv"])
@pytest.mark.parametrize("context", [LOCAL_ENGINE_ID, b"another", b"x", ENGINE_ID], ids=lambda one: one.hex())
def test_any_context_engine_is_taken_for_our_own_and_given_back(keys: object, context: bytes) -> None:
    agent, user = Agent(), AUTH if keys is AUTH else PRIV

    request = agent.heard(V3(keys=user, context_engine_id=context, inner=ASKING).encode())
    answer = agent.authority.respond(request, ErrorStatus.NO_ERROR, 0, ())

    assert answer is not None
    assert open_v3(answer, user).scoped[:2] == (context, b"")


def test_an_empty_context_engine_is_our_own() -> None:
    agent = Agent()

    request = agent.heard(V3(keys=AUTH, context_engine_id=b"").encode())
    answer = agent.authority.respond(request, ErrorStatus.NO_ERROR, 0, ())

    assert answer is not None
    assert open_v3(answer, AUTH).scoped[:2] == (ENGINE_ID, b"")


def test_a_long_context_engine_leaves_less_room() -> None:
    agent = Agent()
    usual = agent.heard(V3(keys=AUTH).encode())
    longer = agent.heard(V3(keys=AUTH, context_engine_id=bytes(32)).encode())

    assert usual.room_octets - longer.room_octets == 32 - len(ENGINE_ID)


def test_a_context_engine_longer_than_any_engine_id_is_malformed() -> None:
    agent = Agent()

    assert agent.receive(V3(keys=AUTH, context_engine_id=bytes(33)).encode()) is None
    assert agent.counted == {"IN_ASN_PARSE_ERRS": 1}


def test_a_known_user_learns_the_engine_id_without_authentication() -> None:
    agent = Agent()

    answer = agent.receive(V3(keys=b"priv", flags=4, context_engine_id=LOCAL_ENGINE_ID, inner=ASKING).encode())

    assert isinstance(answer, bytes)
    said = open_v3(answer)
    assert said.header == (99, 65507, 0, 3)
    assert said.parameters[:4] == (ENGINE_ID, 7, 5000, b"priv")
    assert said.scoped[:2] == (LOCAL_ENGINE_ID, b"")
    assert said.pdu[:4] == (PduType.RESPONSE, 4711, 0, 0)
    assert read_varbinds(said.pdu.varbinds) == ((SNMP_ENGINE_ID, ber.OCTET_STRING, ENGINE_ID),)
    assert agent.counted == {}
    assert agent.failures == []


@pytest.mark.parametrize(
    ("message", "counted"),
    [
        (V3(keys=b"priv", flags=4, context_engine_id=LOCAL_ENGINE_ID), "UNSUPPORTED_SEC_LEVELS"),
        (V3(keys=b"priv", flags=4, inner=ASKING), "UNSUPPORTED_SEC_LEVELS"),
        (V3(keys=b"priv", flags=4, context_engine_id=LOCAL_ENGINE_ID, inner=b"\xa0\x00"), "UNSUPPORTED_SEC_LEVELS"),
        (V3(keys=b"nobody", flags=4, context_engine_id=LOCAL_ENGINE_ID, inner=ASKING), "UNKNOWN_USER_NAMES"),
        (V3(keys=b"", flags=4, engine_id=b"", context_engine_id=LOCAL_ENGINE_ID, inner=ASKING), "UNKNOWN_ENGINE_IDS"),
    ],
    ids=["another object", "another context engine", "malformed", "unknown user", "unknown engine"],
)
def test_everything_else_in_clear_is_reported(message: V3, counted: str) -> None:
    agent = Agent()

    assert open_v3(agent.report(message.encode())).pdu.pdu_type is PduType.REPORT
    assert agent.counted == {counted: 1}


AUTH, PRIV = AUTH_USER.localize(ENGINE_ID), PRIV_USER.localize(ENGINE_ID)


def incoming(message: V3) -> Incoming:
    datagram = message.encode()
    _, position, end = open_message(datagram)
    header, position = v3.read_header(datagram, position, end)
    parameters, position = v3.read_parameters(datagram, position, end)
    return Incoming(datagram, "127.0.0.1", NOW, header, parameters, position, end)


def test_whether_a_message_is_encrypted_is_what_its_flags_say() -> None:
    assert incoming(V3(keys=PRIV)).encrypted
    assert not incoming(V3(keys=AUTH)).encrypted


@pytest.mark.parametrize(
    ("message", "wanted", "seen"),
    [
        pytest.param(V3(keys=AUTH), None, True, id="any"),
        pytest.param(V3(keys=AUTH), LOCAL_ENGINE_ID, False, id="another context engine"),
        pytest.param(V3(keys=AUTH, context_engine_id=LOCAL_ENGINE_ID), LOCAL_ENGINE_ID, True, id="that context engine"),
        pytest.param(
            V3(keys=AUTH, context_engine_id=LOCAL_ENGINE_ID, context_name=b"a"), LOCAL_ENGINE_ID, False, id="a context"
        ),
        pytest.param(V3(keys=AUTH, inner=b"\xa0\x00"), None, False, id="no PDU"),
    ],
)
def test_a_pdu_in_clear_is_seen(message: V3, wanted: bytes | None, seen: bool) -> None:
    assert (peek(incoming(message), wanted) is not None) is seen
