"""Polls a collector until cancelled, times it and counts its failures; the one place that survives a failing source.

It publishes readings of the source itself (`source_…`), which rules evaluate.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from hsm_agent.collect.base import PushCollector, SourceFailure, patience_seconds
from hsm_agent.collect.series import Fact
from hsm_agent.model import SourceState, SourceStatus
from hsm_agent.threads import StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.collect.base import Collector, Poll
    from hsm_agent.model import Reading

log = logging.getLogger(__name__)

LONGEST_RETRY_SECONDS = 15.0
"""A failed source is asked again after its own interval, or this, whichever is sooner, unless it says when."""
GUARD_SECONDS = 600.0
"""A poll that exceeds its timeout by so much is a bug of the collector, whose own deadlines are shorter."""
SPREAD_SECONDS = 2.0
"""First polls are spread over this long, or a tenth of the interval, by a jitter that is stable for a name."""


class Publish(Protocol):
    """Publishes the result of a poll; returns when it is evaluated and spooled."""

    async def __call__(
        self, status: SourceStatus, readings: Sequence[Reading], *, complete: bool = False, gone: Sequence[str] = ()
    ) -> None:
        """`complete`: every resource of the source is among the readings; `gone` are those that were until now."""


class Runner:
    """The poll loop of one source. `status` is the source's present state."""

    def __init__(
        self,
        collector: Collector,
        publish: Publish,
        *,
        on_poll: Callable[[], None],
        timeout_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.collector = collector
        self.status = SourceStatus(name=collector.name, kind=collector.kind, every_seconds=collector.every_seconds)
        self._publish = publish
        self._on_poll = on_poll
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._wall = wall
        self._born = monotonic()
        self._patience_seconds = patience_seconds(collector.every_seconds)

    async def run(self) -> None:
        """Poll until cancelled; then close the collector."""
        fraction = zlib.crc32(self.collector.name.encode()) / 2**32
        try:
            pause = fraction * min(SPREAD_SECONDS, self.collector.every_seconds / 10)
            while True:
                await asyncio.sleep(max(0.0, pause))
                pause = await self.once()
        finally:
            await self.collector.close()

    async def once(self) -> float:
        """One poll, published. Returns the seconds until the next one is wanted."""
        if isinstance(self.collector, PushCollector):
            await self.collector.wait()
        began = self._monotonic()
        retry_in_seconds: float | None = None
        poll: Poll | None
        try:
            async with asyncio.timeout(self._timeout_seconds + GUARD_SECONDS):
                poll = await self.collector.poll()
                problem = next(iter((*poll.errors, *poll.standing)), "")
        except SourceFailure as failure:
            poll, problem, retry_in_seconds = None, str(failure), failure.retry_in_seconds
        except StuckError as stuck:
            poll, problem = None, str(stuck)
        except Exception as error:
            log.exception("source %s: its collector has a bug", self.collector.name)
            poll, problem = None, f"bug in the collector: {type(error).__name__}: {error}"
        self._on_poll()
        took = self._monotonic() - began
        self._note(poll, problem, took)
        readings = (*(poll.readings if poll else ()), *self._own_readings(poll, took))
        await self._publish(
            self.status, readings, complete=poll is not None and poll.complete, gone=poll.gone if poll else ()
        )
        if poll is not None:
            return poll.next_in_seconds
        return (
            min(self.collector.every_seconds, LONGEST_RETRY_SECONDS) if retry_in_seconds is None else retry_in_seconds
        )

    def _note(self, poll: Poll | None, problem: str, took: float) -> None:
        before = self.status
        failures = 1 if poll is None else len(poll.errors)
        state = SourceState.DOWN if poll is None else SourceState.DEGRADED if problem else SourceState.UP
        self.status = replace(
            before,
            state=state,
            last_success=before.last_success if poll is None else self._monotonic(),
            last_poll_seconds=took,
            failures=before.failures + failures,
            last_error=problem,
        )
        if (state, problem) != (before.state, before.last_error):
            level = logging.INFO if state is SourceState.UP else logging.WARNING
            log.log(level, "source %s is %s%s", before.name, state.name.lower(), f": {problem}" if problem else "")

    def _own_readings(self, poll: Poll | None, took: float) -> tuple[Reading, ...]:
        values: dict[str, float | int | None] = {
            "source_up": 0 if poll is None else 1,
            "source_errors": 1 if poll is None else len(poll.errors) + len(poll.standing),
            "source_poll_seconds": took,
            "source_failures_total": self.status.failures,
        }
        if poll is not None and poll.slowest_call_seconds is not None:
            values["source_call_seconds"] = poll.slowest_call_seconds
        now = self._wall()
        plain = (Fact(metric, value).reading(self.collector.name, now) for metric, value in values.items())
        return (*plain, *self.age())

    def age(self) -> tuple[Reading, ...]:
        """Time since the last success; its limit is the source's patience.

        Before the first success there is none until the patience is over, counted from the start: an agent that was
        started a minute ago must not take a source for well that was down before.
        """
        since = self._born if self.status.last_success is None else self.status.last_success
        age = self._monotonic() - since
        if self.status.last_success is None and age < self._patience_seconds:
            return ()
        fact = Fact("source_age_seconds", age, limit=self._patience_seconds)
        return (fact.reading(self.collector.name, self._wall()),)
