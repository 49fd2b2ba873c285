"""The spool's contents in memory, the truth that is sent from. Pure: what changes is noted for the disk."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.model import Severity
from hsm_agent.spool.changes import Pending
from hsm_agent.spool.event_codec import decode, encode
from hsm_agent.spool.records import (
    DeadLetter,
    Dropped,
    Entry,
    Registered,
    SinkQueue,
    SinkSpec,
    SpoolEntry,
    SpoolStats,
    Waiting,
)
from hsm_agent.spool.sink_queue import Cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from hsm_agent.model import Event, EventKind
    from hsm_agent.spool.changes import NewRow

ENTRY_OVERHEAD = 256
"""Bytes an entry takes beside its payload: its rows and index pages. Measured: pages in use stay below the sum."""


@dataclass(slots=True)
class _Stored:
    """One entry. `holders`: sinks that wait for it or hold it as a dead letter."""

    event_id: str
    payload: bytes
    holders: int = 0

    @property
    def bytes(self) -> int:
        return len(self.payload) + ENTRY_OVERHEAD


class Ledger:
    """Entries and cursors. An entry leaves when its last sink has accepted it."""

    def __init__(self, *, entries: int, size: int) -> None:
        self.entries_limit = entries
        self.size_limit = size
        self.changes = Pending()
        self.last_seq = 0
        self.dropped_total = 0
        self.cursors: dict[str, Cursor] = {}
        self._stored: dict[int, _Stored] = {}
        self._dead: OrderedDict[tuple[str, int], DeadLetter] = OrderedDict()
        self._dead_of: dict[str, int] = {}
        self._bytes = 0

    def register(self, specs: Sequence[SinkSpec], active: Sequence[Event]) -> Registered:
        """These are the sinks now. One that is new, or listens to more than before, is told what is raised."""
        wanted = {spec.name for spec in specs}
        removed = tuple(name for name in self.cursors if name not in wanted)
        forgotten = sum(self._remove_sink(name) for name in removed)
        added = tuple(spec.name for spec in specs if spec.name not in self.cursors)
        curious = [spec.name for spec in specs if self._set_sink(spec)]
        for event in active:
            self._tell(event, [self.cursors[name] for name in curious if event.alarm_id not in self.cursors[name].runs])
        return Registered(added=added, removed=removed, forgotten_events=forgotten)

    def enqueue(self, event: Event, only_sink: str | None = None) -> None:
        """Queue an event for every sink that wants it, or for one; KeyError if there is no such sink."""
        self._tell(event, self.cursors.values() if only_sink is None else [self.cursors[only_sink]])

    def pending(self, sink: str, limit: int, upto: int, aside: Collection[int] = ()) -> list[Entry]:
        """What to send to a sink next; it is in flight until accepted, buried or given back."""
        return self.taken(self.cursors[sink].take(limit, upto, aside)) if sink in self.cursors else []

    def taken(self, found: Iterable[tuple[int, int]]) -> list[Entry]:
        """What a cursor gave, with its events."""
        return [Entry(seq=seq, event=decode(self._stored[seq].payload), attempts=attempts) for seq, attempts in found]

    def accept(self, sink: str, seqs: Iterable[int]) -> None:
        """The sink has them. What is not there any more (dropped meanwhile) is passed over."""
        for seq in seqs:
            self._release(sink, seq, told=True)

    def give_back(self, sink: str, seqs: Iterable[int], *, sent: bool) -> None:
        """They were not accepted and wait on; `sent`: the receiver may have them."""
        if sink in self.cursors:
            self.cursors[sink].give_back(seqs, sent=sent)

    def bury(self, sink: str, seq: int, reason: str, time: float) -> str:
        """Make an entry a dead letter of a sink: it is not sent there again. Its event id; empty if it is gone."""
        cursor = self.cursors.get(sink)
        if cursor is None or seq not in cursor.waiting:
            return ""
        self.add_dead(seq, DeadLetter(sink=sink, reason=reason, time=time))
        self.changes.put("dead", (sink, seq), (reason, time))
        self._release(sink, seq, told=False)
        cursor.buried += 1
        cursor.store()
        return self._stored[seq].event_id

    def drop(self, wanted: str) -> bool:
        """Drop an event (by event id or sequence number) for all sinks, as dead letter too."""
        found = [seq for seq, stored in self._stored.items() if wanted in {stored.event_id, str(seq)}]
        for seq in found:
            for name in self.cursors:
                self._release(name, seq, told=False)
            for name, dead_seq in [key for key in self._dead if key[1] == seq]:
                self._exhume(name, dead_seq)
        return bool(found)

    def fit(self) -> list[Dropped]:
        """Drop what must go to keep the bounds, in the order that does least harm; say what.

        Dead letters make room first: they were given up and counted before. Then alarms that came and went
        unknown to a sink, then changes overtaken by a later event of the same alarm, then tests and notices.
        What remains (the raise and the latest word of an alarm that a sink does not know or that is on now, the
        clear of one it was told of) is never dropped: the spool rather grows past its bounds by those, which the
        number of alarms limits and no length of outage adds to.
        """
        dropped: list[Dropped] = []
        while self._over() and self._dead:
            name, seq = next(iter(self._dead))
            dropped.append(Dropped(sink=name, event_ids=(self._stored[seq].event_id,), why="dead letter"))
            self._exhume(name, seq)
        for why, candidates in _ORDER:
            while self._over() and (found := self._oldest(candidates)) is not None:
                dropped.append(self._drop(*found, why))
        return dropped

    def rows(self) -> Iterator[NewRow]:
        """Every row, as the disk should have it. May be read bit by bit: what changes meanwhile is in `changes`."""
        yield ("tally", ("dropped",)), (self.dropped_total,)
        for seq in list(self._stored):
            if (stored := self._stored.get(seq)) is not None:
                yield ("entry", (seq,)), (stored.payload,)
        for key in list(self._dead):
            if (letter := self._dead.get(key)) is not None:
                yield ("dead", key), (letter.reason, letter.time)
        for cursor in list(self.cursors.values()):
            yield from cursor.rows()

    def listing(self, after: int = 0) -> Iterator[SpoolEntry]:
        """All entries behind a number, oldest first, as they were when this was called; without what left."""
        letters: dict[int, list[DeadLetter]] = {}
        for (_, seq), letter in self._dead.items():
            letters.setdefault(seq, []).append(letter)
        for seq in sorted(seq for seq in self._stored if seq > after):
            stored = self._stored.get(seq)
            if stored is not None:
                yield self._describe(seq, stored, tuple(letters.get(seq, ())))

    def show(self, wanted: str) -> SpoolEntry | None:
        """One entry by event id or sequence number."""
        for seq, stored in self._stored.items():
            if wanted in {stored.event_id, str(seq)}:
                return self._describe(seq, stored, tuple(self._dead[key] for key in self._dead if key[1] == seq))
        return None

    def stats(self, reason: str) -> SpoolStats:
        """The numbers; `reason` is the disk's."""
        return SpoolStats(
            entries=len(self._stored),
            bytes=self._bytes,
            used_percent=100 * max(len(self._stored) / self.entries_limit, self._bytes / self.size_limit),
            dropped_total=self.dropped_total,
            reason=reason,
            sinks={
                name: SinkQueue(
                    queued=len(cursor.waiting),
                    dead_letters=self._dead_of.get(name, 0),
                    dead_letters_total=cursor.buried,
                    dropped_total=cursor.dropped,
                )
                for name, cursor in self.cursors.items()
            },
        )

    def add_sink(self, name: str, minimum: Severity | None, *, dropped: int = 0, buried: int = 0) -> Cursor:
        """Take in a sink."""
        self.cursors[name] = Cursor(name, minimum, self.changes, dropped=dropped, buried=buried)
        return self.cursors[name]

    def add_entry(self, seq: int, event_id: str, payload: bytes) -> None:
        """Take in an entry; whoever holds it follows."""
        self._stored[seq] = _Stored(event_id, payload)
        self._bytes += self._stored[seq].bytes
        self.last_seq = max(self.last_seq, seq)

    def add_waiting(self, sink: str, seq: int, kind: EventKind, alarm_id: str, attempts: int) -> None:
        """Take in that a sink waits for an entry."""
        self._stored[seq].holders += 1
        self.cursors[sink].append(seq, kind, alarm_id, attempts=attempts)

    def add_dead(self, seq: int, letter: DeadLetter) -> None:
        """Take in a dead letter."""
        self._stored[seq].holders += 1
        self._dead[letter.sink, seq] = letter
        self._dead_of[letter.sink] = self._dead_of.get(letter.sink, 0) + 1

    def discard_if_unheld(self, seq: int) -> bool:
        """An entry that no sink waits for and that is no dead letter leaves."""
        stored = self._stored[seq]
        if stored.holders:
            return False
        del self._stored[seq]
        self._bytes -= stored.bytes
        self.changes.erase("entry", (seq,))
        return True

    def _tell(self, event: Event, cursors: Iterable[Cursor]) -> None:
        listeners = [cursor for cursor in cursors if cursor.wants(event)]
        if not listeners:
            return
        seq, payload = self.last_seq + 1, encode(event)
        self.add_entry(seq, event.event_id, payload)
        self.changes.put("entry", (seq,), (payload,))
        for cursor in listeners:
            self._stored[seq].holders += 1
            cursor.queue(seq, event)

    def _set_sink(self, spec: SinkSpec) -> bool:
        """Whether the sink is new or listens to more than before."""
        cursor = self.cursors.get(spec.name)
        if cursor is None:
            self.add_sink(spec.name, spec.minimum_severity).store()
            return True
        lowered = _rank(spec.minimum_severity) < _rank(cursor.minimum)
        if spec.minimum_severity is not cursor.minimum:
            cursor.minimum = spec.minimum_severity
            cursor.store()
        return lowered

    def _remove_sink(self, name: str) -> int:
        cursor = self.cursors[name]
        waiting = list(cursor.waiting)
        for seq in waiting:
            self._release(name, seq, told=False)
        for key in [key for key in self._dead if key[0] == name]:
            self._exhume(*key)
        cursor.erase()
        del self.cursors[name]
        return len(waiting)

    def _release(self, sink: str, seq: int, *, told: bool) -> None:
        cursor = self.cursors.get(sink)
        if cursor is not None and cursor.remove(seq, told=told):
            self._stored[seq].holders -= 1
            self.discard_if_unheld(seq)

    def _exhume(self, sink: str, seq: int) -> None:
        del self._dead[sink, seq]
        self._dead_of[sink] -= 1
        self.changes.erase("dead", (sink, seq))
        self._stored[seq].holders -= 1
        self.discard_if_unheld(seq)

    def _over(self) -> bool:
        return len(self._stored) > self.entries_limit or self._bytes > self.size_limit

    def _oldest(self, candidates: Callable[[Cursor], Iterator[list[int]]]) -> tuple[Cursor, list[int]] | None:
        found = [(cursor, seqs) for cursor in self.cursors.values() if (seqs := next(candidates(cursor), None))]
        return min(found, key=lambda pair: pair[1][0], default=None)

    def _drop(self, cursor: Cursor, seqs: Sequence[int], why: str) -> Dropped:
        event_ids = tuple(self._stored[seq].event_id for seq in seqs)
        for seq in tuple(seqs):
            self._release(cursor.name, seq, told=False)
        cursor.dropped += len(event_ids)
        cursor.store()
        self.dropped_total += len(event_ids)
        self.changes.put("tally", ("dropped",), (self.dropped_total,))
        return Dropped(sink=cursor.name, event_ids=event_ids, why=why)

    def _describe(self, seq: int, stored: _Stored, dead: tuple[DeadLetter, ...]) -> SpoolEntry:
        waiting = tuple(
            Waiting(sink=name, attempts=cursor.waiting[seq].attempts)
            for name, cursor in self.cursors.items()
            if seq in cursor.waiting
        )
        return SpoolEntry(seq=seq, event=decode(stored.payload), bytes=stored.bytes, waiting=waiting, dead=dead)


def _rank(minimum: Severity | None) -> int:
    return minimum.rank if minimum else Severity.CLEARED.rank


_ORDER: tuple[tuple[str, Callable[[Cursor], Iterator[list[int]]]], ...] = (
    ("nothing of the alarm was told", Cursor.untold_runs),
    ("superseded", Cursor.superseded),
    ("test or notice", Cursor.loose),
)
