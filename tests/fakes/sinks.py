"""Sinks that behave as told: they accept, fail, refuse, dawdle, or die of one event."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hsm_agent.deliver.base import Refused, Retry, Withheld, always
from hsm_agent.model import EventKind, Guarantee

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.deliver.base import MaySend
    from hsm_agent.model import Event


class FakeSink:
    """Accepts everything; remembers each batch and what it accepted. Changed behaviour: override `take`."""

    guarantee = Guarantee.AT_LEAST_ONCE
    kind = "fake"

    def __init__(self, name: str = "noc", window: int = 8) -> None:
        self.name = name
        self.window = window
        self.batches: list[list[str]] = []
        self.accepted: list[str] = []
        self.heartbeats = 0
        self.closed = 0
        self._changed = asyncio.Event()

    async def deliver(
        self, events: Sequence[Event], accepted: Callable[[Event], None], may_send: MaySend = always
    ) -> None:
        self.batches.append([event.event_id for event in events])
        self._changed.set()
        for event in events:
            if not may_send(event):
                raise Withheld
            await self.take(event)
            if event.kind is EventKind.HEARTBEAT:
                self.heartbeats += 1
            else:
                self.accepted.append(event.event_id)
            accepted(event)
            self._changed.set()

    async def take(self, event: Event) -> None:
        """Return to accept; raise to do anything else."""

    async def close(self) -> None:
        self.closed += 1

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something that follows from a delivery is so."""
        async with asyncio.timeout(10):
            while not reached():
                self._changed.clear()
                await self._changed.wait()


class DownSink(FakeSink):
    """Fails at connecting for so many deliveries, then accepts."""

    def __init__(self, failures: int, name: str = "noc", window: int = 8) -> None:
        super().__init__(name, window)
        self.failures = failures

    async def take(self, event: Event) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise Retry("noc.example.net:162: connection refused")


class ChokingSink(FakeSink):
    """Its receiver ends the session when it is sent one of these; `always`: on whatever it is sent."""

    def __init__(self, poison: set[str], *, always: bool = False, window: int = 8) -> None:
        super().__init__(window=window)
        self.poison = poison
        self.always = always

    async def take(self, event: Event) -> None:
        if self.always or event.event_id in self.poison:
            raise Retry("the receiver ended the session", sent=True)


class RefusingSink(FakeSink):
    """Refuses these whenever they come; as long as `refusals` is above zero, whatever comes."""

    def __init__(self, unwanted: set[str], *, refusals: int = 0, every: int = 0, window: int = 8) -> None:
        """`every`: each so-manieth message is refused, whatever it is."""
        super().__init__(window=window)
        self.unwanted = unwanted
        self.refusals = refusals
        self.every = every
        self.certain = False
        self._taken = 0

    async def take(self, event: Event) -> None:
        self._taken += 1
        self.refusals -= 1
        periodic = self.every and self._taken % self.every == 0
        if event.event_id in self.unwanted or self.refusals >= 0 or periodic:
            raise Refused(event.event_id, "500 not wanted", certain=self.certain)


class StallingSink(FakeSink):
    """Accepts up to an event, then waits for ever."""

    def __init__(self, stalls_at: str, name: str = "noc") -> None:
        super().__init__(name)
        self.stalls_at = stalls_at

    async def take(self, event: Event) -> None:
        if event.event_id == self.stalls_at:
            await asyncio.Event().wait()


class BuggySink(FakeSink):
    """Has a defect that one event brings to light."""

    def __init__(self, victim: str) -> None:
        super().__init__()
        self.victim = victim

    async def take(self, event: Event) -> None:
        if event.event_id == self.victim:
            raise UnicodeEncodeError("ascii", "\udcff", 0, 1, "surrogates not allowed")
