"""The UDP sink: one datagram an event, refusals heard where the network tells of them."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from hsm_agent.deliver.base import Refused, Retry
from hsm_agent.deliver.syslog import MessageBuilder, UdpSink
from hsm_agent.model import Guarantee
from hsm_agent.net.address import Address
from tests.fakes.syslog_events import event, numbered
from tests.fakes.syslog_oracle import read
from tests.fakes.syslog_sinks import CONTEXT, build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hsm_agent.model import Event


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(2)
        yield bound


def port_of(receiver: socket.socket) -> int:
    return int(receiver.getsockname()[1])


async def test_each_event_is_a_datagram(receiver: socket.socket) -> None:
    sink = build(f"udp:localhost:{port_of(receiver)}")
    accepted: list[Event] = []
    await sink.deliver(numbered(3), accepted.append)
    await sink.deliver(numbered(1, first=3), accepted.append)
    await sink.close()

    found = [read(receiver.recv(65536)) for _ in range(4)]

    assert accepted == numbered(4)
    assert [message.text for message in found] == [f"number {number}" for number in range(4)]
    assert [message.data["meta"]["sequenceId"] for message in found] == ["1", "2", "3", "4"]
    assert (sink.guarantee, sink.kind) == (Guarantee.BEST_EFFORT, "syslog udp")


async def test_a_datagram_is_no_longer_than_1400_octets(receiver: socket.socket) -> None:
    sink = build(f"udp:127.0.0.1:{port_of(receiver)}")
    await sink.deliver([event(text="ä" * 4000)], lambda _: None)
    await sink.close()

    assert len(receiver.recv(65536)) in {1399, 1400}


async def test_ipv6_and_a_source_address(receiver: socket.socket) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.bind(("::1", 0))
        other.settimeout(2)
        sink = build(f"udp:[::1]:{port_of(other)}")
        await sink.deliver(numbered(1), lambda _: None)
        await sink.close()
        assert read(other.recv(65536)).text == "number 0"
    sink = build(f"udp:127.0.0.1:{port_of(receiver)}", bind="127.0.0.3")
    await sink.deliver(numbered(1), lambda _: None)
    await sink.close()

    assert receiver.recvfrom(65536)[1][0] == "127.0.0.3"


async def test_a_port_nobody_listens_on_is_tried_later(receiver: socket.socket) -> None:
    port = port_of(receiver)
    receiver.close()
    sink = build(f"udp:127.0.0.1:{port}")
    accepted: list[Event] = []

    with pytest.raises(Retry) as caught:
        await sink.deliver(numbered(3), accepted.append)

    assert (accepted, caught.value.sent) == ([], False)
    assert str(caught.value) == f"udp:127.0.0.1:{port}: connection refused"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(("127.0.0.1", port))
        back.settimeout(2)
        await sink.deliver(numbered(3), accepted.append)
        assert read(back.recv(65536)).text == "number 0"
    assert accepted == numbered(3)
    await sink.close()


async def test_an_event_that_no_datagram_holds_is_refused_for_ever(receiver: socket.socket) -> None:
    address = Address(scheme="udp", host="127.0.0.1", port=port_of(receiver))
    builder = MessageBuilder(CONTEXT.origin, facility=20, max_bytes=100_000)
    sink = UdpSink(name="x", address=address, bind=None, timeout_seconds=1, builder=builder)
    events = [event(event_id="a"), event(event_id="b", text="x" * 70_000), event(event_id="c")]
    accepted: list[Event] = []

    with pytest.raises(Refused) as caught:
        await sink.deliver(events, accepted.append)
    await sink.deliver(events[2:], accepted.append)
    await sink.close()

    assert caught.value.event_id == "b"
    assert [one.event_id for one in accepted] == ["a", "c"]


async def test_a_name_nobody_knows_is_tried_later() -> None:
    sink = build("udp:nowhere.invalid:514", timeout="3s")

    with pytest.raises(Retry, match=r"nowhere\.invalid"):
        await sink.deliver(numbered(1), lambda _: None)
    await asyncio.sleep(0)
