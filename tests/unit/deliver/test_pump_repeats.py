"""The pump and a sink that tells again what is on: at the start, in its time, and never before what waits fails on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.deliver.base import Retry, ToldAlarm, always
from hsm_agent.deliver.pump import Pump
from hsm_agent.model import EventKind, Severity, SinkState
from tests.fakes.events import plain, raised
from tests.fakes.pumping import CountingBackoff, PumpRig, pumping
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.deliver.base import MaySend
    from hsm_agent.model import Event

import asyncio


class RepeatingSink(FakeSink):
    """Notes what it was given to repeat; fails at so many repetitions."""

    repeat_seconds = 60.0

    def __init__(self, *, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.repeated: list[list[str]] = []

    def recall(self, told: Mapping[str, frozenset[Severity]]) -> None:
        self.recalled = dict(told)

    async def repeat(
        self, alarms: Sequence[ToldAlarm], progress: Callable[[], None], may_send: MaySend = always
    ) -> None:
        progress()
        self.repeated.append([alarm.event.alarm_id for alarm in alarms])
        self._changed.set()
        if self.failures > 0:
            self.failures -= 1
            raise Retry("alertmanager.example.net:9093: connection refused")


def told(*alarm_ids: str) -> list[ToldAlarm]:
    return [ToldAlarm(event=raised("e", alarm_id), since=0.0, is_last_word=True) for alarm_id in alarm_ids]


def start(rig: PumpRig, sink: FakeSink, alarms: list[ToldAlarm]) -> Pump:
    pump = Pump(
        sink,
        rig.spool,
        heartbeat_seconds=None,
        make_heartbeat=lambda: plain("beat", EventKind.HEARTBEAT),
        on_status=rig._note,
        clock=rig._clock,
        backoff=CountingBackoff(),
        told_alarms=lambda: alarms,
    )
    rig.tasks.append(asyncio.ensure_future(pump.run()))
    return pump


async def test_what_is_on_is_repeated_at_the_start_and_then_in_its_time(tmp_path: Path) -> None:
    sink = RepeatingSink()
    async with pumping(tmp_path) as rig:
        start(rig, sink, told("a", "b"))
        await sink.until(lambda: len(sink.repeated) == 1)
        await rig.commit("one")
        await rig.empty()
        rig.now = 59.0
        await rig.commit("two")
        await rig.empty()
        before = len(sink.repeated)
        rig.now = 60.0
        await rig.commit("three")
        await sink.until(lambda: len(sink.repeated) == 2)

    assert before == 1
    assert sink.repeated == [["a", "b"], ["a", "b"]]
    assert sink.accepted[:2] == ["one", "two"]


async def test_where_nothing_is_on_nothing_is_repeated(tmp_path: Path) -> None:
    sink = RepeatingSink()
    async with pumping(tmp_path) as rig:
        start(rig, sink, [])
        await rig.commit("one")
        await rig.empty()

    assert sink.repeated == []


async def test_a_repetition_that_fails_does_not_keep_events_waiting(tmp_path: Path) -> None:
    sink = RepeatingSink(failures=100)
    async with pumping(tmp_path) as rig:
        start(rig, sink, told("a"))
        await sink.until(lambda: len(sink.repeated) == 1)
        await sink.until(lambda: rig.statuses["noc"].state is SinkState.RETRYING or bool(sink.accepted))
        state = rig.statuses["noc"].state
        await rig.commit("one")
        await rig.empty()

    assert state is SinkState.RETRYING
    assert sink.accepted == ["one"]
    assert len(sink.repeated) == 1


async def test_a_sink_that_repeats_nothing_is_left_alone(tmp_path: Path) -> None:
    sink = FakeSink()
    async with pumping(tmp_path) as rig:
        start(rig, sink, told("a"))
        await rig.commit("one")
        await rig.empty()

    assert sink.accepted == ["one"]


async def test_events_go_between_the_parts_and_what_they_end_is_not_told_again(tmp_path: Path) -> None:
    alarms = told(*(str(number) for number in range(300)))

    class ClearingSink(RepeatingSink):
        async def take(self, event: Event) -> None:
            order.append(event.event_id)
            alarms[:] = [alarm for alarm in alarms if alarm.event.alarm_id != "299"]

        async def repeat(
            self, alarms: Sequence[ToldAlarm], progress: Callable[[], None], may_send: MaySend = always
        ) -> None:
            order.append(f"part of {len(alarms)}")
            await super().repeat(alarms, progress)

    order: list[str] = []
    sink = ClearingSink()
    async with pumping(tmp_path) as rig:
        await rig.commit("clear of 299")
        start(rig, sink, alarms)
        await sink.until(lambda: len(sink.repeated) == 3)

    assert order == ["part of 128", "clear of 299", "part of 128", "part of 43"]
    assert [name for part in sink.repeated for name in part] == [str(number) for number in range(299)]


async def test_a_part_that_fails_keeps_the_others_back_for_one_repetition_only(tmp_path: Path) -> None:
    sink = RepeatingSink(failures=1)
    async with pumping(tmp_path) as rig:
        start(rig, sink, told(*(str(number) for number in range(200))))
        await sink.until(lambda: len(sink.repeated) == 1)
        await rig.commit("one")
        await rig.empty()
        rig.now = 60.0
        await rig.commit("two")
        await sink.until(lambda: len(sink.repeated) == 3)

    assert [(part[0], part[-1]) for part in sink.repeated] == [("0", "127"), ("128", "55"), ("56", "127")]


async def test_a_sink_that_repeats_is_told_what_the_spool_knows_from_before(tmp_path: Path) -> None:
    first, second = RepeatingSink(), RepeatingSink()
    async with pumping(tmp_path) as rig:
        pump = start(rig, first, [])
        await rig.spool.commit([raised("r", "a", Severity.CRITICAL)], {})
        await rig.empty()
        await pump.drain(1.0)
        start(rig, second, told("a"))
        await second.until(lambda: bool(second.repeated))

    assert (first.recalled, second.recalled) == ({}, {"a": frozenset({Severity.CRITICAL})})


async def test_a_repetition_that_asks_the_receiver_nothing_does_not_make_it_well(tmp_path: Path) -> None:
    class DumbSink(RepeatingSink):
        async def take(self, event: Event) -> None:
            raise Retry("the receiver answered 500", sent=True)

        async def repeat(
            self, alarms: Sequence[ToldAlarm], progress: Callable[[], None], may_send: MaySend = always
        ) -> None:
            await super().repeat(alarms, lambda: None)

    sink = DumbSink()
    async with pumping(tmp_path) as rig:
        await rig.commit("one")
        start(rig, sink, told("a"))
        await sink.until(lambda: len(sink.batches) > 2)
        rig.now = 60.0
        await sink.until(lambda: len(sink.repeated) == 2)
        tried = len(sink.batches)
        await sink.until(lambda: len(sink.batches) > tried)

    assert rig.statuses["noc"].state is SinkState.RETRYING
    assert rig.statuses["noc"].failing_since == 0.0
