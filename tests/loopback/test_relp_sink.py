"""The RELP sink against servers that behave, and servers that do not."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.deliver.base import Retry
from hsm_agent.model import Guarantee
from tests.fakes.relp_server import RelpPeer, RelpScript, accept_all, never_answer
from tests.fakes.stream_server import StreamServer
from tests.fakes.syslog_events import numbered
from tests.fakes.syslog_oracle import read
from tests.fakes.syslog_sinks import build

if TYPE_CHECKING:
    from hsm_agent.deliver.base import Sink
    from hsm_agent.model import Event


def texts(messages: list[bytes]) -> list[str]:
    return [read(message).text or "" for message in messages]


def numbers(first: int, last: int) -> list[str]:
    return [f"number {number}" for number in range(first, last)]


def sink_to(server: StreamServer, **options: object) -> Sink:
    return build(f"relp:127.0.0.1:{server.port}", **options)


async def failing(sink: Sink, events: list[Event]) -> tuple[list[str], Retry]:
    """What was accepted before the failure, and the failure."""
    accepted: list[Event] = []
    with pytest.raises(Retry) as caught:
        await sink.deliver(events, accepted.append)
    return [event.text for event in accepted], caught.value


async def test_events_are_accepted_in_order_and_the_session_is_kept() -> None:
    script = RelpScript([accept_all])
    async with StreamServer(script=script) as server:
        sink = sink_to(server)
        accepted: list[Event] = []

        await sink.deliver(numbered(50), accepted.append)
        await sink.deliver(numbered(10, first=50), accepted.append)
        await sink.close()

    assert accepted == numbered(60)
    assert texts(script.messages(0)) == numbers(0, 60)
    assert script.sessions[0].heard[-1].command == "close"
    assert server.connections == 1
    assert (sink.guarantee, sink.kind, sink.window) == (Guarantee.AT_LEAST_ONCE, "syslog relp", 128)


async def test_the_sequence_ids_rise_over_calls() -> None:
    script = RelpScript([accept_all])
    async with StreamServer(script=script) as server:
        sink = sink_to(server)
        await sink.deliver(numbered(2), lambda _: None)
        await sink.deliver(numbered(1), lambda _: None)
        await sink.close()

    assert [read(message).data["meta"]["sequenceId"] for message in script.messages(0)] == ["1", "2", "3"]


async def test_a_session_proves_itself_with_one_message_before_the_window_opens() -> None:
    seen: list[int] = []

    async def slow(session: RelpPeer) -> None:
        first = await session.syslog()
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.peer.reader.readexactly(1)
        await session.answer(first.txnr)
        seen.extend([(await session.syslog()).txnr for _ in range(4)])
        for txnr in seen:
            await session.answer(txnr)
        seen.append((await session.syslog()).txnr)
        await session.answer(seen[-1])

    async with StreamServer(script=RelpScript([slow])) as server:
        sink = sink_to(server, window=4)
        await sink.deliver(numbered(6), lambda _: None)
        await sink.close()

    assert seen == [3, 4, 5, 6, 7]


async def test_answers_out_of_order_are_reported_in_order() -> None:
    async def backwards(session: RelpPeer) -> None:
        await session.answer((await session.syslog()).txnr)
        txnrs = [(await session.syslog()).txnr for _ in range(4)]
        for txnr in reversed(txnrs):
            await session.answer(txnr)

    accepted: list[Event] = []
    async with StreamServer(script=RelpScript([backwards])) as server:
        sink = sink_to(server)
        await sink.deliver(numbered(5), accepted.append)
        await sink.close()

    assert accepted == numbered(5)


async def test_late_answers_in_pieces_are_awaited_as_long_as_there_are_answers() -> None:
    async def slow(session: RelpPeer) -> None:
        for _ in range(3):
            txnr = (await session.syslog()).txnr
            for octet in b"%d rsp 6 200 OK\n" % txnr:
                await asyncio.sleep(0.02)
                await session.say(bytes([octet]))

    accepted: list[Event] = []
    async with StreamServer(script=RelpScript([slow])) as server:
        sink = sink_to(server, timeout="700ms")
        await sink.deliver(numbered(3), accepted.append)
        await sink.close()

    assert accepted == numbered(3)


async def test_a_server_that_never_answers_is_given_up_in_time_and_may_have_the_event() -> None:
    async with StreamServer(script=RelpScript([never_answer])) as server:
        sink = sink_to(server, timeout="200ms")
        started = time.monotonic()
        accepted, failure = await failing(sink, numbered(3))
        await sink.close()

    assert time.monotonic() - started < 1
    assert (accepted, failure.sent) == ([], True)
    assert str(failure) == f"relp:127.0.0.1:{server.port}: no answer within 0.2 s"


async def test_half_answers_and_hints_buy_a_receiver_no_time() -> None:
    async def drip(session: RelpPeer) -> None:
        await session.syslog()
        while True:
            await session.say(b"0 hint 2 hi\n")
            await asyncio.sleep(0.05)

    async with StreamServer(script=RelpScript([drip])) as server:
        sink = sink_to(server, timeout="200ms")
        started = time.monotonic()
        _, failure = await failing(sink, numbered(1))
        await sink.close()

    assert time.monotonic() - started < 1
    assert failure.sent
