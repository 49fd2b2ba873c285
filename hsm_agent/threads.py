"""What would hold the event loop: blocking calls on daemon threads, long computations with pauses.

A blocking call has a thread of its own and a deadline, or all of a kind have one thread.

A thread in a system call can't be stopped. On a shared executor a few of them would block every other call, and the
exit of the process. So each path, or each source, has a `Lane`: one call at a time, and while one is stuck the next is
refused at once. What one thread only may use, such as an SQLite connection, has a `ThreadOf`. Nothing here may take a
lock that another thread waits for without a deadline.
"""

from __future__ import annotations

import asyncio
import errno
import math
import queue
import threading
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Iterable

T = TypeVar("T")
Resource = TypeVar("Resource")

_IDLE_SECONDS = 2.0
_TURN_SECONDS = 0.005


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError after so many seconds, also in the clean-up of a task that was cancelled.

    There asyncio.timeout of Python before 3.11.4 takes the end of its own time for the task's cancellation and raises
    CancelledError: what follows in the clean-up, such as to kill a child, would never be done.
    """
    task = asyncio.current_task()
    cancelling_before = 0 if task is None else task.cancelling()
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except asyncio.CancelledError as error:
        if limit.expired() and task is not None and task.cancelling() <= cancelling_before:
            raise TimeoutError from error
        raise


async def with_pauses(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, and between two of them, every few milliseconds, a turn for whatever else there is to do.

    For what is computed step by step, and takes long: what it looks at must not be changed meanwhile.
    """
    since = time.monotonic()
    for item in items:
        yield item
        if time.monotonic() - since > _TURN_SECONDS:
            await asyncio.sleep(0)
            since = time.monotonic()


class StuckError(OSError):
    """The call has not returned in time, or an earlier one has not. The text says which call."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.ETIMEDOUT, text)

    def __str__(self) -> str:
        """The text alone."""
        return str(self.strerror)


class _Call(Generic[T]):
    """One call. What it returned or raised is handed over on the loop of the caller."""

    def __init__(self, work: Callable[[], T], seconds: float = math.inf) -> None:
        """After so many seconds it counts as stuck, whether its caller still waits or not."""
        self.over = False
        self.began = time.time()
        self._due = time.monotonic() + seconds
        self._work = work
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[T] = self._loop.create_future()

    @property
    def seconds_left(self) -> float:
        """Time until it counts as stuck; 0 if it does."""
        return max(0.0, self._due - time.monotonic())

    def run(self) -> None:
        """Make the call, on the thread that it is for."""
        settle: Callable[[], None]
        try:
            settle = partial(self.done.set_result, self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the call was made
            settle = partial(self.done.set_exception, error)
        self.over = True
        with suppress(RuntimeError):  # the loop has ended meanwhile: nothing waits for the result any more
            self._loop.call_soon_threadsafe(self._settle, settle)

    def _settle(self, settle: Callable[[], None]) -> None:
        if not self.done.done():
            settle()
            self.done.exception()  # marks it as retrieved: the caller may have given up


def _start(name: str, call: _Call[T]) -> None:
    try:
        threading.Thread(target=call.run, name=name, daemon=True).start()
    except RuntimeError as error:  # the host has no thread left
        call.over = True
        raise StuckError(f"{name}: no thread can be started for it") from error


class Lane:
    """Blocking calls on one thing, one after the other. Methods are for the event loop's thread."""

    def __init__(self, what: str) -> None:
        """`what` is called, for operators: it stands in the error text and names the thread."""
        self._what = what
        self._turn = asyncio.Lock()
        self._callers = 0
        self._last: _Call[Any] | None = None

    @property
    def is_free(self) -> bool:
        """Whether no call runs or waits."""
        return not self._callers and (self._last is None or self._last.over)

    async def call(self, work: Callable[[], T], *, seconds: float) -> T:
        """What `work` returns or raises, on a thread. Raises StuckError after so many seconds.

        Or at once, while an earlier call has not come back within its own time. A call that is not waited for any
        more goes on, and its result is dropped.
        """
        self._refuse_behind_a_stuck_one()
        call: _Call[T] | None = None
        self._callers += 1
        try:
            async with deadline(max(0.0, seconds)), self._turn:
                # Of a call whose caller has gone: it has the rest of its own time before it counts as stuck.
                while (last := self._last) is not None and not last.over and last.seconds_left:
                    await asyncio.wait((last.done,), timeout=last.seconds_left)
                self._refuse_behind_a_stuck_one()
                call = _Call(work, seconds)
                _start(self._what, call)
                self._last = call
                await asyncio.wait((call.done,))
        except TimeoutError:
            if call is None or not call.done.done():
                raise StuckError(f"{self._what} has not come back within {seconds:.3g} s") from None
        finally:
            self._callers -= 1
        assert call is not None
        return call.done.result()

    def _refuse_behind_a_stuck_one(self) -> None:
        last = self._last
        if last is not None and not last.over and not last.seconds_left:
            # Since when, and not for how long: a reason that changes each time would be logged each time.
            since = datetime.fromtimestamp(last.began, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            raise StuckError(f"{self._what} has not come back since {since}; it is not tried again meanwhile")


class Lanes:
    """A lane for each key, such as a path or a host; lanes that are free are forgotten."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, Lane] = {}

    async def call(self, key: Hashable, what: str, work: Callable[[], T], *, seconds: float) -> T:
        """As `Lane.call`, on the lane of `key`."""
        lane = self._lanes.setdefault(key, Lane(what))
        try:
            return await lane.call(work, seconds=seconds)
        finally:
            for other in [known for known, each in self._lanes.items() if each.is_free]:
                del self._lanes[other]


class ThreadOf(Generic[Resource]):
    """One daemon thread, the only one that uses a resource: what it is asked for is done in that order.

    `tidy` is called there after each pause of two seconds behind a call; true asks for another one.
    """

    def __init__(self, name: str, resource: Resource, *, tidy: Callable[[Resource], bool]) -> None:
        self._resource = resource
        self._tidy = tidy
        self._calls: queue.SimpleQueue[_Call[Any] | None] = queue.SimpleQueue()
        # A daemon: a call that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def run(self, work: Callable[[Resource], T]) -> T:
        """What `work` returns or raises. Waits without a deadline; work is done even if its caller is cancelled."""
        call = _Call(partial(work, self._resource))
        self._calls.put(call)
        return await call.done

    def stop(self) -> None:
        """End the thread after all that was asked for before."""
        self._calls.put(None)

    def _run(self) -> None:
        is_untidy = False
        while True:
            try:
                call = self._calls.get(timeout=_IDLE_SECONDS if is_untidy else None)
            except queue.Empty:
                is_untidy = self._tidy(self._resource)
                continue
            if call is None:
                return
            call.run()
            is_untidy = True
