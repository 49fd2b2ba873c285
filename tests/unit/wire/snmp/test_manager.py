"""GET and GETBULK of an agent, under the agent's own engine and clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.client_engine import Complaint, Discovered, Manager, SnmpResponse
from hsm_agent.wire.snmp.engine import Count, Salts
from hsm_agent.wire.snmp.pdu import PduType
from hsm_agent.wire.snmp.usm import AuthProtocol, User
from tests.fakes.inform_receiver import RECEIVER_ENGINE, InformReceiver
from tests.fakes.snmp_messages import AUTH_USER, NOW, PRIV_USER, open_community, open_v3

NAMES = ((1, 3, 6, 1, 2, 1, 1, 3, 0), (1, 3, 6, 1, 2, 1, 1, 5, 0))
NULLS = tuple(ber.VarBind(name, ber.NULL_TAG, None) for name in NAMES)


def v2c_manager() -> Manager:
    return Manager(salts=Salts(0), first_id=100, community=b"public")


def v3_manager(user: User = PRIV_USER, context: bytes = b"") -> Manager:
    return Manager(salts=Salts(0), first_id=100, user=user, context=context)


def ready(manager: Manager, agent: InformReceiver, now: float = NOW) -> None:
    for _ in range(2):
        answer = agent.answer(manager.encode_probe(), now)
        assert answer is not None
        assert manager.receive(answer, now) == Discovered()
    assert manager.ready


def asked(manager: Manager, agent: InformReceiver, now: float = NOW) -> object:
    answer = agent.answer(manager.encode_get(7, NAMES, now), now)
    return None if answer is None else manager.receive(answer, now)


def test_a_get_asks_for_names_with_nulls() -> None:
    _, community, pdu = open_community(v2c_manager().encode_get(7, NAMES, NOW))

    assert community == b"public"
    assert pdu[:4] == (PduType.GET, 7, 0, 0)
    assert pdu[4] == b"".join(ber.encode_varbind(name, ber.NULL) for name in NAMES)


def test_a_bulk_says_how_many_repetitions_it_wants() -> None:
    _, _, pdu = open_community(v2c_manager().encode_bulk(7, NAMES[:1], 20, NOW))

    assert pdu[:4] == (PduType.GETBULK, 7, 0, 20)


@pytest.mark.parametrize("error", [0, 5])
def test_an_answer_brings_its_error_and_its_values(error: int) -> None:
    assert asked(v2c_manager(), InformReceiver(error_status=error)) == SnmpResponse(7, error, 0, NULLS)


def test_the_community_of_an_answer_is_not_looked_at() -> None:
    assert asked(v2c_manager(), InformReceiver(forged=True)) == SnmpResponse(7, 0, 0, NULLS)


@pytest.mark.parametrize("user", [AUTH_USER, PRIV_USER], ids=["authNoPriv", "authPriv"])
def test_a_v3_request_is_under_the_agents_engine_clock_and_context(user: User) -> None:
    manager, agent = v3_manager(user, b"blade"), InformReceiver(user=user)
    ready(manager, agent)

    request = open_v3(manager.encode_get(7, NAMES, NOW + 100), user.localize(RECEIVER_ENGINE))

    assert request.parameters[:3] == (RECEIVER_ENGINE, 3, NOW + 100)
    assert request.scoped[:2] == (RECEIVER_ENGINE, b"blade")
    assert request.header.flags & v3.REPORTABLE
    assert asked(manager, agent) == SnmpResponse(7, 0, 0, NULLS)


def test_polls_go_on_for_days_without_a_word_about_time() -> None:
    manager, agent = v3_manager(), InformReceiver(user=PRIV_USER)
    ready(manager, agent)

    answers = [asked(manager, agent, NOW + 600 * turn) for turn in range(300)]

    assert answers == [SnmpResponse(7, 0, 0, NULLS)] * 300


def test_an_agent_whose_clock_jumped_is_followed() -> None:
    manager, agent = v3_manager(), InformReceiver(user=PRIV_USER)
    ready(manager, agent)
    agent.started -= 400

    assert asked(manager, agent) == Discovered()
    assert asked(manager, agent) == SnmpResponse(7, 0, 0, NULLS)


@given(st.integers(0, 400), st.binary(max_size=12))
def test_no_datagram_breaks_it(place: int, noise: bytes) -> None:
    for manager, agent in ((v2c_manager(), InformReceiver()), (v3_manager(), InformReceiver(user=PRIV_USER))):
        if not manager.ready:
            ready(manager, agent)
        answer = agent.answer(manager.encode_get(7, NAMES, NOW), NOW) or b""
        place = min(place, len(answer))

        manager.receive(answer[:place] + noise + answer[place + len(noise) :], NOW)
        manager.receive(noise, NOW)


def test_a_wrong_key_is_named() -> None:
    other = User.from_secrets(name=PRIV_USER.name, auth=AuthProtocol.SHA256, auth_secret="another-secret")
    manager, agent = v3_manager(other), InformReceiver(user=PRIV_USER)
    first = agent.answer(manager.encode_probe(), NOW)
    assert first is not None
    manager.receive(first, NOW)

    second = agent.answer(manager.encode_probe(), NOW)

    assert second is not None
    assert manager.receive(second, NOW) == Complaint(Count.WRONG_DIGESTS)


def test_only_a_user_has_a_name() -> None:
    assert (v2c_manager().user_name, v3_manager().user_name) == ("", PRIV_USER.name)
