"""Events still to be delivered, and the states that must survive a restart; on disk before anything is sent.

Memory is the truth (queue.py); the disk follows it (writer.py, disk.py), and every start reads it back (restore.py).
All methods are for the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from hsm_agent.spool.bounds import enforce_limits
from hsm_agent.spool.disk import Disk, DiskTrouble
from hsm_agent.spool.queue import Queue
from hsm_agent.spool.restore import restore, without_shared
from hsm_agent.spool.shared_spool import SharedSpool
from hsm_agent.spool.writer import Writer
from hsm_agent.state.files import DirectoryInUseError
from hsm_agent.threads import ThreadOf, deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.model import Event, Severity
    from hsm_agent.spool.disk import StoredSpool
    from hsm_agent.spool.entries import PendingEvent, Registered, SpoolEntry, SpoolStats
    from hsm_agent.spool.tables import StoredRow

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5.0
_RETRY_SECONDS = 5.0
_FLUSH_SECONDS = 1.0
_CLOSE_SECONDS = 5.0
_SLICE = 200


class Spool(SharedSpool):
    """Events on their way to every sink, and states by key.

    `recovered` says what had to be put right at the start, empty if nothing.
    """

    def __init__(
        self,
        disk: ThreadOf[Disk],
        queue: Queue,
        *,
        clock: Callable[[], float],
        patience_seconds: float,
        retry_seconds: float,
    ) -> None:
        """Use `open`."""
        super().__init__(queue)
        self.recovered = ""
        self._disk = disk
        self._clock = clock
        self._minima: Mapping[str, Severity | None] = {}
        self._arrived: dict[str, asyncio.Event] = {}
        self._released = 0
        self._is_unread = False
        self._writer = Writer(
            disk,
            patience_seconds=patience_seconds,
            retry_seconds=retry_seconds,
            reconcile=self._reconcile,
            release=self._release,
        )

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        entries: int,
        size_bytes: int,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = _PATIENCE_SECONDS,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> Self:
        """Open the spool of a state directory; DirectoryInUseError if another agent uses the directory.

        Disk trouble raises nothing: then the spool begins empty, in memory, and reads the disk when it can.
        `patience_seconds`: how long a silent disk is waited for before events go out from memory.
        """
        disk = ThreadOf("spool", Disk(directory), tidy=Disk.tidy)
        queue = Queue(entries=entries, size_bytes=size_bytes)
        spool = cls(disk, queue, clock=clock, patience_seconds=patience_seconds, retry_seconds=retry_seconds)
        try:
            async with asyncio.timeout(patience_seconds):
                stored = await disk.run(Disk.open)
        except DirectoryInUseError:
            disk.stop()
            raise
        except DiskTrouble as error:
            spool._begin_unread(str(error))
        except TimeoutError:
            spool._begin_unread(f"the disk has not answered for {patience_seconds:g} s")
        else:
            await spool._begin(stored)
        return spool

    async def states(self, prefix: str = "") -> dict[str, str]:
        """States whose key begins so; empty as long as the disk can't be read."""
        found: dict[str, str | None] = {}
        with suppress(DiskTrouble, TimeoutError):  # reported when it failed first; the caller asks again after recovery
            async with asyncio.timeout(_PATIENCE_SECONDS):
                found |= await self._disk.run(lambda disk: disk.states(prefix))
        found |= {key: value for key, value in self._writer.unsaved_states.items() if key.startswith(prefix)}
        return {key: value for key, value in found.items() if value is not None}

    async def register(self, minima: Mapping[str, Severity | None], active: Sequence[Event]) -> Registered:
        """These are the sinks from now on, with the least severity each gets; None: every event.

        `active`, the latest event of each raised alarm, is queued for a new one.
        """
        self._minima = dict(minima)
        registered = self._queue.register(minima, active, gives_up=self.may_tell())
        for name in registered.removed:
            self._arrived.pop(name, None)
        await self._save(durable=True)
        return registered

    def resize(self, *, entries: int, size_bytes: int) -> None:
        """New bounds; they are enforced at the next commit."""
        self._queue.entries_limit = entries
        self._queue.size_limit_bytes = size_bytes

    async def commit(
        self, events: Sequence[Event], states: Mapping[str, str | None], *, only_sink: str | None = None
    ) -> None:
        """Store events and the states that go with them, all or nothing; a state of None is erased.

        When this returns the events are on disk, and sinks may be sent them. If the disk refuses they may be sent from
        memory: an alarm that arrives twice after a crash does less harm than one that waits for a disk. KeyError if
        there is no such sink.
        """
        for event in events:
            self._queue.enqueue(event, None if only_sink is None else [only_sink])
        self._note_states(states)
        await self._save(durable=True)

    async def pending(self, sink: str, limit: int, aside: Collection[int] = ()) -> list[PendingEvent]:
        """What to send to a sink next, in order; it is in flight until accepted, returned or a dead letter.

        What is the group's only while this agent may tell it; nor what waits behind that of the same alarm.

        `aside` is passed over, and with each of these what waits behind it of the same alarm.
        """
        return self._queue.pending(sink, limit, self._released, aside, shut=not self.may_tell())

    async def pending_one(self, sink: str, seq: int) -> list[PendingEvent]:
        """One entry that was pending before; none if it is gone."""
        return self._queue.pending(sink, 1, self._released, only=seq, shut=not self.may_tell())

    async def accepted(self, sink: str, seqs: Sequence[int]) -> None:
        """The sink has them. Not flushed: after a power failure they may be sent again, under the same event id."""
        self._queue.release(sink, seqs, notified=True)
        await self._save(durable=False)

    async def returned(self, sink: str, seqs: Sequence[int], *, sent: bool) -> None:
        """They were not accepted and stay. `sent`: the receiver may have them, although it did not say so."""
        self._queue.give_back(sink, seqs, sent=sent)
        await self._save(durable=False)

    async def dead_letter(self, sink: str, seq: int, reason: str) -> None:
        """Make it a dead letter: it is not sent to this sink again, but counted and listed."""
        event_id = self._queue.dead_letter(sink, seq, reason, self._clock())
        if event_id:
            log.error("spool: event %s is a dead letter of sink %s: %s", event_id, sink, reason)
        await self._save(durable=True)

    async def entries(self, *, after: int = 0, most: int | None = None) -> list[SpoolEntry]:
        """What is still to be delivered, and the dead letters, oldest first: behind a number, at most so many."""
        found: list[SpoolEntry] = []
        for entry in self._queue.listing(after):
            found.append(entry)
            if len(found) == most:
                break
            if len(found) % _SLICE == 0:
                await asyncio.sleep(0)  # a full spool takes a second to list: the loop goes on meanwhile
        return found

    async def show(self, wanted: str) -> SpoolEntry | None:
        """One entry by event id or sequence number."""
        return self._queue.show(wanted)

    async def drop(self, wanted: str) -> bool:
        """Drop an entry for all sinks, dead letter or not; False if there is none."""
        found = self._queue.drop(wanted)
        await self._save(durable=True)
        return found

    def notified(self, sink: str) -> dict[str, bool]:
        """The alarms that a sink was notified of and that did not end for it; whether more of them waits for it.

        Without those of the group while this agent may not tell.
        """
        return self._queue.notified(sink, shut=not self.may_tell())

    def told_severities(self, sink: str) -> dict[str, frozenset[Severity]]:
        """Of these alarms those of which it is known under which severities the sink may have been notified last."""
        return self._queue.told_severities(sink)

    def stats(self) -> SpoolStats:
        """The spool in numbers."""
        return self._queue.stats(self._writer.reason)

    def wake(self) -> None:
        """What was held back may be told now: let the sinks look for it."""
        self._release(0)

    def arrived(self, sink: str) -> asyncio.Event:
        """Set whenever there may be something new for a sink; clear it before waiting for it."""
        return self._arrived.setdefault(sink, asyncio.Event())

    async def close(self, *, flush_seconds: float = _FLUSH_SECONDS) -> None:
        """Write what is unwritten, close the file, let the next agent in."""
        unsaved = await self._writer.close(flush_seconds)
        # A slow disk may have taken some of it meanwhile. Written once more, it is known what the disk did not take.
        # Not into a file whose content was not read yet: its counters would be overwritten.
        last = {} if self._is_unread else unsaved
        try:
            async with deadline(_CLOSE_SECONDS):
                written, why = await self._disk.run(lambda disk: disk.close(last))
        except TimeoutError:
            log.error("spool: the disk does not answer, its file is left as it is")  # noqa: TRY400 - not a bug
            written, why = 0, "it does not answer"
        if written < len(unsaved):
            why = self._writer.reason or why
            log.error("spool: %d changes were never written, the disk refuses: %s", len(unsaved) - written, why)
        self._disk.stop()

    def _begin_unread(self, reason: str) -> None:
        # Above every number that may be on disk: the events there are older, and are sent first once they can be read.
        self._queue.last_seq = self._released = int(self._clock() * 1000)
        self._is_unread = True
        self._writer.fail(reason, must_open=True)

    async def _begin(self, stored: StoredSpool) -> None:
        self._restore(stored)
        changes = self._queue.take_changes()
        if stored.damage:
            aside = f"the spool's file was damaged and is set aside: {stored.damage}"
            self.recovered = f"{aside}; {self.recovered}" if self.recovered else aside
            log.error("spool: %s; %d events of it could be read", aside, self.stats().entries)
        if stored.fresh:
            # The damaged file was replaced by an empty one: all that was salvaged is written again.
            changes.update(self._queue.rows())
            changes.update({key: row for key, row in stored.rows.items() if key[0] == "state"})
        if stored.trouble:
            self._writer.fail(stored.trouble)
        await self._writer.save(changes, durable=True, upto=self._queue.last_seq)

    def _reconcile(self, stored: StoredSpool) -> Iterator[StoredRow] | None:
        """The disk was opened anew: what it should have now, None if that is what it has."""
        if self._is_unread:
            self._restore(stored)
            self._is_unread = False
            if self._minima:
                self._queue.register(self._minima, ())
            self._queue.take_changes()  # all of it is in the rows
            self._release(0)
        elif stored.same:
            return None
        return self._queue.rows()

    def _restore(self, stored: StoredSpool) -> None:
        """Put what is on disk before what is in memory."""
        known = self._queue
        # What the group holds was read from there meanwhile, and what the disk has of it is older.
        before = without_shared(stored.rows) if self._is_replaced else stored.rows
        rows = before | dict(known.rows()) if known.sinks else before
        restored = restore(rows, entries=known.entries_limit, size_bytes=known.size_limit_bytes, torn=stored.torn)
        (dropped,) = stored.rows.get(("tally", ("dropped",)), (0,))
        dropped_before = dropped if isinstance(dropped, int) else 0
        self._queue = restored.queue
        self._queue.last_seq = max(self._queue.last_seq, known.last_seq)
        self._queue.dropped_total = dropped_before + known.dropped_total
        if restored.unreadable:
            lost = f"{restored.events_lost} of them events, which are lost"
            self.recovered = f"{restored.unreadable} rows of the spool could not be read and are left out, {lost}"
            log.error("spool: %s", self.recovered)

    async def _save(self, *, durable: bool) -> None:
        # Drops and what made them necessary go to the disk in one transaction: the bounds hold after a crash, too.
        dropped = enforce_limits(self._queue, shut=not self.may_tell())
        changes = self._queue.take_changes()
        left, self._queue.left = self._queue.left, []
        for each in left:
            self.on_left(each)
        if changes:
            await self._writer.save(changes, durable=durable, upto=self._queue.last_seq)
        for drop in dropped:
            log.error("spool full: dropped for sink %s (%s): %s", drop.sink, drop.why, " ".join(drop.event_ids))

    def _release(self, upto: int) -> None:
        self._released = max(self._released, upto)
        for name, queue in self._queue.sinks.items():
            if queue.waiting:
                self.arrived(name).set()
