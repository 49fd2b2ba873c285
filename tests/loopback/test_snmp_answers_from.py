"""Answers that come from another address than the one that was asked: appliances with several, and virtual ones."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.snmp.fetch import ApplianceClient
from hsm_agent.collect.snmp.source import SnmpSettings
from hsm_agent.deliver.base import Retry
from hsm_agent.deliver.snmp import SnmpSinkSettings
from hsm_agent.net.address import Address
from hsm_agent.net.snmp_session import NoAnswerError
from hsm_agent.net.udp import open_link
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.snmp_messages import PRIV_USER
from tests.fakes.snmp_sinks import NOC, SECRETS, V2C, V3, Told, events, sink
from tests.fakes.udp_inform_receiver import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAME = (1, 3, 6, 1, 2, 1, 1, 3, 0)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setitem(os.environ, name, secret)


@asynccontextmanager
async def asking(agent: InformReceiver, **more: Any) -> AsyncIterator[ApplianceClient]:
    async with served(agent, host="127.0.0.2", answers_from="127.0.0.3") as peer:
        address = Address.parse(peer.address, ("udp",))
        made = ApplianceClient(address=address, timeout_seconds=0.5, retries=0, **more)
        made.begin()
        try:
            yield made
        finally:
            made.close()


async def test_a_v2c_answer_from_elsewhere_is_not_taken_and_named_as_the_reason() -> None:
    async with asking(InformReceiver(), community=b"public") as made:
        with pytest.raises(
            NoAnswerError, match=r"an answer from 127\.0\.0\.3:\d+, another address: `answers_from: any`"
        ):
            await made.get([NAME])


async def test_a_v2c_answer_from_elsewhere_is_taken_where_it_is_allowed_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        async with asking(InformReceiver(), community=b"public", answers_from="any") as made:
            for _ in range(3):
                made.begin()
                assert (await made.get([NAME])).varbinds[0].name == NAME

    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "an answer comes from 127.0.0.3:" in told[0]


async def test_a_v3_answer_from_elsewhere_is_taken_because_it_is_authentic() -> None:
    async with asking(InformReceiver(user=PRIV_USER), user=PRIV_USER) as made:
        assert (await made.get([NAME])).varbinds[0].name == NAME


async def test_a_forged_v3_answer_from_elsewhere_is_not_taken() -> None:
    async with asking(InformReceiver(user=PRIV_USER, forged=True), user=PRIV_USER) as made:
        with pytest.raises(NoAnswerError, match=r"not authentic.* from 127\.0\.0\.3:"):
            await made.get([NAME])


async def test_an_ipv6_answer_from_another_port_is_taken_where_it_is_allowed() -> None:
    async with served(InformReceiver(), host="::1", answers_from="::1") as peer:
        address = Address.parse(peer.address, ("udp6",))
        made = ApplianceClient(address=address, timeout_seconds=0.5, retries=0, community=b"public", answers_from="any")
        made.begin()
        assert (await made.get([NAME])).varbinds[0].name == NAME
        made.close()


@pytest.mark.parametrize(
    ("settings", "user"),
    [pytest.param({**V2C, "answers_from": "any"}, None, id="v2c"), pytest.param(V3, NOC, id="v3")],
)
async def test_an_acknowledgement_from_elsewhere_is_taken(settings: dict[str, Any], user: Any) -> None:
    told = Told()
    async with served(InformReceiver(user=user), host="127.0.0.2", answers_from="127.0.0.3") as peer:
        informs = sink(peer.address, type="inform", **settings)
        await informs.deliver(events(3), told)
        await informs.close()

    assert told.ids == ["event-000", "event-001", "event-002"]


async def test_a_v2c_acknowledgement_from_elsewhere_is_not_taken_and_named_as_the_reason() -> None:
    async with served(InformReceiver(), host="127.0.0.2", answers_from="127.0.0.3") as peer:
        informs = sink(peer.address, type="inform", timeout="100ms", retries=0, **V2C)
        with pytest.raises(Retry, match=r"an answer from 127\.0\.0\.3:"):
            await informs.deliver(events(1), Told())
        await informs.close()


async def test_nobody_else_can_share_the_port_that_answers_come_to() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        address = Address.parse(f"udp:127.0.0.1:{peer.getsockname()[1]}", ("udp",))
        link = await open_link(address, bind=None, turn=0, timeout_seconds=1.0, strays=True)
        link.send(b"hello")
        _, here = peer.recvfrom(10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(here)
        link.close()


async def test_strangers_cannot_push_out_what_the_peer_says() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        peer.bind(("127.0.0.1", 0))
        address = Address.parse(f"udp:127.0.0.1:{peer.getsockname()[1]}", ("udp",))
        link = await open_link(address, bind=None, turn=0, timeout_seconds=1.0, strays=True)
        link.send(b"hello")
        _, here = peer.recvfrom(10)
        for _ in range(100):
            stranger.sendto(b"noise", here)
        peer.sendto(b"answer", here)
        found = [await link.receive_from()]
        while found[-1][1]:
            found.append(await link.receive_from())
        link.close()

    assert found[-1] == (b"answer", "")


@pytest.mark.parametrize("settings", [SnmpSettings, SnmpSinkSettings])
def test_v3_takes_no_word_against_answers_from_elsewhere(settings: type[SnmpSettings | SnmpSinkSettings]) -> None:
    given = {"name": "a", "kind": "snmp", "to": "udp:127.0.0.1:162", **V3, "answers_from": "same"}
    if settings is SnmpSettings:
        given["profile"] = "luna"

    with pytest.raises(ValueError, match="answers_from: not `same` for version v3"):
        settings.model_validate(given)
