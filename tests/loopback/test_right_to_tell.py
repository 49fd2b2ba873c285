"""Over real connections: nothing is written once another agent tells, and what was sent is still answered for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.deliver.alertmanager import AlertmanagerSink
from hsm_agent.deliver.base import ToldAlarm, Withheld
from tests.fakes import http_sinks
from tests.fakes.http_receiver import Receiver
from tests.fakes.relp_server import RelpScript, accept_all
from tests.fakes.stream_server import Collector, StreamServer
from tests.fakes.syslog_events import event, numbered
from tests.fakes.syslog_sinks import build

if TYPE_CHECKING:
    from hsm_agent.deliver.base import Sink
    from hsm_agent.model import Event


class Right:
    """Ends after so many looks."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.looks = 0

    def __call__(self, _: Event) -> bool:
        self.looks += 1
        self.left -= 1
        return self.left >= 0


async def delivered(sink: Sink, events: list[Event], right: Right) -> list[Event]:
    accepted: list[Event] = []
    with pytest.raises(Withheld):
        await sink.deliver(events, accepted.append, right)
    return accepted


@pytest.mark.parametrize("looks", [0, 1, 20, 39])
async def test_over_relp_the_session_goes_on(looks: int) -> None:
    script = RelpScript([accept_all])
    async with StreamServer(script=script) as server:
        sink = build(f"relp:127.0.0.1:{server.port}")
        accepted = await delivered(sink, numbered(40), Right(looks))
        sent = len(script.messages(0))
        await sink.deliver(numbered(40)[looks:], accepted.append)
        await sink.close()

    assert (sent, server.connections) == (looks, 1)
    assert accepted == numbered(40)
    assert len(script.messages(0)) == 40


@pytest.mark.parametrize("looks", [0, 1, 20, 39])
async def test_over_tcp_what_was_written_is_accepted(looks: int) -> None:
    collector = Collector()
    async with StreamServer(script=collector) as server:
        sink = build(f"tcp:127.0.0.1:{server.port}")
        accepted = await delivered(sink, numbered(40), Right(looks))
        await sink.deliver(numbered(40)[looks:], accepted.append)
        await sink.close()
        await collector.until(40)

    assert accepted == numbered(40)
    assert (len(collector.messages), server.connections) == (40, 1)


async def test_over_http_nothing_is_awaited_between_the_look_and_the_request() -> None:
    receiver = Receiver()
    async with StreamServer(script=receiver) as server:
        sink = http_sinks.build("webhook", f"http://127.0.0.1:{server.port}/hook")
        connections: list[int] = []

        def look(_: Event) -> bool:
            connections.append(server.connections)
            return len(receiver.requests) < 2

        accepted: list[Event] = []
        with pytest.raises(Withheld):
            await sink.deliver(numbered(4), accepted.append, look)
        await sink.close()

    assert accepted == numbered(2)
    assert len(receiver.requests) == 2
    assert connections == [1, 1, 1]


async def test_alerts_are_neither_posted_nor_repeated() -> None:
    receiver = Receiver()
    async with StreamServer(script=receiver) as server:
        sink = http_sinks.build("alertmanager", f"http://127.0.0.1:{server.port}/am")
        assert isinstance(sink, AlertmanagerSink)
        alarms = [ToldAlarm(event=event(alarm_id=str(number)), since=0.0, is_last_word=True) for number in range(200)]
        mine, answers = Right(200), list[None]()
        with pytest.raises(Withheld):
            await sink.repeat(alarms, lambda: answers.append(None), mine)
        with pytest.raises(Withheld):
            await sink.deliver(numbered(1), lambda _: None, Right(0))
        await sink.close()

    assert (len(receiver.requests), len(answers)) == (1, 1)
