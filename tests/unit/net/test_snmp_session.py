"""Requests to one SNMP peer: window, repetition, discovery and deadlines, without a socket."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import TYPE_CHECKING

import pytest

from hsm_agent.net.snmp_session import NoAnswerError, OtherAddresses, SessionError, SnmpSession
from hsm_agent.net.udp import LinkError
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.client_engine import Originator, SnmpResponse
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.pdu import ErrorStatus
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.memory_link import MemoryLink
from tests.fakes.snmp_messages import PRIV_USER, engine

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 16


class Sender:
    """An originator's session with a receiver, and what came back."""

    def __init__(self, link: MemoryLink, *, v3: bool = False, timeout: float = 5.0) -> None:
        community, user = (None, PRIV_USER) if v3 else (b"public", None)
        self.originator = Originator(engine=engine(), first_id=1, community=community, user=user)
        self.session = SnmpSession(
            link,
            self.originator,
            window=WINDOW,
            try_seconds=timeout,
            tries=2,
            others=OtherAddresses("noc", are_trusted=v3),
        )
        self.answers: list[tuple[int, int]] = []

    def _encoder(self, octets: int) -> Callable[[int, float], bytes]:
        varbind = ber.encode_varbind((1, 3, 6), ber.encode_octets(bytes(octets)))
        return lambda request_id, now: self.originator.encode_inform(request_id, (varbind,), now)

    def _answered(self, position: int, response: SnmpResponse) -> None:
        self.answers.append((position, response.error_status))

    async def inform(self, *octets: int) -> None:
        """Informs of so many octets each."""
        await self.session.run([self._encoder(one) for one in octets], self._answered, "inform")


@pytest.mark.parametrize("v3", [False, True], ids=["v2c", "v3"])
async def test_everything_is_answered(v3: bool) -> None:
    receiver = InformReceiver(user=PRIV_USER)
    sender = Sender(MemoryLink(receiver.answer), v3=v3)

    await sender.inform(*[1] * 50)

    assert sender.answers == [(number, 0) for number in range(50)]
    assert len(receiver.informs) == 50


async def test_no_more_than_a_window_is_outstanding() -> None:
    link = MemoryLink(lambda _message, _now: None)
    sender = Sender(link, timeout=0.01)

    with pytest.raises(NoAnswerError) as caught:
        await sender.inform(*[1] * 50)

    assert caught.value.is_ready
    assert len(link.sent) == 2 * WINDOW
    assert sender.answers == []


async def test_nothing_is_waited_for_beyond_the_deadline() -> None:
    link = MemoryLink(lambda _message, _now: None)
    sender = Sender(link, timeout=60.0)
    sender.session.deadline = asyncio.get_running_loop().time() + 0.01

    with pytest.raises(NoAnswerError, match=r"no answer in what was left of the time: check"):
        await sender.inform(1)

    assert len(link.sent) == 1


async def test_a_discovery_that_the_deadline_cut_does_not_say_that_it_had_all_its_time() -> None:
    sender = Sender(MemoryLink(lambda _message, _now: None), v3=True, timeout=60.0)
    sender.session.deadline = asyncio.get_running_loop().time() + 0.01

    with pytest.raises(NoAnswerError, match="no answer in"):
        await sender.inform(1)


async def test_a_session_goes_on_after_silence() -> None:
    receiver = InformReceiver(deaf_to={0, 1})
    sender = Sender(MemoryLink(receiver.answer), timeout=0.01)

    with pytest.raises(NoAnswerError):
        await sender.inform(1)
    await sender.inform(1)

    assert sender.answers == [(0, 0)]


async def test_what_was_sent_is_counted() -> None:
    sender = Sender(MemoryLink(InformReceiver(user=PRIV_USER).answer), v3=True)

    await sender.inform(1, 1, 1)

    assert sender.session.traffic.calls == {"discovery": 2, "inform": 3}
    assert sender.session.traffic.slowest_seconds is not None


async def test_discovery_that_is_not_answered_is_given_up() -> None:
    link = MemoryLink(lambda _message, _now: None)

    with pytest.raises(NoAnswerError) as caught:
        await Sender(link, v3=True, timeout=0.01).inform(1)

    assert not caught.value.is_ready
    assert len(link.sent) == 2


async def test_a_complaint_about_an_inform_ends_the_session() -> None:
    receiver = InformReceiver(user=PRIV_USER)
    sender = Sender(MemoryLink(receiver.answer), v3=True)
    await sender.inform(1)
    receiver.complaint = Count.UNSUPPORTED_SEC_LEVELS

    with pytest.raises(SessionError, match="usmStatsUnsupportedSecLevels"):
        await sender.inform(1)


@pytest.mark.parametrize(
    ("link", "octets"),
    [
        pytest.param(MemoryLink(InformReceiver().answer, refuse=errno.EMSGSIZE, carries=1000), 1100, id="for the path"),
        pytest.param(MemoryLink(InformReceiver().answer), 65507, id="for a datagram"),
    ],
)
async def test_what_is_too_long_is_settled_and_the_rest_goes_on(link: MemoryLink, octets: int) -> None:
    sender = Sender(link)

    await sender.inform(1, octets, 1)

    assert sorted(sender.answers) == [(0, 0), (1, ErrorStatus.TOO_BIG), (2, 0)]


async def test_a_refusal_by_the_network_ends_the_session() -> None:
    link = MemoryLink(InformReceiver().answer, refuse=errno.ECONNREFUSED, carries=0)

    with pytest.raises(LinkError, match="refused"):
        await Sender(link).inform(1)


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (Count.WRONG_DIGESTS, "wrong authentication key of user '{user}' (usmStatsWrongDigests): check"),
        (Count.PROXY_DROPS, "it answered with a Report: proxy drops"),
    ],
)
async def test_a_complaint_names_the_counter_and_the_user(cause: Count, text: str) -> None:
    sender = Sender(MemoryLink(InformReceiver(user=PRIV_USER, complaint=cause).answer), v3=True)

    with pytest.raises(SessionError) as caught:
        await sender.inform(1)

    assert str(caught.value).startswith(text.format(user=PRIV_USER.name))


def test_each_other_address_is_logged_once_and_not_more_than_a_few(caplog: pytest.LogCaptureFixture) -> None:
    others = OtherAddresses("udp:192.0.2.1:161", are_trusted=True)

    with caplog.at_level(logging.WARNING):
        for number in [*range(100), *range(100)]:
            others.note(f"192.0.2.{number}:161")

    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "udp:192.0.2.1:161: an answer comes from 192.0.2.0:161 and is taken"
    assert len(lines) == 8
