"""Writes changes to the disk, and keeps those that it did not take.

While the disk refuses, or does not answer, changes gather in memory row by row and the spool lives on from there; when
the disk is back they are written first. All methods are for the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.spool.disk import Disk, DiskTrouble
from hsm_agent.state.files import DirectoryInUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hsm_agent.spool.disk import StoredSpool
    from hsm_agent.spool.tables import RowChanges, StoredRow
    from hsm_agent.threads import ThreadOf

log = logging.getLogger(__name__)

_GROUP = 512
_ROWS_A_TURN = 2000


@dataclass(frozen=True, slots=True)
class _Commit:
    """Changes of one call. `upto`: the last entry that may be sent once they are on disk."""

    changes: RowChanges
    durable: bool
    upto: int
    done: asyncio.Future[None]


class Writer:
    """One spool's changes on their way to the disk.

    `reconcile(stored)` is called when the file was opened anew and returns every row that should be in it, or None if
    it is as it was left; `release(upto)` when the entries up to a sequence number may be sent.
    """

    def __init__(
        self,
        disk: ThreadOf[Disk],
        *,
        patience_seconds: float,
        retry_seconds: float,
        reconcile: Callable[[StoredSpool], Iterator[StoredRow] | None],
        release: Callable[[int], None],
    ) -> None:
        self.reason = ""
        """Why the disk refuses; empty as long as it does not."""
        self._disk = disk
        self._patience_seconds = patience_seconds
        self._retry_seconds = retry_seconds
        self._reconcile = reconcile
        self._release = release
        self._queue: list[_Commit] = []
        self._in_flight: list[_Commit] = []
        self._unsaved: RowChanges = {}
        self._recovering: RowChanges = {}
        self._upto = 0
        self._must_open = False
        self._task: asyncio.Task[None] | None = None

    @property
    def unsaved_states(self) -> dict[str, str | None]:
        """States that are newer than those on disk; None: erased."""
        return {
            str(key[0]): row[0] if row else None for (table, key), row in self._unwritten().items() if table == "state"
        }

    async def save(self, changes: RowChanges, *, durable: bool, upto: int) -> None:
        """Return when the disk has them, or has refused; never raises for that."""
        self._upto = max(self._upto, upto)
        if self.reason:
            self._unsaved.update(changes)
            self._release(self._upto)
            self._start()
            return
        commit = _Commit(changes, durable, upto, asyncio.get_running_loop().create_future())
        self._queue.append(commit)
        self._start()
        try:
            async with asyncio.timeout(self._patience_seconds):
                # Changes are written also if this caller is cancelled: memory has them already.
                await commit.done
        except TimeoutError:
            if commit.done.cancelled():  # not if it was written at that moment
                self.fail(f"the disk has not answered for {self._patience_seconds:g} s")

    def fail(self, reason: str, *, must_open: bool = False) -> None:
        """From now on live from memory. `must_open`: the file was never opened, or what it held was not taken in."""
        if self.reason:
            return
        log.error("spool: the disk refuses, events go out from memory: %s", reason)
        self.reason = reason
        self._must_open = must_open
        # Those on their way too, in their order: the answer comes too late to count, and twice does no harm.
        for commit in (*self._in_flight, *self._queue):
            self._unsaved.update(commit.changes)
            if not commit.done.done():  # its caller may have been cancelled
                commit.done.set_result(None)
        self._in_flight, self._queue = [], []
        self._release(self._upto)
        # At once: acknowledgements may go into the reserve that the failure has just freed.
        self._start()

    async def close(self, seconds: float) -> RowChanges:
        """Wait for the disk to take the rest, at most so long; what may not be on disk."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=seconds)
            self._task.cancel()
            await asyncio.wait((self._task,))
        return self._unwritten()

    def _unwritten(self) -> RowChanges:
        """What may not be on disk. Without a failure the last two are empty, with one the first two."""
        stages = [*(commit.changes for commit in (*self._in_flight, *self._queue)), self._recovering, self._unsaved]
        return {key: row for changes in stages for key, row in changes.items()}

    def _start(self) -> None:
        """Have the task run that alone writes: so nothing is ever written out of order."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
            self._task.add_done_callback(lambda task: task.cancelled() or task.result())  # a bug is logged at once

    async def _work(self) -> None:
        while self._queue or self.reason:
            if self.reason:
                await self._recover()
            else:
                await self._write()

    async def _write(self) -> None:
        """Group commit: what has queued up while one transaction was on its way goes into the next one together."""
        group, self._queue = self._queue[:_GROUP], self._queue[_GROUP:]
        self._in_flight = group
        together: RowChanges = {}
        for commit in group:
            together.update(commit.changes)
        durable = any(commit.durable for commit in group)
        try:
            await self._disk.run(lambda disk: disk.apply(together, durable=durable))
        except DiskTrouble as error:
            self.fail(str(error))
        if self.reason:  # also if it was silent for too long before it answered: all of it is written once more
            return
        self._in_flight = []
        for commit in group:
            self._release(commit.upto)
            if not commit.done.done():  # its caller may have been cancelled
                commit.done.set_result(None)

    async def _recover(self) -> None:
        """Try until the disk has taken all that it missed."""
        while True:
            try:
                if self._must_open or not await self._disk.run(lambda disk: disk.is_open):
                    await self._reopen()
                await self._write_unsaved()
            except (DiskTrouble, DirectoryInUseError) as error:
                self.reason = str(error)
                await asyncio.sleep(self._retry_seconds)
            else:
                break
        log.warning("spool: the disk takes writes again, nothing is left in memory alone")
        self.reason = ""
        if self._unsaved:  # what came during the last try
            changes, self._unsaved = self._unsaved, {}
            self._queue.append(_Commit(changes, True, self._upto, asyncio.get_running_loop().create_future()))

    async def _write_unsaved(self) -> None:
        self._recovering = missed = self._unsaved
        self._unsaved = {}
        try:
            # Erasures first, which may use the reserve; the rest only if the reserve can stand beside it again.
            self._recovering = left = await self._disk.run(lambda disk: disk.apply_releases(missed))
            await self._disk.run(lambda disk: disk.require_room(left))
            await self._disk.run(lambda disk: disk.apply(left, durable=True))
            self._recovering = {}
        finally:
            self._unsaved = self._recovering | self._unsaved
            self._recovering = {}

    async def _reopen(self) -> None:
        """Open the file anew; if it is not what it was, gather every row for it, a few a turn of the loop."""
        stored = await self._disk.run(lambda disk: disk.open())
        self._must_open = False
        if stored.damage:
            log.error("spool: its file was damaged and is set aside: %s", stored.damage)
        rows = self._reconcile(stored)
        if rows is None:
            return
        while some := list(islice(rows, _ROWS_A_TURN)):
            for key, row in some:
                self._unsaved.setdefault(key, row)  # a value that is there already is newer
            await asyncio.sleep(0)
        for key, row in stored.rows.items():
            # States are among them only if they are gone from the disk; all else is as the queue has it, or gone.
            self._unsaved.setdefault(key, row if key[0] == "state" else None)
