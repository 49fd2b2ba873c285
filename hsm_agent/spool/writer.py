"""Carries changes to the disk, and remembers those that did not get there.

All of it runs in the event loop's thread. While the disk refuses, or does not answer, changes gather here row by row
and the spool lives on from memory; when the disk is back they are written first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.spool.disk import Loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hsm_agent.spool.changes import Changes, NewRow
    from hsm_agent.spool.disk import DiskTrouble
    from hsm_agent.spool.disk_thread import DiskThread
    from hsm_agent.spool.records import SpoolError

log = logging.getLogger(__name__)

_ROWS_A_TURN = 2000


@dataclass(frozen=True, slots=True)
class _Unconfirmed:
    changes: Changes
    upto: int
    future: asyncio.Future[None]


class Saver:
    """One spool's changes on their way to the disk.

    `take_in(loaded)` is called when the file was opened anew and returns every row that should be in it, or None if
    it is as it was left; `release(upto)` when the entries up to a sequence number may be sent.
    """

    def __init__(
        self,
        thread: DiskThread,
        *,
        patience_seconds: float,
        retry_seconds: float,
        take_in: Callable[[Loaded], Iterator[NewRow] | None],
        release: Callable[[int], None],
    ) -> None:
        self.reason = ""
        self._thread = thread
        self._patience_seconds = patience_seconds
        self._retry_seconds = retry_seconds
        self._take_in = take_in
        self._release = release
        self._unconfirmed: deque[_Unconfirmed] = deque()
        self._unsaved: Changes = {}
        self._recovering: Changes = {}
        self._epoch = 0
        self._upto = 0
        self._file_open = True
        self._timer: asyncio.TimerHandle | None = None
        self._recovered = asyncio.Event()

    @property
    def unsaved_states(self) -> dict[str, str | None]:
        """States that are newer than those on disk; None: gone."""
        waiting = [*(item.changes for item in self._unconfirmed), self._recovering, self._unsaved]
        return {
            str(key[0]): row[0] if row else None
            for changes in waiting
            for (table, key), row in changes.items()
            if table == "state"
        }

    async def save(self, changes: Changes, *, durable: bool, upto: int) -> None:
        """Return when the disk has them, or has refused; never raises for that."""
        self._upto = max(self._upto, upto)
        if self.reason:
            self._unsaved.update(changes)
            self._release(self._upto)
            return
        item = self._submit(changes, durable=durable, upto=upto)
        try:
            async with asyncio.timeout(self._patience_seconds):
                await item.future
        except TimeoutError:
            if item in self._unconfirmed:
                self.fail(f"the disk has not answered for {self._patience_seconds:g} s", file_open=True)

    def fail(self, reason: str, *, file_open: bool) -> None:
        """From now on live from memory."""
        if self.reason:
            return
        log.error("spool: the disk refuses, events go out from memory: %s", reason)
        self.reason = reason
        self._file_open = file_open
        self._recovered.clear()
        # Answers to what is still under way come too late to count: it is all written once more.
        self._epoch += 1
        for item in self._unconfirmed:
            self._unsaved.update(item.changes)
            if not item.future.done():
                item.future.set_result(None)
        self._unconfirmed.clear()
        self._release(self._upto)
        # At once: acknowledgements may go into the reserve that the failure has just freed.
        self._retry()

    async def flush(self, seconds: float) -> int:
        """Wait a little for the disk to take what is unsaved; how many rows it did not."""
        if self.reason:
            try:
                async with asyncio.timeout(seconds):
                    await self._recovered.wait()
            except TimeoutError:
                return len(self._recovering | self._unsaved)
        return 0

    def close(self) -> None:
        """Stop trying."""
        self._epoch += 1
        if self._timer is not None:
            self._timer.cancel()

    def _submit(self, changes: Changes, *, durable: bool, upto: int) -> _Unconfirmed:
        item = _Unconfirmed(changes, upto, asyncio.get_running_loop().create_future())
        self._unconfirmed.append(item)
        epoch = self._epoch
        self._thread.write(changes, durable=durable, done=lambda *answer: self._written(epoch, *answer))
        return item

    def _written(self, epoch: int, trouble: str, file_open: bool) -> None:  # noqa: FBT001 - a callback
        if epoch != self._epoch:
            return
        if trouble:
            self.fail(trouble, file_open=file_open)
            return
        item = self._unconfirmed.popleft()
        self._release(item.upto)
        if not item.future.done():
            item.future.set_result(None)

    def _retry(self) -> None:
        self._timer = None
        epoch = self._epoch
        if not self._file_open:
            self._thread.open(lambda loaded: self._opened(epoch, loaded))
            return
        self._recovering, self._unsaved = self._unsaved, {}
        self._thread.recover(self._recovering, done=lambda *answer: self._recovered_or_not(epoch, *answer))

    def _opened(self, epoch: int, loaded: Loaded | DiskTrouble | SpoolError) -> None:
        if epoch != self._epoch:
            return
        if not isinstance(loaded, Loaded):
            self._still_failing(str(loaded))
            return
        if loaded.damage:
            log.error("spool: its file was damaged and is set aside: %s", loaded.damage)
        self._file_open = True
        rows = self._take_in(loaded)
        if rows is None:
            self._retry()
        else:
            self._rebuild(epoch, loaded, rows)

    def _rebuild(self, epoch: int, loaded: Loaded, rows: Iterator[NewRow]) -> None:
        """The file is not what it was: gather every row for it, a few a turn of the loop."""
        if epoch != self._epoch:
            return
        some = list(islice(rows, _ROWS_A_TURN))
        for key, row in some:
            self._unsaved.setdefault(key, row)
        if some:
            asyncio.get_running_loop().call_soon(self._rebuild, epoch, loaded, rows)
            return
        for key, row in loaded.rows.items():
            # States are among them only if they are gone from the disk; all else is as the ledger has it, or gone.
            self._unsaved.setdefault(key, row if key[0] == "state" else None)
        self._retry()

    def _recovered_or_not(self, epoch: int, trouble: str, left: Changes, file_open: bool) -> None:  # noqa: FBT001 - a callback
        if epoch != self._epoch:
            return
        self._unsaved, self._recovering = left | self._unsaved, {}
        self._file_open = file_open
        if trouble:
            self._still_failing(trouble)
            return
        log.warning("spool: the disk takes writes again, nothing is left in memory alone")
        self.reason = ""
        self._recovered.set()
        if self._unsaved:
            changes, self._unsaved = self._unsaved, {}
            self._submit(changes, durable=True, upto=self._upto)

    def _still_failing(self, reason: str) -> None:
        self.reason = reason
        self._timer = asyncio.get_running_loop().call_later(self._retry_seconds, self._retry)
