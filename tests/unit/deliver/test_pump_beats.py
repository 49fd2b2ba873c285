"""Heartbeats, and draining before the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hsm_agent.model import SinkState
from tests.fakes.pumping import CountingBackoff, PumpRig, pumping
from tests.fakes.sinks import DownSink, FakeSink, StallingSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PumpRig]:
    async with pumping(tmp_path) as rig:
        yield rig


async def test_heartbeats_come_at_the_start_and_then_as_often_as_asked(rig: PumpRig) -> None:
    sink = FakeSink()
    rig.pump(sink, heartbeat=300.0)
    await sink.until(lambda: sink.heartbeats == 1)

    rig.now = 299.0
    await rig.commit("e1")
    await rig.empty()
    assert sink.heartbeats == 1

    rig.now = 301.0
    await rig.commit("e2")
    await rig.empty()
    assert sink.heartbeats == 2
    assert (rig.statuses["noc"].delivered, rig.spool.stats().entries) == (2, 2)


async def test_a_failing_heartbeat_marks_the_sink_until_one_gets_through(rig: PumpRig) -> None:
    sink = DownSink(failures=5)
    rig.pump(sink, heartbeat=300.0)
    await sink.until(lambda: len(sink.batches) == 3)
    assert rig.statuses["noc"].state is SinkState.RETRYING
    assert rig.statuses["noc"].failing_since == 0.0

    await sink.until(lambda: sink.heartbeats == 1)
    for _ in range(3):
        await asyncio.sleep(0)

    assert (rig.statuses["noc"].state, rig.statuses["noc"].failed) == (SinkState.UP, 5)
    assert rig.spool.stats().entries == 0


async def test_while_it_fails_waiting_events_go_before_heartbeats(rig: PumpRig) -> None:
    sink = DownSink(failures=5)
    await rig.commit("e1")
    rig.pump(sink, heartbeat=300.0)
    await sink.until(lambda: bool(sink.accepted))

    assert sink.batches[:7] == [["beat"], *[["e1"]] * 5]


async def test_draining_delivers_what_waits_and_ends(rig: PumpRig) -> None:
    sink = FakeSink(window=2)
    pump = rig.pump(sink)
    await rig.commit(*(f"e{number}" for number in range(9)))

    assert await pump.drain(5.0) == 0

    assert len(sink.accepted) == 9
    assert (sink.closed, rig.tasks[0].done()) == (1, True)


async def test_draining_tries_a_failing_receiver_once_more_and_says_what_stays(rig: PumpRig) -> None:
    class Patient(CountingBackoff):
        def next(self, asked_seconds: float = 0.0) -> float:
            return super().next() + 60.0

    sink = DownSink(failures=10**6)
    pump = rig.pump(sink)
    pump._backoff = Patient()
    await rig.commit("e1", "e2")
    await sink.until(lambda: len(sink.batches) == 1)

    assert await pump.drain(5.0) == 2

    assert len(sink.batches) == 2
    assert rig.tasks[0].done()


async def test_draining_does_not_wait_longer_than_it_may(rig: PumpRig) -> None:
    sink = StallingSink("e1")
    pump = rig.pump(sink)
    await rig.commit("e1")
    await sink.until(lambda: bool(sink.batches))

    assert await pump.drain(0.01) == 1
