"""The spool's own thread: the only one that touches the disk.

Group commit: whatever has queued up while one transaction was on its way to the disk goes into the next together.
After a failure nothing more is written until `recover`, so that changes are never applied out of order.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.spool.disk import Disk, DiskTrouble, Loaded
from hsm_agent.spool.records import SpoolError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from hsm_agent.spool.changes import Changes

_GROUP = 512
_QUIET_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Write:
    changes: Changes
    durable: bool
    done: Callable[[str, bool], None]


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[Disk], Callable[[], None]]
    """Runs in the thread; what it returns runs in the event loop."""


@dataclass(frozen=True, slots=True)
class _Stop:
    done: Callable[[], None]


class DiskThread:
    """Runs one Disk. Methods are for the event loop's thread and never wait; answers come as callbacks there."""

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._directory = directory
        self._loop = loop
        self._jobs: queue.SimpleQueue[_Write | _Call | _Stop] = queue.SimpleQueue()
        self._held: _Write | _Call | _Stop | None = None
        self._refusal = ""
        self._untidy = False
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def write(self, changes: Changes, *, durable: bool, done: Callable[[str, bool], None]) -> None:
        """Store changes; `done` is told the trouble, empty if there was none, and if the file is open."""
        self._jobs.put(_Write(changes, durable, done))

    def open(self, done: Callable[[Loaded | DiskTrouble | SpoolError], None]) -> None:
        """Open the file."""

        def job(disk: Disk) -> Callable[[], None]:
            try:
                loaded: Loaded | DiskTrouble | SpoolError = disk.open()
            except (DiskTrouble, SpoolError) as error:
                loaded = error
            self._refusal = str(loaded) if isinstance(loaded, Exception) else ""
            return lambda: done(loaded)

        self._jobs.put(_Call(job))

    def recover(self, changes: Changes, *, done: Callable[[str, Changes, bool], None]) -> None:
        """Store what failed before. `done` is told the trouble, what is still not stored, and if the file is open."""

        def job(disk: Disk) -> Callable[[], None]:
            left, trouble = changes, ""
            try:
                left = disk.apply_releases(changes)
                disk.require_room(left)
                disk.apply(left, durable=True)
                left = {}
            except DiskTrouble as error:
                trouble = str(error)
            self._refusal, is_open = trouble, disk.is_open
            return lambda: done(trouble, left, is_open)

        self._jobs.put(_Call(job))

    def states(self, prefix: str, done: Callable[[dict[str, str] | DiskTrouble], None]) -> None:
        """Read stored states."""

        def job(disk: Disk) -> Callable[[], None]:
            try:
                found: dict[str, str] | DiskTrouble = disk.states(prefix)
            except DiskTrouble as error:
                found = error
            return lambda: done(found)

        self._jobs.put(_Call(job))

    def stop(self, done: Callable[[], None]) -> None:
        """Close the file and end, after all that was asked before."""
        self._jobs.put(_Stop(done))

    def _run(self) -> None:
        disk = Disk(self._directory)
        while True:
            job = self._next(disk)
            if isinstance(job, _Stop):
                disk.close()
                self._tell(job.done)
                return
            if isinstance(job, _Write):
                self._write([job, *self._followers()], disk)
            else:
                self._tell(job.function(disk))
                self._untidy = True

    def _next(self, disk: Disk) -> _Write | _Call | _Stop:
        if self._held is not None:
            job, self._held = self._held, None
            return job
        while self._untidy and not self._refusal:
            try:
                return self._jobs.get(timeout=_QUIET_SECONDS)
            except queue.Empty:
                self._tidy(disk)
        return self._jobs.get()

    def _followers(self) -> list[_Write]:
        group: list[_Write] = []
        while len(group) < _GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if not isinstance(job, _Write):
                self._held = job
                break
            group.append(job)
        return group

    def _write(self, group: list[_Write], disk: Disk) -> None:
        if not self._refusal:
            together: Changes = {}
            for write in group:
                together.update(write.changes)
            try:
                disk.apply(together, durable=any(write.durable for write in group))
            except DiskTrouble as error:
                self._refusal = str(error)
            self._untidy = True
        trouble, is_open = self._refusal, disk.is_open

        def answer() -> None:
            for write in group:
                write.done(trouble, is_open)

        self._tell(answer)

    def _tidy(self, disk: Disk) -> None:
        try:
            self._untidy = disk.tidy()
        except DiskTrouble as error:
            self._untidy = False
            # The next write meets the same disk and is answered with what it says.
            self._refusal = str(error) if not disk.is_open else ""

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            # The loop is closed: nobody waits for the answer any more.
            return
