"""collect.snmp.fetch against an agent that misbehaves, on 127.0.0.1."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.snmp.fetch import ApplianceClient, Plan, fetch
from hsm_agent.net.address import Address
from hsm_agent.net.snmp_session import NoAnswerError
from hsm_agent.wire.snmp.engine import Count
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.snmp_messages import PRIV_USER
from tests.fakes.udp_inform_receiver import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAME = (1, 3, 6, 1, 2, 1, 1, 3, 0)


@asynccontextmanager
async def client(
    agent: InformReceiver, *, timeout: float = 2.0, retries: int = 2, **more: Any
) -> AsyncIterator[ApplianceClient]:
    async with served(agent) as peer:
        given = more or ({"user": agent.user} if agent.user else {"community": b"public"})
        address = Address.parse(peer.address, ("udp",))
        made = ApplianceClient(address=address, timeout_seconds=timeout, retries=retries, **given)
        made.begin()
        try:
            yield made
        finally:
            made.close()


async def test_a_lost_request_is_repeated() -> None:
    async with client(InformReceiver(deaf_to={0, 1}), timeout=0.6) as made:
        answer = await made.get([NAME])

        assert answer.varbinds[0].name == NAME
        assert made.traffic.calls == {"GET": 3}
        assert made.traffic.slowest_seconds is not None


async def test_silence_ends_with_the_time_out() -> None:
    loop = asyncio.get_running_loop()
    async with client(InformReceiver(community=b"other"), timeout=0.3) as made:
        began = loop.time()
        with pytest.raises(NoAnswerError, match=r"no answer within 0\.3 s: check address"):
            await made.get([NAME])
        with pytest.raises(NoAnswerError, match="no answer within"):
            await made.bulk([NAME], 10)

        assert 0.25 < loop.time() - began < 0.6
        assert made.traffic.calls["GETBULK"] == 0


async def test_answers_that_are_forged_are_as_good_as_none() -> None:
    # A collection of all garbage of a whole test run takes 0.2 s, and may come here.
    async with client(InformReceiver(user=PRIV_USER, forged=True), timeout=1.0) as made:
        with pytest.raises(NoAnswerError, match=r"no answer within 1 s that is of use: .* not authentic"):
            await made.get([NAME])


async def test_silence_after_an_authentic_discovery_points_at_privacy_and_context() -> None:
    async with client(InformReceiver(user=PRIV_USER, deaf_to={0, 2}), timeout=0.3, retries=0) as made:
        with pytest.raises(
            NoAnswerError, match=r"though it takes the authentication of user .* user\.privacy, and `context`"
        ):
            await made.get([NAME])
        made.begin()
        await made.get([NAME])
        with pytest.raises(NoAnswerError, match="no answer within"):
            await made.get([NAME])


async def test_an_agent_that_starts_anew_between_two_requests_is_learnt_again() -> None:
    agent = InformReceiver(user=PRIV_USER)
    async with client(agent) as made:
        await made.get([NAME])
        agent.boots += 1
        agent.started = asyncio.get_running_loop().time()
        await made.get([NAME])
        agent.engine_id += b"2"
        await made.get([NAME])

    assert len(agent.informs) == 3


async def test_an_agent_whose_engine_changes_with_every_answer_is_given_up() -> None:
    class Fickle(InformReceiver):
        def answer(self, message: bytes, now: float) -> bytes | None:
            self.engine_id += b"x"
            return super().answer(message, now)

    async with client(Fickle(user=PRIV_USER, engine_id=b"12345")) as made:
        with pytest.raises(SourceFailure, match="its engine ID or its time changes with every answer"):
            await made.get([NAME])


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (Count.WRONG_DIGESTS, "secret of user.auth"),
        (Count.DECRYPTION_ERRORS, "secret of user.privacy"),
        (Count.UNKNOWN_CONTEXTS, "`context`"),
        (Count.INVALID_MSGS, "invalid msgs"),
    ],
    ids=lambda value: value.name if isinstance(value, Count) else "",
)
async def test_a_complaint_says_what_to_check(cause: Count, text: str) -> None:
    async with client(InformReceiver(user=PRIV_USER, complaint=cause)) as made:
        with pytest.raises(SourceFailure) as caught:
            await made.get([NAME])

    assert str(caught.value).endswith(text)
    assert str(caught.value).startswith("udp:127.0.0.1:")


async def test_an_appliance_that_takes_small_messages_is_asked_for_less() -> None:
    agent = InformReceiver(user=PRIV_USER, max_size=484)
    names = [(*NAME, number) for number in range(40)]
    async with client(agent) as made:
        result = await fetch(made, Plan(tuple(names), ()))

    assert result.errors == []
    assert len(agent.informs) > 1


async def test_a_name_that_nobody_has_is_a_failure_that_says_so() -> None:
    address = Address.parse("udp:no-such-host.invalid:161", ("udp",))
    made = ApplianceClient(address=address, timeout_seconds=5.0, retries=0, community=b"public")
    made.begin()

    with pytest.raises(SourceFailure, match=r"no-such-host\.invalid.*check `to`, name resolution and routing"):
        await made.get([NAME])


async def test_what_no_time_is_left_for_is_not_asked_and_says_so() -> None:
    async with client(InformReceiver(), timeout=0.001) as made:
        await asyncio.sleep(0.002)
        with pytest.raises(NoAnswerError, match=r"no time is left for it: raise `timeout`, now 0\.001 s, or read less"):
            await made.get([NAME])

        assert not made.traffic.calls
