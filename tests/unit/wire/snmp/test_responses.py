"""What is answered, and how much of it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.authority import encode_response
from hsm_agent.wire.snmp.pdu import ErrorStatus, PduType, Version, encode_pdu
from tests.fakes.snmp_authority import AUTH, PRIV, Agent
from tests.fakes.snmp_messages import (
    ENGINE_ID,
    SYS_NAME,
    V3,
    community_message,
    engine,
    level_of,
    open_community,
    open_v3,
    pdu,
)

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.usm import Keys

VALUE = ber.encode_varbind(SYS_NAME, ber.encode_octets(b"hsm-1"))


def test_a_v2c_response_repeats_community_and_request_id() -> None:
    agent = Agent()
    request = agent.heard(community_message(pdu()))

    response = agent.authority.respond(request, 0, 0, [VALUE])

    assert response is not None
    assert open_community(response) == (1, b"public", (PduType.RESPONSE, 4711, 0, 0, VALUE))


@pytest.mark.parametrize("keys", [AUTH, PRIV], ids=["authNoPriv", "authPriv"])
def test_a_v3_response_is_at_the_requests_level_and_not_reportable(keys: Keys) -> None:
    agent = Agent()
    request = agent.heard(V3(keys=keys).encode())

    response = agent.authority.respond(request, 0, 0, [VALUE])

    assert response is not None
    answer = open_v3(response, keys)
    assert answer.header == (99, 65507, level_of(keys), 3)
    assert answer.parameters[:4] == (ENGINE_ID, 7, 5000, keys.user_name)
    assert answer.scoped[:2] == (ENGINE_ID, b"")
    assert answer.pdu == (PduType.RESPONSE, 4711, 0, 0, VALUE)


def test_no_salt_is_used_twice() -> None:
    agent = Agent()
    request = agent.heard(V3(keys=PRIV).encode())

    responses = [agent.authority.respond(request, 0, 0, [VALUE]) or b"" for _ in range(50)]

    assert len({open_v3(response, PRIV).parameters.salt for response in responses}) == 50


def test_an_error_repeats_what_was_asked() -> None:
    agent = Agent()
    request = agent.heard(community_message(pdu(PduType.SET)))

    response = agent.authority.respond(request, ErrorStatus.NOT_WRITABLE, 1, [VALUE])

    assert response is not None
    asked = ber.encode_varbind(SYS_NAME, ber.NULL)
    assert open_community(response)[2] == (PduType.RESPONSE, 4711, 17, 1, asked)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ErrorStatus.NOT_WRITABLE, ErrorStatus.NO_SUCH_NAME),
        (ErrorStatus.NO_SUCH_NAME, ErrorStatus.NO_SUCH_NAME),
        (ErrorStatus.GEN_ERR, ErrorStatus.GEN_ERR),
        (ErrorStatus.RESOURCE_UNAVAILABLE, ErrorStatus.GEN_ERR),
    ],
)
def test_v1_hears_errors_it_knows(error: ErrorStatus, said: ErrorStatus) -> None:
    agent = Agent(v1=True)
    request = agent.heard(community_message(pdu(), version=Version.V1))

    response = agent.authority.respond(request, error, 1, [])

    assert response is not None
    assert open_community(response)[2].first == said


@pytest.mark.parametrize("keys", [AUTH, PRIV], ids=["authNoPriv", "authPriv"])
@pytest.mark.parametrize("max_size", [484, 1472, 65507])
def test_what_fits_the_room_fits_the_message(keys: Keys, max_size: int) -> None:
    agent = Agent()
    request = agent.heard(V3(keys=keys, max_size=max_size).encode())
    filling = bytes(request.room_octets)

    response = encode_response(engine(boots=2**31 - 1), request, 0, 0, (filling,))

    assert max_size - 40 < len(response) <= max_size


def test_what_fits_the_room_of_a_community_fits_the_message() -> None:
    request = Agent().heard(community_message(pdu()))

    response = encode_response(engine(), request, 0, 0, (bytes(request.room_octets),))

    assert 65507 - 40 < len(response) <= 65507


def test_a_get_that_does_not_fit_is_too_big() -> None:
    agent = Agent()
    request = agent.heard(V3(keys=AUTH, max_size=484).encode())

    response = agent.authority.respond(request, 0, 0, [VALUE] * 30)

    assert response is not None
    assert len(response) <= 484
    assert open_v3(response, AUTH).pdu == (PduType.RESPONSE, 4711, ErrorStatus.TOO_BIG, 0, b"")


def test_a_v1_get_that_does_not_fit_is_too_big_and_repeats_what_was_asked() -> None:
    agent = Agent(v1=True)
    request = agent.heard(community_message(pdu(), version=Version.V1))

    response = agent.authority.respond(request, 0, 0, [VALUE] * 4000)

    assert response is not None
    assert open_community(response)[2] == (PduType.RESPONSE, 4711, 1, 0, ber.encode_varbind(SYS_NAME, ber.NULL))


def test_a_getbulk_is_cut_to_what_fits() -> None:
    agent = Agent()
    request = agent.heard(V3(keys=PRIV, max_size=484, inner=pdu(PduType.GETBULK, second=100)).encode())

    response = agent.authority.respond(request, 0, 0, [VALUE] * 100)

    assert response is not None
    answer = open_v3(response, PRIV)
    assert len(response) <= 484
    assert answer.pdu.first == ErrorStatus.NO_ERROR
    assert answer.pdu.varbinds == VALUE * (request.room_octets // len(VALUE))
    assert len(answer.pdu.varbinds) > 200


def test_a_getbulk_that_fits_is_not_cut() -> None:
    agent = Agent()
    request = agent.heard(community_message(pdu(PduType.GETBULK, second=25)))

    response = agent.authority.respond(request, 0, 0, [VALUE] * 25)

    assert response is not None
    assert open_community(response)[2].varbinds == VALUE * 25


def test_a_getbulk_whose_first_value_does_not_fit_is_empty() -> None:
    agent = Agent()
    request = agent.heard(V3(keys=PRIV, max_size=484, inner=pdu(PduType.GETBULK, second=1)).encode())

    response = agent.authority.respond(request, 0, 0, [bytes(485)])

    assert response is not None
    assert open_v3(response, PRIV).pdu == (PduType.RESPONSE, 4711, 0, 0, b"")


def test_an_error_that_does_not_fit_is_too_big() -> None:
    agent = Agent()
    names = [(*SYS_NAME, number) for number in range(40)]
    request = agent.heard(V3(keys=AUTH, max_size=484, inner=pdu(PduType.SET, names)).encode())

    response = agent.authority.respond(request, ErrorStatus.NOT_WRITABLE, 1, [])

    assert response is not None
    assert open_v3(response, AUTH).pdu.first == ErrorStatus.TOO_BIG


def test_what_does_not_fit_at_all_is_dropped_and_counted() -> None:
    agent = Agent()
    request = agent.heard(V3(keys=AUTH).encode())._replace(max_octets=50)

    assert agent.authority.respond(request, 0, 0, [VALUE]) is None
    assert agent.counted == {"SILENT_DROPS": 1}


def test_the_overhead_of_a_message_is_never_underestimated() -> None:
    longest = "u" * 32
    keys = type(PRIV)(
        user_name=longest.encode(),
        auth=PRIV.auth,
        auth_key=PRIV.auth_key,
        privacy=PRIV.privacy,
        privacy_key=PRIV.privacy_key,
    )
    scoped = v3.encode_scoped(
        bytes(32), bytes(32), encode_pdu(PduType.RESPONSE, -(2**31), 2**31 - 1, 2**31 - 1, (bytes(60000),))
    )

    message = v3.encode_message(
        v3.Header(2**31 - 1, 2**31 - 1, 7, 3),
        engine_id=bytes(32),
        boots=2**31 - 1,
        time=2**31 - 1,
        keys=keys,
        scoped=scoped,
        salt=bytes(8),
    )

    overhead = v3.overhead(engine_id=bytes(32), keys=keys, context_engine_id=bytes(32), context_name=bytes(32))
    assert overhead - 12 < len(message) - 60000 <= overhead
