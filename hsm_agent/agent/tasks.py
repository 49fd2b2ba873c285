"""Named tasks with one owner: started and stopped while the agent runs, as a new configuration asks."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from types import TracebackType

log = logging.getLogger(__name__)

LAST_SECONDS = 2.0


class Crew:
    """A task group whose tasks have names. A task that ends with an error ends the whole crew."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._late: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(list(self._tasks), within=LAST_SECONDS)
        for task in self._late:
            task.cancel()  # once more: this cuts a goodbye short
        await self._group.__aexit__(kind, error, trace)

    def start(self, name: str, work: Coroutine[object, object, None]) -> None:
        """Start a task; the name must be free."""
        if name in self._tasks:
            work.close()
            raise ValueError(f"a task called {name} is running")
        task = self._group.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._forget)

    async def stop(self, names: Iterable[str], *, within: float) -> None:
        """Cancel tasks and wait until they have cleaned up, at most so many seconds.

        Then their names are free, whatever they still do: what takes their place must not fail for a slow goodbye.
        """
        ending = [self._tasks[name] for name in names if name in self._tasks]
        for task in ending:
            task.cancel()
        if ending:
            _, late = await asyncio.wait(ending, timeout=within)
            for task in late:
                log.warning("%s has not ended within %g s; going on without it", task.get_name(), within)
                self._forget(task)
                self._late.add(task)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if self._tasks.get(task.get_name()) is task:
            del self._tasks[task.get_name()]
