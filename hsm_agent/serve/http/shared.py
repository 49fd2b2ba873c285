"""Answers that take a while to make: on a thread, one after the other, and one for all requests that wait for the same.

A request gets no answer that was begun before it came: who silences an alarm and then looks sees the silence. So those
that come while an answer is being made share the next one, and nothing is kept once it is made.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from hsm_agent.serve.http.connection import HttpResponse


@dataclass(slots=True)
class _Awaited:
    """An answer that somebody waits for."""

    task: asyncio.Task[HttpResponse]
    requests: int = 0


class SharedAnswers:
    """Makes the answers of one server. Methods are for the event loop's thread."""

    def __init__(self, what: str) -> None:
        """`what` it does, for operators: it stands in the error text and names the thread."""
        self._what = what
        self._lane = Lane(what)
        self._turn = asyncio.Lock()
        self._next: dict[Hashable, _Awaited] = {}
        """By key, what was asked for and not begun."""

    async def get(
        self, key: Hashable, begin: Callable[[], Callable[[], HttpResponse]], *, seconds: float
    ) -> HttpResponse:
        """The answer of that key. Raises StuckError after so many seconds, or at once behind one that is stuck.

        `begin` is called on the loop's thread when the work begins, and gives what is to be done on a thread: two
        requests of one key must begin the same.
        """
        awaited = self._next.get(key)
        if awaited is None:
            awaited = self._next[key] = _Awaited(asyncio.ensure_future(self._make(key, begin, seconds)))
        awaited.requests += 1
        try:
            await asyncio.wait((awaited.task,), timeout=seconds)
        finally:
            awaited.requests -= 1
            if not awaited.requests and not awaited.task.done():
                awaited.task.cancel()  # nobody waits for it any more
                if self._next.get(key) is awaited:
                    del self._next[key]
        if not awaited.task.done() or awaited.task.cancelled():
            raise StuckError(f"{self._what} has not come back within {seconds:.3g} s")
        return awaited.task.result()

    async def _make(
        self, key: Hashable, begin: Callable[[], Callable[[], HttpResponse]], seconds: float
    ) -> HttpResponse:
        async with self._turn:
            del self._next[key]  # who comes from now on wants what is newer
            return await self._lane.call(begin(), seconds=seconds)
