"""The spool's contents in memory: the truth that is sent from. Pure: what changes is noted for the disk."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from hsm_agent.codec import from_bytes, to_bytes
from hsm_agent.model import Event, Severity
from hsm_agent.spool.entries import (
    ENTRY_OVERHEAD,
    DeadLetter,
    PendingEvent,
    Registered,
    SinkQueueStats,
    SpoolEntry,
    SpoolStats,
    StoredEvent,
)
from hsm_agent.spool.shared import Left
from hsm_agent.spool.sink_queue import SinkQueue

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from hsm_agent.model import EventKind
    from hsm_agent.spool.sink_queue import QueueEntry
    from hsm_agent.spool.tables import RowChanges, StoredRow


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
        self.left: list[Left] = []
        """What is the group's and left a sink's queue by what was done here, until it is taken."""
        self.size_bytes = 0
        self.shared_entries = 0
        self.shared_bytes = 0
        """Of the entries those that are the group's."""
        self.stored: dict[int, StoredEvent] = {}
        self._shared: dict[str, list[int]] = {}
        """By event ID the entries that are the group's, and wait. It is told to one sink again by an entry of its own.
        """
        self.dead: OrderedDict[tuple[str, int], DeadLetter] = OrderedDict()
        """By sink and entry, oldest first."""
        self._dead_of: dict[str, int] = {}

    def register(
        self, minima: Mapping[str, Severity | None], active: Sequence[Event], *, gives_up: bool = True
    ) -> Registered:
        """These are the sinks now, with the least severity each gets; None: every event.

        For one that is new, or whose minimum fell, the raised alarms are queued. `gives_up`: what is the group's and
        waits for one that is gone is given up for all.
        """
        removed = tuple(name for name in self.sinks if name not in minima)
        forgotten = sum(self._remove_sink(name, gives_up=gives_up) for name in removed)
        added = tuple(name for name in minima if name not in self.sinks)
        to_resync = [name for name, minimum in minima.items() if self._set_sink(name, minimum)]
        for event in active:
            # Not to a sink that has events of this alarm: those bring it up to date, and a second raise would repeat.
            self.enqueue(event, [name for name in to_resync if event.alarm_id not in self.sinks[name].sequences])
        return Registered(added=added, resynced=tuple(to_resync), removed=removed, forgotten_events=forgotten)

    def enqueue(self, event: Event, sinks: Iterable[str] | None = None) -> None:
        """Queue an event for those of all sinks, or of some, that want it; KeyError if there is no such sink."""
        queues = self.sinks.values() if sinks is None else [self.sinks[name] for name in sinks]
        self.add(event, [sink_queue for sink_queue in queues if sink_queue.wants(event)])

    def add(self, event: Event, listeners: Sequence[SinkQueue], *, shared: bool = False) -> None:
        """Queue an event for these sinks. `shared`: it is the group's."""
        # An event that no sink wants is not stored: it would have no reference and never leave.
        if not listeners:
            return
        seq, payload = self.last_seq + 1, to_bytes(event)
        self.add_entry(seq, event.event_id, payload)
        self.changes["entry", (seq,)] = (payload,)
        stored = self.stored[seq]
        stored.references = stored.waits = len(listeners)
        if shared:
            self.share_entry(seq)
        for sink_queue in listeners:
            sink_queue.enqueue(seq, event, shared=shared)

    def pending(
        self,
        sink: str,
        limit: int,
        upto: int,
        aside: Collection[int] = (),
        *,
        only: int | None = None,
        shut: bool = False,
    ) -> list[PendingEvent]:
        """What to send to a sink next; it is in flight until accepted, a dead letter, or given back.

        `only`: that entry, wherever it stands, or nothing if it is gone. `shut`: nothing that is the group's.
        """
        if sink not in self.sinks:
            return []
        found = []
        for seq in self.sinks[sink].take(limit, upto, aside, only=only, shut=shut):
            stored = self.stored[seq]
            found.append(PendingEvent(seq=seq, event=from_bytes(Event, stored.payload), shared=stored.shared))
        return found

    def release(self, sink: str, seqs: Iterable[int], *, notified: bool, quietly: bool = False) -> None:
        """They leave a sink's queue: accepted (`notified`), or dropped. Those that are gone are passed over.

        `quietly`: by what another agent did, or of no concern to the others.
        """
        sink_queue = self.sinks.get(sink)
        for seq in seqs:
            entry = None if sink_queue is None else sink_queue.remove(seq, notified=notified)
            if sink_queue is None or entry is None:
                continue
            if not quietly:
                self._note_left(sink_queue, seq, entry, told=notified)
            stored = self.stored[seq]
            stored.references -= 1
            stored.waits -= 1
            self.discard_if_unreferenced(seq)

    def _note_left(self, sink_queue: SinkQueue, seq: int, entry: QueueEntry, *, told: bool) -> None:
        sequence = entry.sequence
        is_over = sequence is not None and sequence.shared and sequence.alarm_id not in sink_queue.sequences
        ended = sequence.alarm_id if sequence is not None and is_over else ""
        if entry.shared:
            left = Left(sink=sink_queue.name, event_id=self.stored[seq].event_id, told=told, ended_alarm_id=ended)
            self.left.append(left)
        elif ended:
            # By a clear of this agent's own, while it was alone: that binds the others only if it leads next.
            self.left.append(Left(sink=sink_queue.name, event_id="", told=False, ended_alarm_id=ended))

    def shared_ids(self) -> list[str]:
        """The events of the group's that wait, oldest first."""
        return list(self._shared)

    def is_shared(self, sink: str, alarm_id: str) -> bool:
        """Whether an alarm is the group's, as a sink was told of it."""
        sequence = self.sinks[sink].sequences.get(alarm_id) if sink in self.sinks else None
        return sequence is not None and sequence.shared

    def shared_payload(self, event_id: str) -> bytes:
        """The payload of one of them."""
        return self.stored[self._shared[event_id][0]].payload

    def shared_seq(self, sink: str, event_id: str) -> int | None:
        """The entry by which a sink waits for an event of the group's; None if it does not."""
        sink_queue = self.sinks.get(sink)
        seqs = self._shared.get(event_id, ())
        return None if sink_queue is None else next((seq for seq in seqs if seq in sink_queue.waiting), None)

    def share_entry(self, seq: int, *, is_stored: bool = False) -> None:
        """An entry is the group's from now on. `is_stored`: the disk has it so."""
        stored = self.stored[seq]
        stored.shared = True
        self.shared_entries += 1
        self.shared_bytes += stored.size_bytes
        self._shared.setdefault(stored.event_id, []).append(seq)
        if not is_stored:
            self.changes["shared", (seq,)] = (stored.event_id,)

    def unshare(self, seq: int) -> None:
        """An entry is the group's no more."""
        stored = self.stored[seq]
        stored.shared = False
        self.shared_entries -= 1
        self.shared_bytes -= stored.size_bytes
        seqs = self._shared[stored.event_id]
        seqs.remove(seq)
        if not seqs:
            del self._shared[stored.event_id]
        self.changes["shared", (seq,)] = None

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
        return self.stored[seq].event_id

    def drop(self, wanted: str) -> bool:
        """Drop an event (by event id or sequence number) for all sinks, as dead letter too."""
        found = [seq for seq, stored in self.stored.items() if wanted in {stored.event_id, str(seq)}]
        for seq in found:
            for name in self.sinks:
                self.release(name, [seq], notified=False)
            for name, dead_seq in [key for key in self.dead if key[1] == seq]:
                self.remove_dead_letter(name, dead_seq)
        return bool(found)

    def notified(self, sink: str, *, shut: bool = False) -> dict[str, bool]:
        """The alarms that a sink was notified of and that did not end for it; whether more of them waits for it.

        `shut`: without those of the group.
        """
        sink_queue = self.sinks.get(sink)
        sequences = {} if sink_queue is None else sink_queue.sequences
        return {
            name: bool(each.seqs) for name, each in sequences.items() if each.notified and not (shut and each.shared)
        }

    def told_severities(self, sink: str) -> dict[str, frozenset[Severity]]:
        """Of these alarms those of which it is known under which severities the sink may have been notified last."""
        sequences = self.sinks[sink].sequences if sink in self.sinks else {}
        return {name: each.severities for name, each in sequences.items() if each.notified and each.severities}

    def rows(self) -> Iterator[StoredRow]:
        """Every row, as the disk should have it. May be read bit by bit: what changes meanwhile is in `changes`."""
        # Copies of the keys only: between two rows the event loop runs, and entries come and go.
        yield ("tally", ("dropped",)), (self.dropped_total,)
        for seq in list(self.stored):
            if (stored := self.stored.get(seq)) is not None:
                yield ("entry", (seq,)), (stored.payload,)
                if stored.shared:
                    yield ("shared", (seq,)), (stored.event_id,)
        for key in list(self.dead):
            if (letter := self.dead.get(key)) is not None:
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
        for (_, seq), letter in self.dead.items():
            letters.setdefault(seq, []).append(letter)
        for seq in sorted(seq for seq in self.stored if seq > after):
            stored = self.stored.get(seq)
            if stored is not None:
                yield self._describe(seq, stored, tuple(letters.get(seq, ())))

    def show(self, wanted: str) -> SpoolEntry | None:
        """One entry by event id or sequence number."""
        for seq, stored in self.stored.items():
            if wanted in {stored.event_id, str(seq)}:
                return self._describe(seq, stored, tuple(self.dead[key] for key in self.dead if key[1] == seq))
        return None

    def stats(self, reason: str) -> SpoolStats:
        """The numbers; `reason` is the disk's."""
        return SpoolStats(
            entries=len(self.stored),
            bytes=self.size_bytes,
            used_percent=100 * max(len(self.stored) / self.entries_limit, self.size_bytes / self.size_limit_bytes),
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
        self.stored[seq] = StoredEvent(event_id, payload, len(payload) + ENTRY_OVERHEAD)
        self.size_bytes += self.stored[seq].size_bytes
        self.last_seq = max(self.last_seq, seq)

    def add_waiting(
        self, sink: str, seq: int, kind: EventKind, alarm_id: str, severity: Severity, attempts: int
    ) -> None:
        """Add a stored reference: a sink waits for an entry."""
        stored = self.stored[seq]
        stored.references += 1
        stored.waits += 1
        self.sinks[sink].append(seq, kind, alarm_id, severity, attempts=attempts, shared=stored.shared)

    def add_dead(self, seq: int, letter: DeadLetter) -> None:
        """Add a dead letter, which keeps its entry."""
        self.stored[seq].references += 1
        self.dead[letter.sink, seq] = letter
        self._dead_of[letter.sink] = self._dead_of.get(letter.sink, 0) + 1

    def discard_if_unreferenced(self, seq: int) -> bool:
        """An entry that no sink waits for and that is no dead letter leaves."""
        stored = self.stored[seq]
        if stored.shared and not stored.waits:
            self.unshare(seq)
        if stored.references:
            return False
        del self.stored[seq]
        self.size_bytes -= stored.size_bytes
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

    def _remove_sink(self, name: str, *, gives_up: bool) -> int:
        sink_queue = self.sinks[name]
        waiting = list(sink_queue.waiting)
        self.release(name, waiting, notified=False, quietly=not gives_up)
        if gives_up:
            owed = [each.alarm_id for each in sink_queue.sequences.values() if each.shared]
            self.left += [Left(sink=name, event_id="", told=False, ended_alarm_id=alarm_id) for alarm_id in owed]
        for key in [key for key in self.dead if key[0] == name]:
            self.remove_dead_letter(*key)
        sink_queue.erase()
        del self.sinks[name]
        return len(waiting)

    def remove_dead_letter(self, sink: str, seq: int) -> None:
        """A dead letter goes for good."""
        del self.dead[sink, seq]
        self._dead_of[sink] -= 1
        self.changes["dead", (sink, seq)] = None
        self.stored[seq].references -= 1
        self.discard_if_unreferenced(seq)

    def _describe(self, seq: int, stored: StoredEvent, dead: tuple[DeadLetter, ...]) -> SpoolEntry:
        waiting = {
            name: sink_queue.waiting[seq].attempts
            for name, sink_queue in self.sinks.items()
            if seq in sink_queue.waiting
        }
        event = from_bytes(Event, stored.payload)
        return SpoolEntry(
            seq=seq, event=event, bytes=stored.size_bytes, waiting=waiting, dead=dead, shared=stored.shared
        )


def _rank(minimum: Severity | None) -> int:
    return minimum.rank if minimum else Severity.CLEARED.rank
