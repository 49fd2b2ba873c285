"""A spool with two sinks, and pumps that pause for no time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hsm_agent.deliver.pump import Pump
from hsm_agent.deliver.retries import Backoff
from hsm_agent.model import EventKind, SinkStatus
from hsm_agent.spool import Spool
from tests.fakes.events import plain, raised

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hsm_agent.deliver.base import Sink


class CountingBackoff(Backoff):
    """Pauses for no time, and tells how often it was asked since the last acknowledgement."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = [0]
        self.asked: list[float] = []

    def next(self, asked_seconds: float = 0.0) -> float:
        self.rows[-1] += 1
        self.asked.append(asked_seconds)
        return 0.0

    def reset(self) -> None:
        if self.rows[-1]:
            self.rows.append(0)


class PumpRig:
    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.now = 0.0
        self.seconds_a_look = 0.0
        """By how much the clock goes on whenever it is looked at: what is to be tried again later is due then."""
        self.statuses: dict[str, SinkStatus] = {}
        self.backoffs: dict[str, CountingBackoff] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def pump(self, sink: Sink, *, heartbeat: float | None = None, patience_seconds: float = 60.0) -> Pump:
        self.backoffs[sink.name] = CountingBackoff()
        pump = Pump(
            sink,
            self.spool,
            heartbeat_seconds=heartbeat,
            make_heartbeat=lambda: plain("beat", EventKind.HEARTBEAT),
            on_status=self._note,
            clock=self._clock,
            backoff=self.backoffs[sink.name],
            patience_seconds=patience_seconds,
        )
        self.tasks.append(asyncio.ensure_future(pump.run()))
        return pump

    def _clock(self) -> float:
        self.now += self.seconds_a_look
        return self.now

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


@contextlib.asynccontextmanager
async def pumping(directory: Path) -> AsyncIterator[PumpRig]:
    spool = await Spool.open(directory, entries=1000, size_bytes=10**7)
    await spool.register({"noc": None, "siem": None}, ())
    rig = PumpRig(spool)
    try:
        yield rig
    finally:
        await rig.stop()
        await spool.close()
