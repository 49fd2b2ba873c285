"""The pump: accepts are recorded, failures waited out, dead letters found, and no sink waits for another."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from hsm_agent.deliver.base import Retry, always
from hsm_agent.model import Event, SinkState
from tests.fakes.pumping import PumpRig, pumping
from tests.fakes.sinks import BuggySink, ChokingSink, DownSink, FakeSink, StallingSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PumpRig]:
    async with pumping(tmp_path) as rig:
        yield rig


async def test_what_is_committed_is_delivered_in_order_and_leaves(rig: PumpRig) -> None:
    sink = FakeSink(window=3)
    rig.pump(sink)

    await rig.commit("e1", "e2", "e3", "e4")
    await rig.commit("e5")
    await rig.empty()

    assert sink.accepted == ["e1", "e2", "e3", "e4", "e5"]
    assert max(map(len, sink.batches)) <= 3
    status = rig.statuses["noc"]
    assert (status.state, status.delivered, status.failed, status.queued) == (SinkState.UP, 5, 0, 0)


async def test_a_receiver_is_left_alone_as_long_as_it_asked(rig: PumpRig) -> None:
    class AskingSink(DownSink):
        async def take(self, event: Event) -> None:
            if self.failures > 0:
                self.failures -= 1
                raise Retry("the receiver answered 503", asked_seconds=10.0 * self.failures)

    rig.pump(AskingSink(failures=3))
    await rig.commit("e1")
    await rig.empty()

    assert rig.backoffs["noc"].asked == [20.0, 10.0, 0.0]


async def test_before_anything_is_sent_a_sink_is_idle(rig: PumpRig) -> None:
    rig.pump(FakeSink())
    await asyncio.sleep(0)

    assert rig.statuses["noc"].state is SinkState.IDLE


async def test_a_receiver_that_was_down_gets_everything_once_it_is_up(
    rig: PumpRig, caplog: pytest.LogCaptureFixture
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


async def test_only_an_acknowledgement_resets_the_back_off(rig: PumpRig) -> None:
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


async def test_a_receiver_that_ends_every_session_costs_no_event(rig: PumpRig) -> None:
    sink = ChokingSink(set(), always=True)
    await rig.commit("e1", "e2")
    rig.pump(sink)
    await sink.until(lambda: len(sink.batches) > 50)
    assert rig.spool.stats().sinks["noc"].dead_letters_total == 0

    sink.always = False
    await rig.empty()

    assert [event_id for event_id in sink.accepted if event_id != "beat"] in (["e1", "e2"], ["e2"])


async def test_a_dead_sink_delays_no_other(rig: PumpRig) -> None:
    stalled, well = StallingSink("e1", name="siem"), FakeSink("noc")
    rig.pump(stalled)
    rig.pump(well)

    await rig.commit("e1", "e2", "e3")
    await rig.empty("noc")

    assert (well.accepted, stalled.accepted) == (["e1", "e2", "e3"], [])
    assert rig.spool.stats().sinks["siem"].queued == 3


async def test_cancelled_within_a_batch_what_was_accepted_is_recorded(rig: PumpRig) -> None:
    sink = StallingSink("e3")
    await rig.commit("e1", "e2", "e3")
    rig.pump(sink)
    await sink.until(lambda: sink.accepted == ["e1", "e2"])

    await rig.stop()

    assert [entry.event.event_id for entry in await rig.spool.pending("noc", 9)] == ["e3"]
    assert sink.closed == 1


async def test_a_sink_that_never_returns_is_closed_and_tried_again(rig: PumpRig) -> None:
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
    rig: PumpRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.seconds_a_look = 10.0
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


async def test_a_sink_that_forgets_an_event_is_asked_again(rig: PumpRig) -> None:
    class Forgetful(FakeSink):
        async def deliver(self, events: object, accepted: object, may_send: object = always) -> None:
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
