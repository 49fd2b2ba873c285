"""The pump: accepts are recorded, failures waited out, dead letters found, and no sink waits for another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import pytest

from hsm_agent.deliver.backoff import Backoff
from hsm_agent.deliver.base import Retry
from hsm_agent.deliver.pump import Pump
from hsm_agent.model import Event, EventKind, SinkState, SinkStatus
from hsm_agent.spool import SinkSpec, Spool
from tests.fakes.events import plain, raised
from tests.fakes.sinks import BuggySink, ChokingSink, DownSink, FakeSink, RefusingSink, StallingSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class CountingBackoff(Backoff):
    """Pauses for no time, and tells how often it was asked since the last acknowledgement."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = [0]

    def next(self) -> float:
        self.rows[-1] += 1
        return 0.0

    def reset(self) -> None:
        if self.rows[-1]:
            self.rows.append(0)


class _Rig:
    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.now = 0.0
        self.statuses: dict[str, SinkStatus] = {}
        self.backoffs: dict[str, CountingBackoff] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def pump(self, sink: FakeSink, *, heartbeat: float | None = None, patience_seconds: float = 60.0) -> Pump:
        self.backoffs[sink.name] = CountingBackoff()
        pump = Pump(
            sink,
            self.spool,
            heartbeat=heartbeat,
            make_heartbeat=lambda: plain("beat", EventKind.HEARTBEAT),
            on_status=self._note,
            clock=lambda: self.now,
            backoff=self.backoffs[sink.name],
            patience_seconds=patience_seconds,
        )
        self.tasks.append(asyncio.ensure_future(pump.run()))
        return pump

    def _note(self, status: SinkStatus) -> None:
        self.statuses[status.name] = status

    async def commit(self, *event_ids: str) -> None:
        await self.spool.commit([raised(event_id, f"alarm of {event_id}") for event_id in event_ids], {})

    async def empty(self, sink: str = "noc") -> None:
        async with asyncio.timeout(10):
            while self.spool.stats().sinks[sink].queued:
                await asyncio.sleep(0)
        # The pump hears of it from the disk's thread, in order: what is asked after that is answered after that.
        await self.spool.commit([], {"turn": str(self.now)})
        for _ in range(5):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[_Rig]:
    spool = await Spool.open(tmp_path, entries=1000, size=10**7)
    await spool.register([SinkSpec(name="noc"), SinkSpec(name="siem")], ())
    rig = _Rig(spool)
    yield rig
    await rig.stop()
    await spool.close()


async def test_what_is_committed_is_delivered_in_order_and_leaves(rig: _Rig) -> None:
    sink = FakeSink(window=3)
    rig.pump(sink)

    await rig.commit("e1", "e2", "e3", "e4")
    await rig.commit("e5")
    await rig.empty()

    assert sink.accepted == ["e1", "e2", "e3", "e4", "e5"]
    assert max(map(len, sink.batches)) <= 3
    status = rig.statuses["noc"]
    assert (status.state, status.delivered, status.failed, status.queued) == (SinkState.UP, 5, 0, 0)


async def test_before_anything_is_sent_a_sink_is_idle(rig: _Rig) -> None:
    rig.pump(FakeSink())
    await asyncio.sleep(0)

    assert rig.statuses["noc"].state is SinkState.IDLE


async def test_a_receiver_that_was_down_gets_everything_once_it_is_up(
    rig: _Rig, caplog: pytest.LogCaptureFixture
) -> None:
    sink = DownSink(failures=30)
    await rig.commit("e1", "e2", "e3")
    rig.pump(sink)
    await rig.empty()

    assert sink.accepted == ["e1", "e2", "e3"]
    assert rig.spool.stats().sinks["noc"].dead_letters_total == 0
    assert rig.backoffs["noc"].rows == [30, 0]
    assert (rig.statuses["noc"].failed, rig.statuses["noc"].failing_since) == (30, None)
    assert caplog.messages == [
        "sink noc is failing: noc.example.net:162: connection refused",
        "sink noc is back after 0 s, 2 events waiting",
    ]


async def test_only_an_acknowledgement_resets_the_back_off(rig: _Rig) -> None:
    """Sessions come up and end each time: that is no reason to knock more often."""

    class Flapping(FakeSink):
        async def take(self, event: Event) -> None:
            if len(self.batches) in (*range(1, 4), *range(5, 8)):
                raise Retry("the receiver ended the session", sent=True)

    sink = Flapping()
    await rig.commit("e1", "e2")
    rig.pump(sink)
    await rig.empty()

    assert rig.backoffs["noc"].rows == [3, 3, 0]
    assert sink.accepted == ["e1", "e2"]


async def test_what_the_receiver_refuses_is_a_dead_letter_and_the_rest_goes_on(rig: _Rig) -> None:
    sink = RefusingSink({"e2", "e3"})
    await rig.commit("e1", "e2", "e3", "e4")
    rig.pump(sink)
    await rig.empty()

    assert sink.accepted == ["e1", "e4"]
    letters = {entry.event.event_id: entry.dead[0].reason for entry in await rig.spool.entries() if entry.dead}
    assert letters == {"e2": "500 not wanted", "e3": "500 not wanted"}
    status = rig.statuses["noc"]
    assert (status.state, status.dropped, status.failed, status.delivered) == (SinkState.UP, 2, 2, 2)
    assert rig.backoffs["noc"].rows == [0]


async def test_the_state_is_refused_until_something_is_accepted(rig: _Rig) -> None:
    await rig.commit("e1")
    rig.pump(RefusingSink({"e1"}))
    await rig.empty()

    assert (rig.statuses["noc"].state, rig.statuses["noc"].last_error) == (SinkState.REFUSED, "500 not wanted")


@pytest.mark.parametrize("poison", [{"e1"}, {"e4"}, {"e4", "e5"}, {"e9"}])
async def test_an_event_that_ends_each_session_is_found_within_the_window(rig: _Rig, poison: set[str]) -> None:
    everything = [f"e{number}" for number in range(1, 10)]
    sink = ChokingSink(poison, window=8)
    await rig.commit(*everything)
    rig.pump(sink)
    await rig.empty()

    assert sink.accepted == [event_id for event_id in everything if event_id not in poison]
    letters = {entry.event.event_id: entry.dead[0].reason for entry in await rig.spool.entries() if entry.dead}
    assert letters == dict.fromkeys(poison, "5 sessions ended when it was sent: the receiver ended the session")
    assert rig.statuses["noc"].dropped == len(poison)
    assert sink.heartbeats == len(poison)


async def test_a_receiver_that_ends_every_session_costs_no_event(rig: _Rig) -> None:
    sink = ChokingSink(set(), always=True)
    await rig.commit("e1", "e2")
    rig.pump(sink)
    await sink.until(lambda: len(sink.batches) > 50)
    assert rig.spool.stats().sinks["noc"].dead_letters_total == 0

    sink.always = False
    await rig.empty()

    assert [event_id for event_id in sink.accepted if event_id != "beat"] in (["e1", "e2"], ["e2"])


async def test_a_dead_sink_delays_no_other(rig: _Rig) -> None:
    stalled, well = StallingSink("e1", name="siem"), FakeSink("noc")
    rig.pump(stalled)
    rig.pump(well)

    await rig.commit("e1", "e2", "e3")
    await rig.empty("noc")

    assert (well.accepted, stalled.accepted) == (["e1", "e2", "e3"], [])
    assert rig.spool.stats().sinks["siem"].queued == 3


async def test_cancelled_within_a_batch_what_was_accepted_is_recorded(rig: _Rig) -> None:
    sink = StallingSink("e3")
    await rig.commit("e1", "e2", "e3")
    rig.pump(sink)
    await sink.until(lambda: sink.accepted == ["e1", "e2"])

    await rig.stop()

    assert [entry.event.event_id for entry in await rig.spool.pending("noc", 9)] == ["e3"]
    assert sink.closed == 1


async def test_a_sink_that_never_returns_is_closed_and_tried_again(rig: _Rig) -> None:
    sink = StallingSink("e2")
    await rig.commit("e1", "e2")
    rig.pump(sink, patience_seconds=0.01)
    await sink.until(lambda: len(sink.batches) == 3)

    assert sink.closed >= 1
    assert sink.accepted == ["e1"]
    assert rig.statuses["noc"].last_error == "no answer within 0.01 s"
    sink.stalls_at = ""
    await rig.empty()
    assert sink.accepted == ["e1", "e2"]


async def test_a_defect_brought_to_light_by_one_event_costs_that_event_alone(
    rig: _Rig, caplog: pytest.LogCaptureFixture
) -> None:
    sink = BuggySink("e2")
    await rig.commit("e1", "e2", "e3")
    with caplog.at_level(logging.ERROR):
        rig.pump(sink)
        await rig.empty()

    assert sink.accepted == ["e1", "e3"]
    tracebacks = [record for record in caplog.records if record.exc_info]
    assert len(tracebacks) == 1
    (letter,) = [entry for entry in await rig.spool.entries() if entry.dead]
    assert (letter.event.event_id, "UnicodeEncodeError" in letter.dead[0].reason) == ("e2", True)


async def test_a_sink_that_forgets_an_event_is_asked_again(rig: _Rig) -> None:
    class Forgetful(FakeSink):
        async def deliver(self, events: object, accepted: object) -> None:
            if len(self.batches) < 2:
                self.batches.append([])
                return
            await super().deliver(events, accepted)  # type: ignore[arg-type] # passed on as it came

    sink = Forgetful()
    await rig.commit("e1")
    rig.pump(sink)
    await rig.empty()

    assert sink.accepted == ["e1"]
    assert rig.statuses["noc"].last_error == "the sink said nothing of 1 events"


async def test_heartbeats_come_at_the_start_and_then_as_often_as_asked(rig: _Rig) -> None:
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


async def test_a_failing_heartbeat_marks_the_sink_until_one_gets_through(rig: _Rig) -> None:
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


async def test_while_it_fails_waiting_events_go_before_heartbeats(rig: _Rig) -> None:
    sink = DownSink(failures=5)
    await rig.commit("e1")
    rig.pump(sink, heartbeat=300.0)
    await sink.until(lambda: bool(sink.accepted))

    assert sink.batches[:7] == [["beat"], *[["e1"]] * 5]


async def test_draining_delivers_what_waits_and_ends(rig: _Rig) -> None:
    sink = FakeSink(window=2)
    pump = rig.pump(sink)
    await rig.commit(*(f"e{number}" for number in range(9)))

    assert await pump.drain(5.0) == 0

    assert len(sink.accepted) == 9
    assert (sink.closed, rig.tasks[0].done()) == (1, True)


async def test_draining_tries_a_failing_receiver_once_more_and_says_what_stays(rig: _Rig) -> None:
    class Patient(CountingBackoff):
        def next(self) -> float:
            return super().next() + 60.0

    sink = DownSink(failures=10**6)
    pump = rig.pump(sink)
    pump._backoff = Patient()
    await rig.commit("e1", "e2")
    await sink.until(lambda: len(sink.batches) == 1)

    assert await pump.drain(5.0) == 2

    assert len(sink.batches) == 2
    assert rig.tasks[0].done()


async def test_draining_does_not_wait_longer_than_it_may(rig: _Rig) -> None:
    sink = StallingSink("e1")
    pump = rig.pump(sink)
    await rig.commit("e1")
    await sink.until(lambda: bool(sink.batches))

    assert await pump.drain(0.01) == 1
