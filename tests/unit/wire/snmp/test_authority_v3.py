"""Who is heard by SNMPv3, who gets a Report, who gets nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.authority import LOCAL_ENGINE_ID
from hsm_agent.wire.snmp.engine import MAX_BOOTS, Count
from hsm_agent.wire.snmp.pdu import PduType, Version, read_names, read_varbinds
from tests.fakes.snmp_authority import AUTH, PRIV, Agent
from tests.fakes.snmp_messages import ENGINE_ID, SYS_NAME, V3, open_v3, parameters_of, pdu, rebuilt


@pytest.mark.parametrize(("keys", "principal"), [(AUTH, "auth"), (PRIV, "priv")])
def test_a_v3_request_at_the_users_level_is_handed_out(keys: object, principal: str) -> None:
    agent = Agent()

    request = agent.heard(V3(keys=AUTH if keys is AUTH else PRIV, max_size=1400).encode())

    assert request.version is Version.V3
    assert (request.principal, request.names, request.max_octets) == (principal, (SYS_NAME,), 1400)
    assert agent.counted == {}


def test_as_long_as_the_boots_are_not_stored_nothing_of_v3_is_heard_or_answered() -> None:
    agent = Agent(boots=0)

    assert agent.receive(V3(keys=AUTH, boots=0).encode()) is None
    assert agent.receive(V3(keys=b"", engine_id=b"", boots=0, time=0, inner=pdu(names=())).encode()) is None
    assert agent.counted == {"IN_BAD_VERSIONS": 2}
    assert agent.failures == []


def test_discovery_is_answered_in_clear_with_engine_boots_and_time() -> None:
    agent = Agent()
    probe = V3(keys=b"", engine_id=b"", boots=0, time=0, context_engine_id=b"", inner=pdu(names=()))

    report = open_v3(agent.report(probe.encode()))

    assert report.header == (99, 65507, 0, 3)
    assert report.parameters[:3] == (ENGINE_ID, 7, 5000)
    assert report.pdu[:4] == (PduType.REPORT, 4711, 0, 0)
    assert read_varbinds(report.pdu.varbinds) == ((Count.UNKNOWN_ENGINE_IDS.oid, ber.COUNTER32, 1),)
    assert agent.failures == []


REPORTED = [
    pytest.param(V3(keys=AUTH, engine_id=b"someone else"), Count.UNKNOWN_ENGINE_IDS, 0, id="another engine"),
    pytest.param(V3(keys=replace(AUTH, user_name=b"nobody")), Count.UNKNOWN_USER_NAMES, 0, id="unknown user"),
    pytest.param(V3(keys=b"", flags=4), Count.UNKNOWN_USER_NAMES, 0, id="no user"),
    pytest.param(V3(keys=b"auth", flags=4), Count.UNSUPPORTED_SEC_LEVELS, 0, id="noAuthNoPriv"),
    pytest.param(V3(keys=replace(PRIV, privacy=None)), Count.UNSUPPORTED_SEC_LEVELS, 0, id="below the user's level"),
    pytest.param(
        V3(keys=replace(PRIV, user_name=b"auth")), Count.UNSUPPORTED_SEC_LEVELS, 0, id="above the user's level"
    ),
    pytest.param(V3(keys=replace(AUTH, auth_key=b"wrong")), Count.WRONG_DIGESTS, 0, id="wrong digest"),
    pytest.param(
        V3(keys=replace(AUTH, auth=PRIV.auth, auth_key=PRIV.auth_key)), Count.WRONG_DIGESTS, 0, id="longer digest"
    ),
    pytest.param(V3(keys=AUTH, boots=6), Count.NOT_IN_TIME_WINDOWS, 1, id="before the last start"),
    pytest.param(V3(keys=AUTH, boots=8), Count.NOT_IN_TIME_WINDOWS, 1, id="after the next start"),
    pytest.param(V3(keys=AUTH, time=4849), Count.NOT_IN_TIME_WINDOWS, 1, id="151 seconds late"),
    pytest.param(V3(keys=PRIV, time=5151), Count.NOT_IN_TIME_WINDOWS, 1, id="151 seconds early"),
    pytest.param(V3(keys=replace(PRIV, privacy_key=bytes(32))), Count.DECRYPTION_ERRORS, 0, id="wrong privacy key"),
    pytest.param(V3(keys=AUTH, context_engine_id=LOCAL_ENGINE_ID), Count.UNKNOWN_PDU_HANDLERS, 1, id="local engine"),
    pytest.param(V3(keys=PRIV, context_name=b"vlan-1"), Count.UNKNOWN_CONTEXTS, 3, id="context name"),
    pytest.param(V3(keys=PRIV, inner=pdu(PduType.INFORM)), Count.UNKNOWN_PDU_HANDLERS, 3, id="an inform"),
]


@pytest.mark.parametrize(("message", "cause", "level"), REPORTED)
def test_a_v3_message_that_fails_a_check_is_reported_and_counted(message: V3, cause: Count, level: int) -> None:
    agent = Agent()
    keys = PRIV if message.keys == PRIV or (not isinstance(message.keys, bytes) and message.keys.privacy) else AUTH

    report = open_v3(agent.report(message.encode()), keys)

    assert report.header == (99, 65507, level, 3)
    assert report.parameters[:3] == (ENGINE_ID, 7, 5000)
    assert report.scoped[:2] == (ENGINE_ID, b"")
    assert report.pdu.pdu_type is PduType.REPORT
    assert read_varbinds(report.pdu.varbinds) == ((cause.oid, ber.COUNTER32, 1),)
    assert agent.counted == {cause.name: 1}
    authentication = {"UNKNOWN_USER_NAMES", "UNSUPPORTED_SEC_LEVELS", "WRONG_DIGESTS"}
    assert agent.failures == (["127.0.0.1"] if cause.name in authentication else [])


@pytest.mark.parametrize(("message", "cause", "level"), REPORTED)
def test_without_the_reportable_flag_there_is_no_report(message: V3, cause: Count, level: int) -> None:
    agent = Agent()
    open_flags = 0
    if not isinstance(message.keys, bytes):
        open_flags = v3.LEVEL if message.keys.privacy else v3.AUTH

    assert agent.receive(replace(message, flags=open_flags).encode()) is None
    assert agent.counted == {cause.name: 1}


@pytest.mark.parametrize("pdu_type", [PduType.REPORT, PduType.RESPONSE, PduType.TRAP])
def test_a_report_never_answers_what_is_not_a_request(pdu_type: PduType) -> None:
    agent = Agent()

    assert agent.receive(V3(keys=b"", flags=4, engine_id=b"", inner=pdu(pdu_type)).encode()) is None
    assert agent.receive(V3(keys=AUTH, inner=pdu(pdu_type)).encode()) is None
    assert agent.counted == {"UNKNOWN_ENGINE_IDS": 1, "UNKNOWN_PDU_HANDLERS": 1}


def test_a_report_on_what_cannot_be_read_goes_by_the_flag() -> None:
    agent = Agent()

    report = open_v3(agent.report(V3(keys=b"", flags=4, engine_id=b"", inner=b"\xa0\x00").encode()))

    assert report.pdu.request_id == 0


@pytest.mark.parametrize("time", [4850, 5150])
def test_the_time_window_is_150_seconds_either_way(time: int) -> None:
    assert Agent().heard(V3(keys=AUTH, time=time).encode()).principal == "auth"


def test_an_engine_that_has_used_up_its_boots_answers_nobody() -> None:
    agent = Agent(boots=MAX_BOOTS)

    report = open_v3(agent.report(V3(keys=AUTH, boots=MAX_BOOTS).encode()), AUTH)

    assert report.parameters.boots == MAX_BOOTS
    assert agent.counted == {"NOT_IN_TIME_WINDOWS": 1}


def test_privacy_without_authentication_is_invalid() -> None:
    agent = Agent()

    assert agent.receive(V3(keys=b"priv", flags=v3.PRIVACY | v3.REPORTABLE).encode()) is None
    assert agent.counted == {"INVALID_MSGS": 1}


def test_another_security_model_is_dropped_before_its_parameters_are_read() -> None:
    agent = Agent()

    assert agent.receive(V3(keys=b"", flags=4, model=4).encode()) is None
    assert agent.counted == {"UNKNOWN_SECURITY_MODELS": 1}


@pytest.mark.parametrize("octets", [0, 1, 12, 23, 25])
def test_a_digest_of_another_length_is_a_wrong_one(octets: int) -> None:
    agent = Agent()
    right = V3(keys=AUTH).encode()
    at = parameters_of(right).digest_offset
    digest = (right[at : at + 24] + bytes(1))[:octets]

    report = open_v3(agent.report(rebuilt(right, digest)))

    assert read_names(report.pdu.varbinds) == (Count.WRONG_DIGESTS.oid,)


@pytest.mark.parametrize("salt", [b"", b"short", bytes(9)])
def test_a_salt_of_another_length_cannot_be_decrypted_with(salt: bytes) -> None:
    agent = Agent()
    blank = rebuilt(V3(keys=PRIV).encode(), bytes(48), flags=7, salt=salt, data=ber.encode_octets(b"noise"))

    report = open_v3(agent.report(PRIV.sign(blank, parameters_of(blank).digest_offset)))

    assert read_names(report.pdu.varbinds) == (Count.DECRYPTION_ERRORS.oid,)
