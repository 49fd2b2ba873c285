"""What is still to be told, and the states that must survive a restart; durable before anything is sent.

The truth is in memory (ledger.py); the disk (thread.py, disk.py) follows it, and every start reads it back.
All methods are for the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from hsm_agent.spool.disk import DiskTrouble, Loaded
from hsm_agent.spool.disk_thread import DiskThread
from hsm_agent.spool.queue import Ledger
from hsm_agent.spool.records import SpoolError
from hsm_agent.spool.restore import restore
from hsm_agent.spool.writer import Saver

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.model import Event
    from hsm_agent.spool.changes import NewRow
    from hsm_agent.spool.records import Entry, Registered, SinkSpec, SpoolEntry, SpoolStats

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5.0
_RETRY_SECONDS = 5.0
_CLOSE_SECONDS = 5.0
_SLICE = 200

T = TypeVar("T")


class Spool:
    """Events on their way to every sink, and states by key.

    `recovered` says what had to be put right at the start, empty if nothing.
    """

    def __init__(self, thread: DiskThread, ledger: Ledger, *, clock: Callable[[], float]) -> None:
        """Use `open`."""
        self.recovered = ""
        self._thread = thread
        self._ledger = ledger
        self._clock = clock
        self._specs: tuple[SinkSpec, ...] = ()
        self._arrived: dict[str, asyncio.Event] = {}
        self._released = 0
        self._blind = False
        self._saver: Saver

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        entries: int,
        size: int,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = _PATIENCE_SECONDS,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> Self:
        """Open the spool of a state directory; SpoolError if that is for a person to put right.

        Disk trouble is none: then the spool begins empty, in memory, and reads the disk when it can.
        `patience_seconds`: how long a silent disk is waited for before events go out from memory.
        """
        thread = DiskThread(directory, asyncio.get_running_loop())
        loaded = await _answer(thread.open, patience_seconds)
        if isinstance(loaded, SpoolError):
            thread.stop(lambda: None)
            raise loaded
        spool = cls(thread, Ledger(entries=entries, size=size), clock=clock)
        spool._saver = Saver(
            thread,
            patience_seconds=patience_seconds,
            retry_seconds=retry_seconds,
            take_in=spool._take_in,
            release=spool._release,
        )
        await spool._start(loaded)
        return spool

    async def states(self, prefix: str = "") -> dict[str, str]:
        """States whose key begins so; empty as long as the disk can't be read."""
        stored = await _answer(partial(self._thread.states, prefix), _PATIENCE_SECONDS)
        found: dict[str, str | None] = {} if isinstance(stored, DiskTrouble) else dict(stored)
        found |= {key: value for key, value in self._saver.unsaved_states.items() if key.startswith(prefix)}
        return {key: value for key, value in found.items() if value is not None}

    async def register(self, sinks: Sequence[SinkSpec], active: Sequence[Event]) -> Registered:
        """These are the sinks from now on; a new one is told `active`, the latest event of each raised alarm."""
        self._specs = tuple(sinks)
        registered = self._ledger.register(sinks, active)
        for name in registered.removed:
            self._arrived.pop(name, None)
        await self._save(durable=True)
        return registered

    def resize(self, *, entries: int, size: int) -> None:
        """New bounds; they are enforced at the next commit."""
        self._ledger.entries_limit = entries
        self._ledger.size_limit = size

    async def commit(
        self, events: Sequence[Event], states: Mapping[str, str | None], *, only_sink: str | None = None
    ) -> None:
        """Store events and the states that go with them, all or nothing; a state of None is erased.

        When this returns the events are on disk, and sinks may be sent them; if the disk refuses, they may be all
        the same. KeyError if there is no such sink.
        """
        for event in events:
            self._ledger.enqueue(event, only_sink)
        for key, value in states.items():
            if value is None:
                self._ledger.changes.erase("state", (key,))
            else:
                self._ledger.changes.put("state", (key,), (value,))
        await self._save(durable=True)

    async def pending(self, sink: str, limit: int, aside: Collection[int] = ()) -> list[Entry]:
        """What to send to a sink next, in order; it counts as in flight until it is said what became of it.

        `aside` is passed over, and with each of these what waits behind it of the same alarm.
        """
        return self._ledger.pending(sink, limit, self._released, aside)

    async def pending_one(self, sink: str, seq: int) -> list[Entry]:
        """One entry that was pending before; none if it is gone."""
        cursor = self._ledger.cursors.get(sink)
        return self._ledger.taken(cursor.take_one(seq)) if cursor is not None else []

    async def accepted(self, sink: str, seqs: Sequence[int]) -> None:
        """The sink has them. Not flushed: after a power failure they may be sent again, under the same event id."""
        self._ledger.accept(sink, seqs)
        await self._save(durable=False)

    async def returned(self, sink: str, seqs: Sequence[int], *, sent: bool) -> None:
        """They were not accepted and stay. `sent`: the receiver may have them all the same, unsaid."""
        self._ledger.give_back(sink, seqs, sent=sent)
        await self._save(durable=False)

    async def bury(self, sink: str, seq: int, reason: str) -> None:
        """Make it a dead letter: it is not sent to this sink again, counted, and listed."""
        event_id = self._ledger.bury(sink, seq, reason, self._clock())
        if event_id:
            log.error("spool: event %s is a dead letter of sink %s: %s", event_id, sink, reason)
        await self._save(durable=True)

    async def entries(self, *, after: int = 0, most: int | None = None) -> list[SpoolEntry]:
        """What is still to be delivered, and the dead letters, oldest first: behind a number, at most so many."""
        found: list[SpoolEntry] = []
        for entry in self._ledger.listing(after):
            found.append(entry)
            if len(found) == most:
                break
            if len(found) % _SLICE == 0:
                await asyncio.sleep(0)  # a full spool takes a second to list: the loop goes on meanwhile
        return found

    async def show(self, wanted: str) -> SpoolEntry | None:
        """One entry by event id or sequence number."""
        return self._ledger.show(wanted)

    async def drop(self, wanted: str) -> bool:
        """Drop an entry for all sinks, dead letter or not; False if there is none."""
        found = self._ledger.drop(wanted)
        await self._save(durable=True)
        return found

    def stats(self) -> SpoolStats:
        """The spool in numbers."""
        return self._ledger.stats(self._saver.reason)

    def arrived(self, sink: str) -> asyncio.Event:
        """Set whenever there may be something new for a sink; whoever waits clears it first."""
        return self._arrived.setdefault(sink, asyncio.Event())

    async def close(self) -> None:
        """Write what is unwritten, close the file, let the next agent in."""
        unsaved = await self._saver.flush(1.0)
        if unsaved:
            log.error("spool: %d changes were never written, the disk refuses: %s", unsaved, self._saver.reason)
        self._saver.close()
        stopped = asyncio.Event()
        self._thread.stop(stopped.set)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await stopped.wait()
        except TimeoutError:
            log.error("spool: the disk does not answer, its file is left as it is")  # noqa: TRY400 - not a bug

    async def _start(self, loaded: Loaded | DiskTrouble) -> None:
        if isinstance(loaded, DiskTrouble):
            # Above every number that may be on disk: what is there was there first.
            self._ledger.last_seq = self._released = int(self._clock() * 1000)
            self._blind = True
            self._saver.fail(str(loaded), file_open=False)
            return
        self._restore(loaded)
        changes = self._ledger.changes.take()
        if loaded.damage:
            aside = f"the spool's file was damaged and is set aside: {loaded.damage}"
            self.recovered = f"{aside}; {self.recovered}" if self.recovered else aside
            log.error("spool: %s; %d events of it could be read", aside, self.stats().entries)
        if loaded.fresh:
            changes.update(self._ledger.rows())
            changes.update({key: row for key, row in loaded.rows.items() if key[0] == "state"})
        if loaded.trouble:
            self._saver.fail(loaded.trouble, file_open=True)
        await self._saver.save(changes, durable=True, upto=self._ledger.last_seq)

    def _take_in(self, loaded: Loaded) -> Iterator[NewRow] | None:
        """The disk was opened anew: what it should have now, None if that is what it has."""
        if self._blind:
            self._restore(loaded)
            self._blind = False
            if self._specs:
                self._ledger.register(self._specs, ())
            self._ledger.changes.take()  # all of it is in the rows
            self._wake()
        elif loaded.same:
            return None
        return self._ledger.rows()

    def _restore(self, loaded: Loaded) -> None:
        """Put what is on disk before what is in memory."""
        known = self._ledger
        rows = loaded.rows | dict(known.rows()) if known.cursors else loaded.rows
        restored = restore(rows, entries=known.entries_limit, size=known.size_limit, torn=loaded.torn)
        (before,) = loaded.rows.get(("tally", ("dropped",)), (0,))
        dropped_before = before if isinstance(before, int) else 0
        self._ledger = restored.ledger
        self._ledger.last_seq = max(self._ledger.last_seq, known.last_seq)
        self._ledger.dropped_total = dropped_before + known.dropped_total
        if restored.unreadable:
            lost = f"{restored.events_lost} of them events, which are lost"
            self.recovered = f"{restored.unreadable} rows of the spool could not be read and are left out, {lost}"
            log.error("spool: %s", self.recovered)

    async def _save(self, *, durable: bool) -> None:
        dropped = self._ledger.fit()
        changes = self._ledger.changes.take()
        if changes:
            await self._saver.save(changes, durable=durable, upto=self._ledger.last_seq)
        for drop in dropped:
            log.error("spool full: dropped for sink %s (%s): %s", drop.sink, drop.why, " ".join(drop.event_ids))

    def _release(self, upto: int) -> None:
        self._released = max(self._released, upto)
        self._wake()

    def _wake(self) -> None:
        for name, cursor in self._ledger.cursors.items():
            if cursor.waiting:
                self.arrived(name).set()


async def _answer(ask: Callable[[Callable[[T], None]], None], patience_seconds: float) -> T | DiskTrouble:
    """What the disk's thread answers to a question, or that it does not answer."""
    answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    ask(lambda found: None if answer.done() else answer.set_result(found))
    try:
        async with asyncio.timeout(patience_seconds):
            return await answer
    except TimeoutError:
        return DiskTrouble(f"the disk has not answered for {patience_seconds:g} s")
