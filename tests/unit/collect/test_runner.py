"""The runner survives whatever a collector does, and says how the source is."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import Collector, Poll, PushCollector, SourceFailure
from hsm_agent.collect.runner import LONGEST_RETRY_SECONDS, Runner
from hsm_agent.model import Reading, SourceState
from hsm_agent.threads import StuckError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from hsm_agent.model import Series, SourceStatus

NOW, WALL = 1000.0, 1_700_000_000.0


class Script(Collector):
    """A collector that does what a list says: a Poll to return, or an exception to raise."""

    kind = "pkcs11"

    def __init__(self, *acts: Poll | Exception) -> None:
        self.name, self.every_seconds = "luna-a", 60.0
        self.acts = list(acts)
        self.closed = False

    async def poll(self) -> Poll:
        act = self.acts.pop(0)
        if isinstance(act, Exception):
            raise act
        return act

    async def close(self) -> None:
        self.closed = True


class Seen:
    """Takes what the runner publishes."""

    def __init__(self) -> None:
        self.clock = NOW
        self.polls = 0
        self.gone: list[str] = []
        self.published: list[tuple[SourceStatus, dict[str, Reading], bool]] = []

    async def publish(
        self, status: SourceStatus, readings: Sequence[Reading], *, complete: bool = False, gone: Sequence[str] = ()
    ) -> None:
        self.gone += gone
        self.published.append((status, {reading.metric: reading for reading in readings}, complete))

    def count(self) -> None:
        self.polls += 1

    def runner(self, *acts: Poll | Exception) -> Runner:
        return Runner(Script(*acts), self.publish, on_poll=self.count, monotonic=lambda: self.clock, wall=lambda: WALL)


def _reading() -> Reading:
    return Reading(source="luna-a", resource="pay", metric="token_present", value=1, time=WALL)


async def test_a_good_poll_is_published_with_the_sources_own_readings() -> None:
    seen = Seen()
    poll = Poll(readings=(_reading(),), next_in_seconds=42.0, slowest_call_seconds=0.25, complete=True, gone=("old",))
    runner = seen.runner(poll)

    assert await runner.once() == 42.0
    ((status, readings, complete),) = seen.published
    assert (status.state, status.last_success, status.failures, status.last_error) == (SourceState.UP, NOW, 0, "")
    assert complete is True
    assert seen.gone == ["old"]
    values = {metric: reading.value for metric, reading in readings.items()}
    assert values == {
        "token_present": 1,
        "source_up": 1,
        "source_errors": 0,
        "source_poll_seconds": 0.0,
        "source_failures_total": 0,
        "source_call_seconds": 0.25,
        "source_age_seconds": 0.0,
    }
    assert seen.polls == 1


async def test_a_failed_poll_is_down_with_its_reason_and_asked_again_soon() -> None:
    seen = Seen()
    runner = seen.runner(SourceFailure("no module: install it"))
    seen.clock += 5

    assert await runner.once() == LONGEST_RETRY_SECONDS
    ((status, readings, complete),) = seen.published
    assert (status.state, status.last_error, status.failures) == (SourceState.DOWN, "no module: install it", 1)
    assert complete is False
    assert readings["source_up"].value == 0
    assert readings["source_errors"].value == 1
    assert "source_age_seconds" not in readings  # it may have been down before the agent started
    assert "source_call_seconds" not in readings


async def test_a_source_that_says_when_is_asked_again_then_and_no_sooner() -> None:
    assert await Seen().runner(SourceFailure("refused", retry_in_seconds=250.0)).once() == 250.0


async def test_the_time_in_which_a_source_that_sends_is_waited_for_is_no_time_of_its_poll() -> None:
    seen = Seen()

    class Sending(PushCollector, Script):
        async def wait(self) -> None:
            seen.clock += 60.0

        async def poll(self) -> Poll:
            seen.clock += 0.5
            return await super().poll()

        async def end_alarm(self, series: Series) -> bool:
            return False

    sending = Sending(Poll(readings=(), next_in_seconds=0.0))
    runner = Runner(sending, seen.publish, on_poll=seen.count, monotonic=lambda: seen.clock, wall=lambda: WALL)
    await runner.once()

    ((status, readings, _),) = seen.published
    assert status.last_poll_seconds == 0.5
    assert readings["source_poll_seconds"].value == 0.5


async def test_isolated_failures_are_degraded_and_counted_one_by_one() -> None:
    seen = Seen()
    runner = seen.runner(Poll(readings=(), next_in_seconds=1.0, errors=("slot 1: failed", "slot 2: failed")))

    await runner.once()
    ((status, readings, _),) = seen.published
    assert (status.state, status.failures, status.last_error) == (SourceState.DEGRADED, 2, "slot 1: failed")
    assert (readings["source_up"].value, readings["source_errors"].value) == (1, 2)


async def test_a_failure_that_stands_is_no_new_one_and_leaves_the_source_degraded() -> None:
    seen = Seen()
    failing = Poll(readings=(), next_in_seconds=1.0, errors=("slot 1: failed",))
    runner = seen.runner(failing, Poll(readings=(), next_in_seconds=1.0, standing=("slot 1: failed",)))

    await runner.once()
    await runner.once()
    ((_, _, _), (status, readings, _)) = seen.published
    assert (status.state, status.failures, status.last_error) == (SourceState.DEGRADED, 1, "slot 1: failed")
    assert (readings["source_errors"].value, readings["source_failures_total"].value) == (1, 1)


async def test_a_bug_in_a_collector_is_logged_with_its_traceback_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    runner = seen.runner(ZeroDivisionError("division by zero"), Poll(readings=(), next_in_seconds=1.0))

    await runner.once()
    await runner.once()
    assert [status.state for status, _, _ in seen.published] == [SourceState.DOWN, SourceState.UP]
    assert "bug in the collector: ZeroDivisionError" in seen.published[0][0].last_error
    assert any(record.exc_info for record in caplog.records)


async def test_only_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seen = Seen()
    failure = SourceFailure("gone")
    well = Poll(readings=(), next_in_seconds=1.0)
    runner = seen.runner(well, well, failure, failure, well)

    for _ in range(5):
        await runner.once()

    assert [record.getMessage() for record in caplog.records] == [
        "source luna-a is up",
        "source luna-a is down: gone",
        "source luna-a is up",
    ]


async def test_the_age_grows_from_the_last_success_and_brings_the_sources_patience_along() -> None:
    seen = Seen()
    runner = seen.runner(Poll(readings=(), next_in_seconds=1.0), SourceFailure("gone"))
    await runner.once()
    seen.clock += 300
    await runner.once()

    (age,) = runner.age()
    assert (age.value, age.limit) == (300.0, 180.0)
    assert seen.published[1][0].last_success == NOW


async def test_a_source_never_read_has_an_age_only_when_its_patience_is_over() -> None:
    seen = Seen()
    runner = seen.runner()
    seen.clock += 179
    assert runner.age() == ()

    seen.clock += 1
    (age,) = runner.age()
    assert (age.value, age.limit) == (180.0, 180.0)


async def test_a_poll_may_take_as_long_as_it_was_given_before_it_counts_as_stuck() -> None:
    seen, under_way = Seen(), asyncio.Event()

    class Slow(Script):
        async def poll(self) -> Poll:
            under_way.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    runner = Runner(Slow(), seen.publish, on_poll=seen.count, timeout_seconds=900.0)
    task = asyncio.create_task(runner.once())
    await under_way.wait()
    loop: Any = asyncio.get_running_loop()
    due = [handle.when() - loop.time() for handle in loop._scheduled]
    task.cancel()

    assert any(1400.0 < seconds <= 1500.0 for seconds in due)


async def test_a_collector_whose_thread_is_stuck_has_no_bug() -> None:
    seen = Seen()
    runner = seen.runner(StuckError("reading /mnt/a has not come back within 5 s"))

    await runner.once()

    ((status, _, _),) = seen.published
    assert (status.state, status.last_error) == (SourceState.DOWN, "reading /mnt/a has not come back within 5 s")
