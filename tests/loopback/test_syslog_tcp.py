"""The TCP sink against receivers that behave, and receivers that do not."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.deliver.base import Retry
from hsm_agent.model import Guarantee
from tests.fakes.stream_server import Collector, Peer, StreamServer
from tests.fakes.syslog_events import event, numbered
from tests.fakes.syslog_oracle import read
from tests.fakes.syslog_sinks import build
from tests.peers import pki as certificates

if TYPE_CHECKING:
    from hsm_agent.deliver.base import Sink
    from hsm_agent.model import Event
    from tests.peers.pki import Pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return certificates.make(tmp_path_factory.mktemp("pki"))


async def failure_of(sink: Sink, events: list[Event] | None = None) -> Retry:
    accepted: list[Event] = []
    with pytest.raises(Retry) as caught:
        await sink.deliver(events or numbered(1), accepted.append)
    assert accepted == []
    await sink.close()
    return caught.value


def texts(messages: list[bytes]) -> list[str | None]:
    return [read(message).text for message in messages]


async def mute(peer: Peer) -> None:
    await asyncio.sleep(30)


async def test_events_arrive_octet_counted_in_order_over_one_connection() -> None:
    collector = Collector()
    async with StreamServer(script=collector) as server:
        sink = build(f"tcp:127.0.0.1:{server.port}")
        accepted: list[Event] = []
        await sink.deliver(numbered(20), accepted.append)
        await sink.deliver(numbered(5, first=20), accepted.append)
        await sink.close()
        await collector.until(25)

    assert accepted == numbered(25)
    assert texts(collector.messages) == [f"number {number}" for number in range(25)]
    assert server.connections == 1
    assert (sink.guarantee, sink.kind) == (Guarantee.BEST_EFFORT, "syslog tcp")


async def test_a_receiver_that_left_between_two_calls_costs_nothing() -> None:
    collector = Collector()

    async def one_each(peer: Peer) -> None:
        collector.messages.append(await peer.reader.readuntil(b"number 0") if not collector.messages else b"")
        if server.connections > 1:
            await collector(peer)

    async with StreamServer(script=one_each) as server:
        sink = build(f"tcp:127.0.0.1:{server.port}")
        accepted: list[Event] = []
        await sink.deliver(numbered(1), accepted.append)
        await asyncio.sleep(0.05)
        await sink.deliver(numbered(3, first=1), accepted.append)
        await sink.close()
        await collector.until(5)

    assert accepted == numbered(4)
    assert texts(collector.messages[2:]) == ["number 1", "number 2", "number 3"]


async def test_a_receiver_that_dies_mid_frame_has_accepted_nothing_of_it() -> None:
    async def die(peer: Peer) -> None:
        await peer.reader.readexactly(10)
        peer.reset()

    collector = Collector()
    async with StreamServer(script=die, small_buffers=True) as server:
        sink = build(f"tcp:127.0.0.1:{server.port}", max_bytes=128 * 1024)
        failure = await failure_of(sink, [event(text="x" * 120_000)])
        server.script = collector
        accepted: list[Event] = []
        await sink.deliver(numbered(2), accepted.append)
        await sink.close()
        await collector.until(2)

    assert failure.sent
    assert accepted == numbered(2)


async def test_a_receiver_that_stalls_is_given_up_in_time_and_not_blamed_on_the_event() -> None:
    async with StreamServer(script=mute, small_buffers=True) as server:
        sink = build(f"tcp:127.0.0.1:{server.port}", max_bytes=128 * 1024, timeout="300ms")
        started = time.monotonic()
        failure = await failure_of(sink, [event(text="x" * 120_000)])

    assert time.monotonic() - started < 1
    assert not failure.sent
    assert str(failure) == f"tcp:127.0.0.1:{server.port}: nothing acknowledged within 0.3 s"


async def test_what_a_receiver_says_is_thrown_away() -> None:
    async def chatter(peer: Peer) -> None:
        for _ in range(50):
            peer.writer.write(b"hello " * 1000)
            await peer.writer.drain()
        await collector(peer)

    collector = Collector()
    async with StreamServer(script=chatter) as server:
        sink = build(f"tcp:127.0.0.1:{server.port}")
        await sink.deliver(numbered(2), lambda _: None)
        await collector.until(2)
        await sink.close()

    assert len(collector.messages) == 2


async def test_nobody_listens() -> None:
    async with StreamServer(script=mute) as server:
        port = server.port

    failure = await failure_of(build(f"tcp:127.0.0.1:{port}"))

    assert not failure.sent
    assert str(failure) == f"tcp:127.0.0.1:{port}: connection refused"


async def test_a_connection_that_is_never_made_is_given_up_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:  # the queue is full: the kernel answers nobody else
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        started = time.monotonic()
        failure = await failure_of(build(f"tcp:127.0.0.1:{port}", timeout="300ms"))
        for client in waiting:
            client.close()

    assert time.monotonic() - started < 1
    assert "no connection within 0.3 s" in str(failure)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_names_and_both_families(host: str) -> None:
    collector = Collector()
    listen = "::1" if host == "[::1]" else "127.0.0.1"
    async with StreamServer(script=collector, host=listen) as server:
        sink = build(f"tcp:{host}:{server.port}")
        await sink.deliver(numbered(1), lambda _: None)
        await collector.until(1)
        await sink.close()


async def test_a_name_nobody_knows() -> None:
    failure = await failure_of(build("tcp:nowhere.invalid:514", timeout="3s"))

    assert "nowhere.invalid" in str(failure)
    assert not failure.sent


async def test_the_source_address_is_the_configured_one() -> None:
    seen: list[str] = []

    async def note(peer: Peer) -> None:
        seen.append(peer.address)
        await peer.reader.read(1)

    async with StreamServer(script=note) as server:
        sink = build(f"tcp:127.0.0.1:{server.port}", bind="127.0.0.2")
        await sink.deliver(numbered(1), lambda _: None)
        await sink.close()

    assert seen == ["127.0.0.2"]


async def test_a_source_address_of_the_other_family_is_said() -> None:
    failure = await failure_of(build("tcp:127.0.0.1:514", bind="::1"))

    assert str(failure) == "tcp:127.0.0.1:514: 127.0.0.1 has no address of the family of bind ::1"


async def test_a_source_address_this_host_does_not_have_is_said() -> None:
    failure = await failure_of(build("tcp:127.0.0.1:514", bind="192.0.2.1"))

    assert "cannot assign requested address" in str(failure)
