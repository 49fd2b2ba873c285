"""An agent and a webhook that refuses and breaks off before it takes what happened: nothing is lost, and in its order."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.fakes.http_receiver import Receiver
from tests.fakes.http_sinks import json_of
from tests.fakes.stream_server import StreamServer
from tests.peers.agent import AgentProcess

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86400.0
NO = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n"


def left(date: Path, seconds: float) -> None:
    part = date.with_suffix(".new")
    part.write_text(f"{time.time() + seconds:.0f}\n")
    part.replace(date)


async def test_a_receiver_in_trouble_is_told_everything_in_the_end(tmp_path: Path) -> None:
    receiver = Receiver([NO % 404, None])
    date = tmp_path / "date"
    left(date, 3 * DAY)
    dates = [{"name": "card", "kind": "expiry", "file": str(date), "read": "first-line"}]
    async with StreamServer(script=receiver) as server:
        agent = AgentProcess(
            tmp_path,
            sources=[{"name": "cards", "kind": "declared", "dates": dates, "every": "100ms", "timeout": "1s"}],
            deliver=[{"name": "hook", "kind": "webhook", "to": f"http://127.0.0.1:{server.port}/", "timeout": "2s"}],
        )
        async with agent:
            await agent.until(lambda status: bool(status["alarms"]))
            left(date, 365 * DAY)
            await agent.until(lambda status: status["alarms"] == [])
            await agent.until(lambda status: status["sinks"][0]["queued"] == 0, seconds=30.0)
            (sink,) = (await agent.status())["sinks"]
            async with asyncio.timeout(5):
                await agent.stop()

    told = [json_of(request) for request in receiver.requests]
    ours = [event for event in told if event["rule"] == "declared-date"]
    kinds = list(dict.fromkeys((event["event_id"], event["kind"]) for event in ours))
    assert [kind for _, kind in kinds] == ["ALARM_RAISED", "ALARM_CLEARED"]
    assert len({event["alarm_id"] for event in ours}) == 1
    assert (sink["guarantee"], sink["dropped"]) == ("at least once", 0)
    assert len(receiver.requests) >= 4
