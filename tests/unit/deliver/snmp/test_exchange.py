"""deliver.snmp_exchange: window, repetition and discovery, without a socket."""

from __future__ import annotations

import errno

import pytest

from hsm_agent.deliver.snmp.exchange import WINDOW, Exchange, ExchangeError, complaint
from hsm_agent.net.snmp_answers import Elsewhere
from hsm_agent.net.udp_client import LinkError
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.client_engine import Originator
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.pdu import ErrorStatus
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.memory_link import MemoryLink
from tests.fakes.snmp_messages import PRIV_USER, engine

Notifications = list[tuple[int, tuple[bytes, ...]]]


def notifications(count: int, *, octets: int = 1) -> Notifications:
    varbind = ber.encode_varbind((1, 3, 6), ber.encode_octets(bytes(octets)))
    return [(number, (varbind,)) for number in range(count)]


def exchange(link: MemoryLink, *, v3: bool = False, timeout: float = 5.0) -> Exchange:
    community, user = (None, PRIV_USER) if v3 else (b"public", None)
    originator = Originator(engine=engine(), first_id=1, community=community, user=user)
    return Exchange(link, originator, timeout=timeout, retries=1, elsewhere=Elsewhere("noc", believed=v3))


class Answers:
    def __init__(self) -> None:
        self.given: list[tuple[int, int]] = []

    def __call__(self, place: int, error_status: int) -> None:
        self.given.append((place, error_status))


@pytest.mark.parametrize("v3", [False, True], ids=["v2c", "v3"])
async def test_everything_is_answered(v3: bool) -> None:
    receiver, answers = InformReceiver(user=PRIV_USER), Answers()

    await exchange(MemoryLink(receiver.answer), v3=v3).run(notifications(50), answers)

    assert answers.given == [(number, 0) for number in range(50)]
    assert len(receiver.informs) == 50


async def test_no_more_than_a_window_is_outstanding() -> None:
    link, answers = MemoryLink(lambda _message, _now: None), Answers()

    with pytest.raises(ExchangeError, match=r"no answer \(2 tries, 0.01 s each\)"):
        await exchange(link, timeout=0.01).run(notifications(50), answers)

    assert len(link.sent) == 2 * WINDOW
    assert answers.given == []


async def test_discovery_that_is_not_answered_is_given_up() -> None:
    link = MemoryLink(lambda _message, _now: None)

    with pytest.raises(ExchangeError, match="no answer"):
        await exchange(link, v3=True, timeout=0.01).run(notifications(1), Answers())

    assert len(link.sent) == 2


async def test_a_complaint_about_an_inform_ends_the_exchange() -> None:
    receiver, answers = InformReceiver(user=PRIV_USER), Answers()
    talk = exchange(MemoryLink(receiver.answer), v3=True)
    await talk.run(notifications(1), answers)
    receiver.complaint = Count.UNSUPPORTED_SEC_LEVELS

    with pytest.raises(ExchangeError, match="usmStatsUnsupportedSecLevels"):
        await talk.run(notifications(1), answers)


@pytest.mark.parametrize(
    ("link", "octets"),
    [
        pytest.param(MemoryLink(InformReceiver().answer, refuse=errno.EMSGSIZE, carries=1000), 1100, id="for the path"),
        pytest.param(MemoryLink(InformReceiver().answer), 65507, id="for a datagram"),
    ],
)
async def test_what_is_too_long_is_settled_and_the_rest_goes_on(link: MemoryLink, octets: int) -> None:
    answers = Answers()
    mixed = notifications(3)
    mixed[1] = (1, notifications(1, octets=octets)[0][1])

    await exchange(link).run(mixed, answers)

    assert sorted(answers.given) == [(0, 0), (1, ErrorStatus.TOO_BIG), (2, 0)]


async def test_a_refusal_by_the_network_ends_the_exchange() -> None:
    link = MemoryLink(InformReceiver().answer, refuse=errno.ECONNREFUSED, carries=0)

    with pytest.raises(LinkError, match="refused"):
        await exchange(link).run(notifications(1), Answers())


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (Count.WRONG_DIGESTS, "wrong authentication protocol or pass-phrase (usmStatsWrongDigests)"),
        (Count.UNAVAILABLE_CONTEXTS, "it answered with a Report: unavailable contexts"),
        (None, "it answered with a Report of something that is no standard counter"),
    ],
)
def test_what_an_operator_reads(cause: Count | None, said: str) -> None:
    assert str(complaint(cause)) == said
