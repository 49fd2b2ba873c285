"""Hosts with event loops and clocks of their own, in simulated time: paused, slow, killed, and all in one thread.

Nothing waits really: the driver lets whichever host has something to do first do it. A host that is paused does
nothing, as a process under SIGSTOP, while its clocks go on.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping


class _NoSelector(selectors.SelectSelector):
    """There are no sockets, and nobody waits."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []


class _HostLoop(asyncio.SelectorEventLoop):
    """One whose time is its host's, and which is run step by step."""

    def __init__(self, host: Host) -> None:
        self._host = host
        super().__init__(_NoSelector())

    def time(self) -> float:
        return self._host.clock()

    def due(self) -> float | None:
        """When it has something to do, by its own clock; None for never."""
        loop: Any = self
        while loop._scheduled and loop._scheduled[0]._cancelled:
            heapq.heappop(loop._scheduled)._scheduled = False
            loop._timer_cancelled_count = max(0, loop._timer_cancelled_count - 1)
        if loop._ready:
            return self.time()
        return float(loop._scheduled[0]._when) if loop._scheduled else None

    def step(self) -> None:
        loop: Any = self
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            loop._run_once()
        finally:
            asyncio._set_running_loop(before)


class Host:
    """A host, and its clock: `speed` seconds pass on it in a second of the world's."""

    def __init__(self, world: World, name: str, *, speed: float = 1.0) -> None:
        self.name = name
        self.world = world
        self.speed = speed
        self.is_paused = False
        self.is_alive = True
        self.loop = _HostLoop(self)
        self.loop.set_exception_handler(self._failed)
        self._tasks: list[asyncio.Task[Any]] = []

    def clock(self) -> float:
        return 1000.0 + self.world.now * self.speed

    def wall(self) -> float:
        return 1.8e9 + self.world.now

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self.loop.create_task(work)
        self._tasks.append(task)
        return task

    def due(self) -> float | None:
        """When it does something next, by the world's time."""
        if self.is_paused or not self.is_alive or (due := self.loop.due()) is None:
            return None
        return max(self.world.now, (due - 1000.0) / self.speed)

    def kill(self) -> None:
        """As by SIGKILL: nothing of it is done any more."""
        self.is_alive = False

    def failures(self) -> list[BaseException]:
        done = [task for task in self._tasks if task.done() and not task.cancelled()]
        return [error for task in done if (error := task.exception()) is not None]

    def cancel(self) -> None:
        """Let it end, in whatever state it is."""
        self.is_alive, self.is_paused = True, False
        for task in asyncio.all_tasks(self.loop):
            task.cancel()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        self.world.failures.append(context.get("exception") or RuntimeError(str(context.get("message"))))


class World:
    """What is simulated: hosts, and what happens beside them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_over = False
        self.hosts: list[Host] = []
        self.failures: list[BaseException] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()

    def host(self, name: str, *, speed: float = 1.0) -> Host:
        host = Host(self, name, speed=speed)
        self.hosts.append(host)
        return host

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._later, (self.now + seconds, next(self._number), act))

    def run(self, seconds: float, *, check: Callable[[], None] | None = None) -> None:
        """Let so many seconds pass; `check` is called after each thing that happened."""
        end = self.now + seconds
        while True:
            due = [(at, index) for index, host in enumerate(self.hosts) if (at := host.due()) is not None]
            first, index = min(due, default=(float("inf"), -1))
            other = self._later[0][0] if self._later else float("inf")
            if min(first, other) > end:
                break
            self.now = max(self.now, min(first, other))
            if other <= first:
                heapq.heappop(self._later)[2]()
            else:
                # A timer may be due a rounding error later than it was reckoned.
                self.now += 1e-9
                self.hosts[index].loop.step()
            if check is not None:
                check()
        self.now = end

    def close(self) -> None:
        """End all of it."""
        self.is_over = True
        for _ in range(2):
            for host in self.hosts:
                host.cancel()
            self.run(30)
        for host in self.hosts:
            host.loop.close()
