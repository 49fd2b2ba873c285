"""The trap sink and its receiver: what is accepted, refused and kept, without a socket."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

import pytest

from hsm_agent.deliver.base import Refused, Retry, SinkContext
from hsm_agent.deliver.snmp import Peer, TrapSink
from hsm_agent.model import AgentIdentity
from hsm_agent.net.address import Address
from hsm_agent.wire.snmp.mib import BASE, COLD_START
from hsm_agent.wire.snmp.pdu import read_varbinds
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.memory_link import MemoryLink
from tests.fakes.memory_peer import MemoryPeer
from tests.fakes.snmp_messages import NOW, engine
from tests.fakes.snmp_sinks import Told, events, received
from tests.fakes.syslog_events import event


def sink(*links: MemoryLink) -> TrapSink:
    return TrapSink(name="noc", peer=MemoryPeer(links=list(links)))


async def test_traps_are_sent_once_and_accepted_in_order() -> None:
    receiver, told = InformReceiver(), Told()

    await sink(MemoryLink(receiver.answer)).deliver(events(3), told)

    assert told.ids == ["event-000", "event-001", "event-002"]
    assert received(receiver) == [b"event-000", b"event-001", b"event-002"]


async def test_a_refusal_that_comes_back_is_a_failure_and_another_address_is_tried() -> None:
    refused, told, receiver = MemoryLink(lambda _message, _now: None), Told(), InformReceiver()
    peer = MemoryPeer(links=[refused, MemoryLink(receiver.answer)])
    traps = TrapSink(name="noc", peer=peer)
    refused.error_received(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))

    with pytest.raises(Retry, match=r"^udp:192\.0\.2\.10:162: "):
        await traps.deliver(events(1), told)
    await traps.deliver(events(1), told)

    assert told.ids == ["event-000"]
    assert peer.turns == [0, 1]


async def test_what_is_too_long_for_the_path_is_refused_after_what_stood_before_it() -> None:
    told, sent = Told(), events(2)
    sent[1] = replace(sent[1], text="x" * 255, resource="y" * 255)
    traps = sink(MemoryLink(InformReceiver().answer, refuse=errno.EMSGSIZE, carries=600))

    with pytest.raises(Refused, match="too long") as caught:
        await traps.deliver(sent, told)

    assert caught.value.event_id == "event-001"
    assert told.ids == ["event-000"]


async def test_any_other_refusal_is_a_failure() -> None:
    traps = sink(MemoryLink(InformReceiver().answer, refuse=errno.ENETUNREACH, carries=0))

    with pytest.raises(Retry):
        await traps.deliver(events(1), Told())


async def test_a_network_that_is_down_is_a_failure() -> None:
    with pytest.raises(Retry, match="network is unreachable"):
        await sink().deliver(events(1), Told())
    with pytest.raises(Retry, match="network is unreachable"):
        await sink().notify(COLD_START)


async def test_the_link_is_kept_and_dropped_when_closed() -> None:
    receiver = InformReceiver()
    traps = sink(MemoryLink(receiver.answer))

    await traps.deliver(events(1), Told())
    await traps.deliver(events(1), Told())
    await traps.close()

    assert len(receiver.traps) == 2
    with pytest.raises(Retry):
        await traps.deliver(events(1), Told())


async def test_a_notification_beside_a_delivery_leaves_no_link_open() -> None:
    receiver = InformReceiver()
    links = [MemoryLink(receiver.answer), MemoryLink(receiver.answer)]
    traps = sink(*links)

    await asyncio.gather(traps.deliver(events(1), Told()), traps.notify(COLD_START))
    await traps.close()

    assert len(receiver.traps) == 2
    assert [link.closed for link in links] == [True, True]


def peer() -> Peer:
    origin = AgentIdentity(agent_name="a", host_name="h", version="1", enterprise_id=1)
    return Peer(
        address=Address.parse("udp:192.0.2.10:162", ("udp",)),
        bind=None,
        timeout_seconds=2.0,
        retries=3,
        context=SinkContext(origin=origin, engine=engine(), base_oid=BASE),
        community=b"a-secret-community",
    )


def test_uptime_is_that_of_the_engine_and_never_negative() -> None:
    assert peer().up_seconds(NOW) == 5000
    assert peer().up_seconds(0.0) == 0


def test_each_originator_starts_with_ids_of_its_own() -> None:
    first, second = peer().originator(), peer().originator()

    assert first.next_id() != second.next_id()


async def test_an_event_is_encoded_below_the_base() -> None:
    varbinds = read_varbinds(b"".join(peer().varbinds(event())))

    assert varbinds[1].value == (*BASE, 0, 1)
    assert varbinds[2].name == (*BASE, 1, 8, 1, 0)


def test_the_community_is_in_no_repr() -> None:
    assert "a-secret-community" not in repr(peer())
