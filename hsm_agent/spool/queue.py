"""The spool's contents in memory: the truth that is sent from. Pure: what changes is noted for the disk."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.codec import from_bytes, to_bytes
from hsm_agent.model import Event, Severity
from hsm_agent.spool.sink_queue import SinkQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from hsm_agent.model import EventKind
    from hsm_agent.spool.tables import RowChanges, StoredRow

ENTRY_OVERHEAD = 256
"""Bytes an entry takes beside its payload: its rows and index pages. Measured: pages in use stay below the sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEvent:
    """One event to send to one sink."""

    seq: int
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A sink that will not be sent an entry again, why, and since when (UTC seconds)."""

    sink: str
    reason: str
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolEntry:
    """One event in the spool. `waiting`: how often it was sent without being accepted, by sink that waits for it."""

    seq: int
    event: Event
    bytes: int
    waiting: Mapping[str, int]
    dead: tuple[DeadLetter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What a registration changed: names of sinks, and how many undelivered events the removed ones lost."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    forgotten_events: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedEvents:
    """Events that one sink will not get, because the spool was full."""

    sink: str
    event_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkQueueStats:
    """Numbers of one sink. The totals survive restarts."""

    queued: int
    dead_letters: int
    dead_letters_total: int
    dropped_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStats:
    """The spool in numbers. `dropped_total` counts an event once for each sink that will not get it.

    `reason` is empty as long as the disk takes what is written to it.
    """

    entries: int
    bytes: int
    used_percent: float
    dropped_total: int
    reason: str
    sinks: Mapping[str, SinkQueueStats] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """The disk refuses: events go out from memory."""
        return bool(self.reason)


@dataclass(slots=True)
class _StoredEvent:
    """One entry. `references`: sinks that wait for it or hold it as a dead letter."""

    event_id: str
    payload: bytes
    size_bytes: int
    references: int = 0


class Queue:
    """Entries, and which sinks wait for them. An entry leaves when its last sink has accepted it."""

    def __init__(self, *, entries: int, size_bytes: int) -> None:
        self.entries_limit = entries
        self.size_limit_bytes = size_bytes
        self.changes: RowChanges = {}
        """Row changes that the disk is still to be given; the last one of a row counts."""
        self.last_seq = 0
        self.dropped_total = 0
        self.sinks: dict[str, SinkQueue] = {}
        self._stored: dict[int, _StoredEvent] = {}
        self._dead: OrderedDict[tuple[str, int], DeadLetter] = OrderedDict()
        self._dead_of: dict[str, int] = {}
        self._bytes = 0

    def register(self, minima: Mapping[str, Severity | None], active: Sequence[Event]) -> Registered:
        """These are the sinks now, with the least severity each gets; None: every event.

        For one that is new, or whose minimum fell, the raised alarms are queued.
        """
        removed = tuple(name for name in self.sinks if name not in minima)
        forgotten = sum(self._remove_sink(name) for name in removed)
        added = tuple(name for name in minima if name not in self.sinks)
        to_resync = [name for name, minimum in minima.items() if self._set_sink(name, minimum)]
        for event in active:
            # Not to a sink that has events of this alarm: those bring it up to date, and a second raise would repeat.
            self.enqueue(event, [name for name in to_resync if event.alarm_id not in self.sinks[name].sequences])
        return Registered(added=added, removed=removed, forgotten_events=forgotten)

    def enqueue(self, event: Event, sinks: Iterable[str] | None = None) -> None:
        """Queue an event for those of all sinks, or of some, that want it; KeyError if there is no such sink."""
        queues = self.sinks.values() if sinks is None else [self.sinks[name] for name in sinks]
        listeners = [sink_queue for sink_queue in queues if sink_queue.wants(event)]
        # An event that no sink wants is not stored: it would have no reference and never leave.
        if not listeners:
            return
        seq, payload = self.last_seq + 1, to_bytes(event)
        self.add_entry(seq, event.event_id, payload)
        self.changes["entry", (seq,)] = (payload,)
        self._stored[seq].references = len(listeners)
        for sink_queue in listeners:
            sink_queue.enqueue(seq, event)

    def pending(
        self, sink: str, limit: int, upto: int, aside: Collection[int] = (), *, only: int | None = None
    ) -> list[PendingEvent]:
        """What to send to a sink next; it is in flight until accepted, a dead letter, or given back.

        `only`: that entry, wherever it stands, or nothing if it is gone.
        """
        if sink not in self.sinks:
            return []
        seqs = self.sinks[sink].take(limit, upto, aside, only=only)
        return [PendingEvent(seq=seq, event=from_bytes(Event, self._stored[seq].payload)) for seq in seqs]

    def release(self, sink: str, seqs: Iterable[int], *, notified: bool) -> None:
        """They leave a sink's queue: accepted (`notified`), or dropped. Those that are gone are passed over."""
        sink_queue = self.sinks.get(sink)
        for seq in seqs:
            if sink_queue is not None and sink_queue.remove(seq, notified=notified):
                self._stored[seq].references -= 1
                self.discard_if_unreferenced(seq)

    def give_back(self, sink: str, seqs: Iterable[int], *, sent: bool) -> None:
        """They were not accepted and wait on; `sent`: the receiver may have them."""
        if sink in self.sinks:
            self.sinks[sink].give_back(seqs, sent=sent)

    def dead_letter(self, sink: str, seq: int, reason: str, time: float) -> str:
        """Make an entry a dead letter of a sink: it is not sent there again. Its event id; empty if it is gone."""
        sink_queue = self.sinks.get(sink)
        if sink_queue is None or seq not in sink_queue.waiting:
            return ""
        # Referenced as a dead letter before it is released from the queue: without a reference the entry would go.
        self.add_dead(seq, DeadLetter(sink=sink, reason=reason, time=time))
        self.changes["dead", (sink, seq)] = (reason, time)
        self.release(sink, [seq], notified=False)
        sink_queue.dead_letters_total += 1
        sink_queue.store()
        return self._stored[seq].event_id

    def drop(self, wanted: str) -> bool:
        """Drop an event (by event id or sequence number) for all sinks, as dead letter too."""
        found = [seq for seq, stored in self._stored.items() if wanted in {stored.event_id, str(seq)}]
        for seq in found:
            for name in self.sinks:
                self.release(name, [seq], notified=False)
            for name, dead_seq in [key for key in self._dead if key[1] == seq]:
                self._remove_dead_letter(name, dead_seq)
        return bool(found)

    def enforce_limits(self) -> list[DroppedEvents]:
        """Drop what must go to keep the bounds, in the order that does least harm; returns what was dropped.

        Dead letters go first: they were given up and counted before. Then alarms that were raised and cleared without
        a notification to a sink, then changes superseded by a later event of the same alarm, then tests and notices.
        The rest is never dropped: the raise and the latest event of an alarm that is on or unknown to a sink, and the
        clear of one that it was notified of. By those the spool grows past its bounds rather: their number is limited
        by the number of alarms, and no length of outage adds to it.
        """
        dropped: list[DroppedEvents] = []
        while self._over() and self._dead:
            name, seq = next(iter(self._dead))
            dropped.append(DroppedEvents(sink=name, event_ids=(self._stored[seq].event_id,), why="dead letter"))
            self._remove_dead_letter(name, seq)
        for why, candidates in _ORDER:
            while self._over() and (found := self._oldest(candidates)) is not None:
                dropped.append(self._drop(*found, why))
        return dropped

    def notified(self, sink: str) -> dict[str, bool]:
        """The alarms that a sink was notified of and that did not end for it; whether more of them waits for it."""
        sink_queue = self.sinks.get(sink)
        sequences = {} if sink_queue is None else sink_queue.sequences
        return {name: bool(each.seqs) for name, each in sequences.items() if each.notified}

    def told_severities(self, sink: str) -> dict[str, frozenset[Severity]]:
        """Of these alarms those of which it is known under which severities the sink may have been notified last."""
        sequences = self.sinks[sink].sequences if sink in self.sinks else {}
        return {name: each.severities for name, each in sequences.items() if each.notified and each.severities}

    def rows(self) -> Iterator[StoredRow]:
        """Every row, as the disk should have it. May be read bit by bit: what changes meanwhile is in `changes`."""
        # Copies of the keys only: between two rows the event loop runs, and entries come and go.
        yield ("tally", ("dropped",)), (self.dropped_total,)
        for seq in list(self._stored):
            if (stored := self._stored.get(seq)) is not None:
                yield ("entry", (seq,)), (stored.payload,)
        for key in list(self._dead):
            if (letter := self._dead.get(key)) is not None:
                yield ("dead", key), (letter.reason, letter.time)
        for sink_queue in list(self.sinks.values()):
            yield from sink_queue.rows()

    def take_changes(self) -> RowChanges:
        """The row changes since the last call."""
        taken = dict(self.changes)
        self.changes.clear()  # the same object stays: every sink's queue notes its changes there
        return taken

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
            used_percent=100 * max(len(self._stored) / self.entries_limit, self._bytes / self.size_limit_bytes),
            dropped_total=self.dropped_total,
            reason=reason,
            sinks={
                name: SinkQueueStats(
                    queued=len(sink_queue.waiting),
                    dead_letters=self._dead_of.get(name, 0),
                    dead_letters_total=sink_queue.dead_letters_total,
                    dropped_total=sink_queue.dropped,
                )
                for name, sink_queue in self.sinks.items()
            },
        )

    def add_sink(self, name: str, minimum: Severity | None, **totals: int) -> SinkQueue:
        """Add a sink, new or stored. `totals`: `dropped` and `dead_letters_total` so far."""
        self.sinks[name] = SinkQueue(name, minimum, self.changes, **totals)
        return self.sinks[name]

    def add_entry(self, seq: int, event_id: str, payload: bytes) -> None:
        """Add an entry, to which nothing refers yet."""
        self._stored[seq] = _StoredEvent(event_id, payload, len(payload) + ENTRY_OVERHEAD)
        self._bytes += self._stored[seq].size_bytes
        self.last_seq = max(self.last_seq, seq)

    def add_waiting(
        self, sink: str, seq: int, kind: EventKind, alarm_id: str, severity: Severity, attempts: int
    ) -> None:
        """Add a stored reference: a sink waits for an entry."""
        self._stored[seq].references += 1
        self.sinks[sink].append(seq, kind, alarm_id, severity, attempts=attempts)

    def add_dead(self, seq: int, letter: DeadLetter) -> None:
        """Add a dead letter, which keeps its entry."""
        self._stored[seq].references += 1
        self._dead[letter.sink, seq] = letter
        self._dead_of[letter.sink] = self._dead_of.get(letter.sink, 0) + 1

    def discard_if_unreferenced(self, seq: int) -> bool:
        """An entry that no sink waits for and that is no dead letter leaves."""
        stored = self._stored[seq]
        if stored.references:
            return False
        del self._stored[seq]
        self._bytes -= stored.size_bytes
        self.changes["entry", (seq,)] = None
        return True

    def _set_sink(self, name: str, minimum: Severity | None) -> bool:
        """Whether the sink is new or gets more than before."""
        sink_queue = self.sinks.get(name)
        if sink_queue is None:
            self.add_sink(name, minimum).store()
            return True
        lowered = _rank(minimum) < _rank(sink_queue.minimum)
        if minimum is not sink_queue.minimum:
            sink_queue.minimum = minimum
            sink_queue.store()
        return lowered

    def _remove_sink(self, name: str) -> int:
        sink_queue = self.sinks[name]
        waiting = list(sink_queue.waiting)
        self.release(name, waiting, notified=False)
        for key in [key for key in self._dead if key[0] == name]:
            self._remove_dead_letter(*key)
        sink_queue.erase()
        del self.sinks[name]
        return len(waiting)

    def _remove_dead_letter(self, sink: str, seq: int) -> None:
        del self._dead[sink, seq]
        self._dead_of[sink] -= 1
        self.changes["dead", (sink, seq)] = None
        self._stored[seq].references -= 1
        self.discard_if_unreferenced(seq)

    def _over(self) -> bool:
        return len(self._stored) > self.entries_limit or self._bytes > self.size_limit_bytes

    def _oldest(self, candidates: Callable[[SinkQueue], Iterator[list[int]]]) -> tuple[SinkQueue, list[int]] | None:
        """Over all sinks: entries that may be dropped together, and whose queue they are in."""
        found = [(queue, seqs) for queue in self.sinks.values() if (seqs := next(candidates(queue), None))]
        return min(found, key=lambda pair: pair[1][0], default=None)

    def _drop(self, sink_queue: SinkQueue, seqs: Sequence[int], why: str) -> DroppedEvents:
        event_ids = tuple(self._stored[seq].event_id for seq in seqs)
        self.release(sink_queue.name, tuple(seqs), notified=False)  # a copy: it shrinks as its entries leave
        sink_queue.dropped += len(event_ids)
        sink_queue.store()
        self.dropped_total += len(event_ids)
        self.changes["tally", ("dropped",)] = (self.dropped_total,)
        return DroppedEvents(sink=sink_queue.name, event_ids=event_ids, why=why)

    def _describe(self, seq: int, stored: _StoredEvent, dead: tuple[DeadLetter, ...]) -> SpoolEntry:
        waiting = {
            name: sink_queue.waiting[seq].attempts
            for name, sink_queue in self.sinks.items()
            if seq in sink_queue.waiting
        }
        event = from_bytes(Event, stored.payload)
        return SpoolEntry(seq=seq, event=event, bytes=stored.size_bytes, waiting=waiting, dead=dead)


def _rank(minimum: Severity | None) -> int:
    return minimum.rank if minimum else Severity.CLEARED.rank


_ORDER: tuple[tuple[str, Callable[[SinkQueue], Iterator[list[int]]]], ...] = (
    ("alarm raised and cleared without a notification", SinkQueue.unnotified),
    ("superseded", SinkQueue.superseded),
    ("test or notice", SinkQueue.standalone),
)
