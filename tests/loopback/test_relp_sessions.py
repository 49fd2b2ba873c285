"""What becomes of the events when a RELP session ends, is refused or never begins."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.deliver.base import Refused, Retry
from tests.fakes.relp_server import RelpPeer, RelpScript, accept_all, end, never_answer
from tests.fakes.stream_server import Peer, StreamServer
from tests.fakes.syslog_events import event, numbered
from tests.fakes.syslog_oracle import read
from tests.fakes.syslog_sinks import build

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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


async def _accept_two(session: RelpPeer) -> None:
    for _ in range(2):
        await session.answer((await session.syslog()).txnr)


async def _cut(session: RelpPeer) -> None:
    await _accept_two(session)
    await session.syslog()
    await session.say(b"4 rsp 6 200")


async def _reset(session: RelpPeer) -> None:
    await _accept_two(session)
    await session.syslog()
    session.peer.reset()


async def _say_goodbye(session: RelpPeer) -> None:
    await _accept_two(session)
    await session.syslog()
    await session.say(b"0 serverclose 0\n")


async def _answer_twice(session: RelpPeer) -> None:
    await _accept_two(session)
    await session.syslog()
    await session.say(b"3 rsp 6 200 OK\n")


async def _no_status(session: RelpPeer) -> None:
    await _accept_two(session)
    await session.answer((await session.syslog()).txnr, b"")


@pytest.mark.parametrize("misbehave", [_cut, _reset, _say_goodbye, _answer_twice, _no_status])
async def test_a_session_that_ends_is_resumed_and_nothing_is_lost(
    misbehave: Callable[[RelpPeer], Awaitable[None]],
) -> None:
    script = RelpScript([misbehave, accept_all])
    async with StreamServer(script=script) as server:
        sink = sink_to(server)
        accepted, failure = await failing(sink, numbered(6))
        again: list[Event] = []
        await sink.deliver(numbered(4, first=2), again.append)
        await sink.close()

    assert (accepted, failure.sent) == (numbers(0, 2), True)
    assert again == numbered(4, first=2)
    assert texts(script.messages(1)) == numbers(2, 6)


async def test_a_server_that_left_between_two_calls_costs_nothing() -> None:
    async def leave(session: RelpPeer) -> None:
        await _accept_two(session)
        await session.say(b"0 serverclose 0\n")

    script = RelpScript([leave, accept_all])
    async with StreamServer(script=script) as server:
        sink = sink_to(server)
        accepted: list[Event] = []
        await sink.deliver(numbered(2), accepted.append)
        await asyncio.sleep(0.05)
        await sink.deliver(numbered(2, first=2), accepted.append)
        await sink.close()

    assert accepted == numbered(4)
    assert texts(script.messages(1)) == numbers(2, 4)


async def test_a_refused_event_is_named_and_those_behind_it_are_not_sent_twice() -> None:
    async def refuse_the_third(session: RelpPeer) -> None:
        while True:
            frame = await session.syslog()
            await session.answer(frame.txnr, b"500 no such log" if frame.txnr == 4 else b"200 OK")

    script = RelpScript([refuse_the_third])
    async with StreamServer(script=script) as server:
        sink = sink_to(server)
        accepted: list[Event] = []
        events = numbered(6)
        with pytest.raises(Refused) as caught:
            await sink.deliver(events, accepted.append)
        before = list(accepted)
        await sink.deliver([event(event_id="heartbeat", text="number 6")], lambda _: None)
        await sink.deliver(events[3:], accepted.append)
        await sink.close()

    assert caught.value.event_id == events[2].event_id
    assert str(caught.value) == f"relp:127.0.0.1:{server.port}: the receiver answered 500 no such log"
    assert before == events[:2]
    assert accepted == events[:2] + events[3:]
    assert texts(script.messages(0)) == numbers(0, 7)
    assert server.connections == 1


async def test_two_refused_events_are_named_one_after_the_other() -> None:
    async def refuse_all(session: RelpPeer) -> None:
        await _accept_two(session)
        while True:
            await session.answer((await session.syslog()).txnr, b"500 no")

    async with StreamServer(script=RelpScript([refuse_all])) as server:
        sink = sink_to(server)
        refused: list[str] = []
        events = numbered(4)
        for start in (0, 3):
            with pytest.raises(Refused) as caught:
                await sink.deliver(events[start:], lambda _: None)
            refused.append(caught.value.event_id)
        await sink.close()

    assert refused == [events[2].event_id, events[3].event_id]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"1 rsp 44 500 required command not supported by client\n0 serverclose 0\n", "refused the session: 500"),
        (b"0 serverclose 0\n", "ended the session at once"),
        (b"220 mail.example.net ESMTP\r\n", "not a RELP frame"),
        (b"", "closed by the receiver"),
    ],
)
async def test_a_session_that_is_not_opened_is_tried_later(answer: bytes, why: str) -> None:
    async def refuse(peer: Peer) -> None:
        await RelpPeer(peer).frame()
        peer.writer.write(answer)

    async with StreamServer(script=refuse) as server:
        sink = sink_to(server)
        accepted, failure = await failing(sink, numbered(1))
        await sink.close()

    assert (accepted, failure.sent) == ([], False)
    assert why in str(failure)


async def test_an_open_that_is_not_answered_is_given_up_in_time() -> None:
    async def mute(peer: Peer) -> None:
        await RelpPeer(peer).frame()
        await asyncio.sleep(30)

    async with StreamServer(script=mute) as server:
        sink = sink_to(server, timeout="200ms")
        _, failure = await failing(sink, numbered(1))
        await sink.close()

    assert "no answer to open within 0.2 s" in str(failure)
    assert not failure.sent


async def test_a_receiver_that_floods_is_dropped() -> None:
    async def flood(session: RelpPeer) -> None:
        await session.syslog()
        while True:
            await session.say(b"0 hint 9000 " + b"x" * 9000 + b"\n")
            await session.say(b"9" * 70000)

    async with StreamServer(script=RelpScript([flood])) as server:
        sink = sink_to(server)
        _, failure = await failing(sink, numbered(1))
        await sink.close()

    assert failure.sent


async def test_the_event_that_kills_each_session_is_soon_the_first_one() -> None:
    async def choke_on_3(session: RelpPeer) -> None:
        while True:
            frame = await session.syslog()
            if b"number 3" in frame.data:
                return
            await session.answer(frame.txnr)

    async with StreamServer(script=RelpScript([choke_on_3])) as server:
        sink = sink_to(server)
        left = numbered(6)
        blamed: list[str] = []
        for _ in range(4):
            accepted, failure = await failing(sink, left)
            left = left[len(accepted) :]
            assert failure.sent
            blamed.append(left[0].text)
        await sink.close()

    assert blamed[1:] == ["number 3"] * 3


async def test_a_cancelled_delivery_leaves_no_half_session_behind() -> None:
    script = RelpScript([never_answer, accept_all])
    async with StreamServer(script=script) as server:
        sink = sink_to(server, timeout="5s")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await sink.deliver(numbered(2), lambda _: None)
        accepted: list[Event] = []
        await sink.deliver(numbered(2), accepted.append)
        await sink.close()

    assert accepted == numbered(2)
    assert texts(script.messages(1)) == numbers(0, 2)


async def test_closing_a_mute_receiver_takes_less_than_two_seconds() -> None:
    async def mute_at_the_end(session: RelpPeer) -> None:
        await _accept_two(session)
        await asyncio.sleep(30)

    async with StreamServer(script=RelpScript([mute_at_the_end])) as server:
        sink = sink_to(server)
        await sink.deliver(numbered(2), lambda _: None)
        started = time.monotonic()
        await sink.close()
        await sink.close()

    assert time.monotonic() - started < 2


async def test_the_end_of_the_transaction_numbers_is_a_new_session() -> None:
    script = RelpScript([accept_all])
    async with StreamServer(script=script) as server:
        sink = sink_to(server)
        await sink.deliver(numbered(1), lambda _: None)
        from hsm_agent.deliver.relp import RelpSink

        assert isinstance(sink, RelpSink)
        assert sink._link is not None
        sink._link.session._txnr = script.sessions[0].expected = 999_999_998
        script.sessions[0].expected += 1
        accepted: list[Event] = []
        await sink.deliver(numbered(2), accepted.append)
        await sink.close()

    assert accepted == numbered(2)
    assert [frame.command for frame in script.sessions[0].heard] == ["open", "syslog", "close"]
    assert texts(script.messages(1)) == numbers(0, 2)


async def test_nobody_listens() -> None:
    async with StreamServer(script=RelpScript([end])) as server:
        port = server.port
    sink = build(f"relp:127.0.0.1:{port}")

    accepted, failure = await failing(sink, numbered(1))

    assert (accepted, failure.sent) == ([], False)
    assert str(failure) == f"relp:127.0.0.1:{port}: connection refused"
