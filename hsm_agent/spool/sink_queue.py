"""The queue of one sink: the entries that wait for it, in order, and the alarms it was notified of.

Pure memory: no I/O, no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.model import EventKind, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from hsm_agent.model import Event
    from hsm_agent.spool.tables import RowChanges, RowValues, StoredRow

_TRANSITIONS = {EventKind.RAISED, EventKind.CHANGED, EventKind.CLEARED}
_SENT = frozenset(Severity) - {Severity.CLEARED}


@dataclass(slots=True)
class AlarmSequence:
    """The events of one alarm for one sink, from raise to clear.

    `notified`: the sink accepted one of them, or may have: one was sent and the answer got lost. `open`: no clear is
    queued or accepted yet. `seqs`: the entries that wait, in order. `severities`: under one of them the sink was
    notified last; none where that is not known.
    """

    alarm_id: str
    notified: bool = False
    open: bool = True
    severities: frozenset[Severity] = frozenset()
    seqs: list[int] = field(default_factory=list)


@dataclass(slots=True)
class QueueEntry:
    """An entry that waits for one sink; `sequence` is None for an event of no alarm."""

    sequence: AlarmSequence | None
    severities: frozenset[Severity] = frozenset()
    """That of the event, but for a clear."""
    attempts: int = 0


class SinkQueue:
    """Entries by sequence number. The numbers only ever rise, so insertion order is sending order."""

    def __init__(
        self,
        name: str,
        minimum: Severity | None,
        changes: RowChanges,
        *,
        dropped: int = 0,
        dead_letters_total: int = 0,
    ) -> None:
        self.name = name
        self.minimum = minimum
        self.dropped = dropped
        self.dead_letters_total = dead_letters_total
        self.waiting: OrderedDict[int, QueueEntry] = OrderedDict()
        self.sequences: dict[str, AlarmSequence] = {}
        self.in_flight: frozenset[int] = frozenset()
        self._changes = changes
        # What may be dropped when the spool is full, each in the order in which it became droppable.
        self._closed: OrderedDict[str, AlarmSequence] = OrderedDict()
        self._superseded: OrderedDict[int, None] = OrderedDict()
        self._standalone: OrderedDict[int, None] = OrderedDict()

    def wants(self, event: Event) -> bool:
        """Whether the event, or an earlier one of its alarm, reaches the sink's minimum severity.

        A clear goes to the sinks that its raise went to; an event of no alarm (a test, a notice) to every sink.
        """
        if event.kind not in _TRANSITIONS:
            return True
        if event.alarm_id in self.sequences:
            return True
        if event.kind is EventKind.CLEARED:
            return False
        return self.minimum is None or event.severity.rank >= self.minimum.rank

    def append(self, seq: int, kind: EventKind, alarm_id: str, severity: Severity, *, attempts: int = 0) -> None:
        """Queue an entry at the end."""
        sequence = (
            self.sequences.setdefault(alarm_id, AlarmSequence(alarm_id)) if alarm_id and kind in _TRANSITIONS else None
        )
        self.waiting[seq] = QueueEntry(sequence, frozenset({severity} - {Severity.CLEARED}), attempts)
        if sequence is None:
            self._standalone[seq] = None
            return
        # Not the first event of a sequence the sink was not notified of: that is the raise, and no later event stands
        # for it.
        if sequence.seqs and (sequence.notified or len(sequence.seqs) > 1):
            self._superseded[sequence.seqs[-1]] = None
        sequence.seqs.append(seq)
        sequence.open = kind is not EventKind.CLEARED
        self._sort(sequence)

    def enqueue(self, seq: int, event: Event) -> None:
        """Queue a new entry at the end, and note it for the disk."""
        self.append(seq, event.kind, event.alarm_id, event.severity)
        self.store_entry(seq)
        sequence = self.waiting[seq].sequence
        if sequence is not None:
            self.store_sequence(sequence)

    def take(self, limit: int, upto: int, aside: Collection[int] = (), *, only: int | None = None) -> list[int]:
        """The first entries up to a sequence number; they are in flight until given back.

        Those set aside are passed over, and with each what comes after it of the same alarm: the receiver must not
        see a clear before its raise. `only`: that entry, wherever it stands, or nothing if it is gone.
        """
        if only is not None:
            taken = [only] if only in self.waiting else []
        else:
            held = {seq for each in aside for seq in self._from(each)}
            taken = list(islice((seq for seq in self.waiting if seq <= upto and seq not in held), limit))
        self.in_flight = frozenset(taken)
        return taken

    def _from(self, seq: int) -> Iterable[int]:
        """An entry, and what waits behind it of the same alarm."""
        entry = self.waiting.get(seq)
        if entry is None or entry.sequence is None:
            return (seq,)
        return (each for each in entry.sequence.seqs if each >= seq)

    def give_back(self, seqs: Iterable[int], *, sent: bool) -> None:
        """Entries come back unaccepted. If they were sent, the receiver may have them all the same."""
        self.in_flight = frozenset()
        for seq in seqs:
            entry = self.waiting.get(seq)
            if entry is None or not sent:
                continue
            entry.attempts += 1
            self.store_entry(seq)
            if entry.sequence is not None:
                # Taken for notified: a clear that the receiver does not need is better than an alarm that stays on.
                known = entry.sequence.severities
                is_unknown = entry.sequence.notified and not known
                self._mark_notified(entry.sequence, known if is_unknown else known | entry.severities)

    def remove(self, seq: int, *, notified: bool) -> bool:
        """An entry leaves the queue: accepted (`notified`), dropped, or a dead letter. False if it was not there."""
        entry = self.waiting.pop(seq, None)
        if entry is None:
            return False
        self.in_flight -= {seq}
        self._superseded.pop(seq, None)
        self._standalone.pop(seq, None)
        self._changes["waiting", (self.name, seq)] = None
        if entry.sequence is not None:
            entry.sequence.seqs.remove(seq)
            if notified:
                self._mark_notified(entry.sequence, entry.severities)
            self._close(entry.sequence)
        return True

    def restore_sequence(self, alarm_id: str, told: object, *, is_open: bool) -> None:
        """Add a stored sequence, before its entries; `told` as `store_sequence` writes it.

        A damaged value is taken for notified: then the clear is sent, at worst needlessly.
        """
        bits = told if isinstance(told, int) and told > 0 else 0
        severities = frozenset(severity for severity in _SENT if bits >> severity.number & 1)
        self.sequences[alarm_id] = AlarmSequence(alarm_id, told != 0, is_open, severities)

    def close_all(self) -> None:
        """After a restore: forget sequences that are over."""
        for sequence in list(self.sequences.values()):
            self._close(sequence)

    def unnotified(self) -> Iterator[list[int]]:
        """The entries of each closed sequence that this sink was never notified of, oldest first.

        Dropped together they leave nothing behind: the sink neither misses a clear nor gets one without a raise.
        """
        for sequence in self._closed.values():
            if self.in_flight.isdisjoint(sequence.seqs):
                yield sequence.seqs

    def superseded(self) -> Iterator[list[int]]:
        """Each entry that a later one of the same alarm supersedes, oldest first."""
        return ([seq] for seq in self._superseded if seq not in self.in_flight)

    def standalone(self) -> Iterator[list[int]]:
        """Each entry that belongs to no alarm, oldest first."""
        return ([seq] for seq in self._standalone if seq not in self.in_flight)

    def store(self) -> None:
        """Note the sink's own row for the disk."""
        self._changes["sink", (self.name,)] = self._row()

    def store_entry(self, seq: int) -> None:
        """Note one entry for the disk."""
        self._changes["waiting", (self.name, seq)] = (self.waiting[seq].attempts,)

    def store_sequence(self, sequence: AlarmSequence) -> None:
        """Note one sequence for the disk."""
        self._changes["run", (self.name, sequence.alarm_id)] = (_told(sequence), int(sequence.open))

    def rows(self) -> Iterator[StoredRow]:
        """Every row of this sink. What changes between two of them is noted as a change."""
        yield ("sink", (self.name,)), self._row()
        for seq in list(self.waiting):
            if (entry := self.waiting.get(seq)) is not None:
                yield ("waiting", (self.name, seq)), (entry.attempts,)
        for alarm_id in list(self.sequences):
            if (sequence := self.sequences.get(alarm_id)) is not None:
                yield ("run", (self.name, alarm_id)), (_told(sequence), int(sequence.open))

    def erase(self) -> None:
        """The sink is gone, with its sequences. Its entries are released by `Queue`, which counts references."""
        for alarm_id in self.sequences:
            self._changes["run", (self.name, alarm_id)] = None
        self._changes["sink", (self.name,)] = None

    def _row(self) -> RowValues:
        return (self.minimum.value if self.minimum else "", self.dropped, self.dead_letters_total)

    def _mark_notified(self, sequence: AlarmSequence, severities: frozenset[Severity]) -> None:
        if not sequence.notified or sequence.severities != severities:
            sequence.notified, sequence.severities = True, severities
            self.store_sequence(sequence)
            self._sort(sequence)

    def _sort(self, sequence: AlarmSequence) -> None:
        if sequence.open or sequence.notified:
            self._closed.pop(sequence.alarm_id, None)
        else:
            self._closed[sequence.alarm_id] = sequence

    def _close(self, sequence: AlarmSequence) -> None:
        # Kept until its clear is accepted: after a restart it says that the sink is owed the clear.
        if not sequence.open and not sequence.seqs:
            self.sequences.pop(sequence.alarm_id, None)
            self._closed.pop(sequence.alarm_id, None)
            self._changes["run", (self.name, sequence.alarm_id)] = None


def _told(sequence: AlarmSequence) -> int:
    """What is stored: 0, or 1 and a bit for each severity. Older versions read and write 1 for notified."""
    return int(sequence.notified) and 1 + sum(1 << severity.number for severity in sequence.severities)
