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

TRANSITIONS = {EventKind.RAISED, EventKind.CHANGED, EventKind.CLEARED}
"""The kinds of the events of an alarm."""
_SENT = frozenset(Severity) - {Severity.CLEARED}
_SHARED_BIT = 1 << 8
"""In what is stored of a sequence, above the bits of severities: older versions take it for notified."""


@dataclass(slots=True)
class AlarmSequence:
    """The events of one alarm for one sink, from raise to clear.

    `notified`: the sink accepted one of them, or may have: one was sent and the answer got lost. `open`: no clear is
    queued or accepted yet. `seqs`: the entries that wait, in order. `severities`: under one of them the sink was
    notified last; none where that is not known. `shared`: the alarm is the group's.
    """

    alarm_id: str
    notified: bool = False
    open: bool = True
    severities: frozenset[Severity] = frozenset()
    seqs: list[int] = field(default_factory=list)
    shared: bool = False


@dataclass(slots=True)
class QueueEntry:
    """An entry that waits for one sink; `sequence` is None for an event of no alarm."""

    sequence: AlarmSequence | None
    severities: frozenset[Severity] = frozenset()
    """That of the event, but for a clear."""
    attempts: int = 0
    shared: bool = False
    """The event is the group's."""


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
        self._shared = 0
        """How many of those that wait are the group's."""
        self._changes = changes
        # What may be dropped when the spool is full, each in the order in which it became droppable.
        self._closed: OrderedDict[str, AlarmSequence] = OrderedDict()
        self._superseded: OrderedDict[int, None] = OrderedDict()
        self._standalone: OrderedDict[int, None] = OrderedDict()

    def wants(self, event: Event, begun: Collection[str] = ()) -> bool:
        """Whether the event, or an earlier one of its alarm, reaches the sink's minimum severity.

        A clear goes to the sinks that its raise went to; an event of no alarm (a test, a notice) to every sink.
        `begun` are alarms of which events will be queued before this one.
        """
        if event.kind not in TRANSITIONS:
            return True
        if event.alarm_id in self.sequences or event.alarm_id in begun:
            return True
        if event.kind is EventKind.CLEARED:
            return False
        return self.minimum is None or event.severity.rank >= self.minimum.rank

    def append(
        self,
        seq: int,
        kind: EventKind,
        alarm_id: str,
        severity: Severity,
        *,
        attempts: int = 0,
        shared: bool = False,
    ) -> None:
        """Queue an entry at the end."""
        sequence = (
            self.sequences.setdefault(alarm_id, AlarmSequence(alarm_id)) if alarm_id and kind in TRANSITIONS else None
        )
        self.waiting[seq] = QueueEntry(sequence, frozenset({severity} - {Severity.CLEARED}), attempts, shared)
        self._shared += shared
        if sequence is None:
            self._standalone[seq] = None
            return
        # Not the first event of a sequence the sink was not notified of: that is the raise, and no later event stands
        # for it.
        if sequence.seqs and (sequence.notified or len(sequence.seqs) > 1):
            self._superseded[sequence.seqs[-1]] = None
        sequence.seqs.append(seq)
        sequence.shared |= shared
        sequence.open = kind is not EventKind.CLEARED
        self._sort(sequence)

    def enqueue(self, seq: int, event: Event, *, shared: bool = False) -> None:
        """Queue a new entry at the end, and note it for the disk."""
        self.append(seq, event.kind, event.alarm_id, event.severity, shared=shared)
        self.store_entry(seq)
        sequence = self.waiting[seq].sequence
        if sequence is not None:
            self.store_sequence(sequence)

    def take(
        self, limit: int, upto: int, aside: Collection[int] = (), *, only: int | None = None, shut: bool = False
    ) -> list[int]:
        """The first entries up to a sequence number; they are in flight until given back.

        Those set aside are passed over, and with each what comes after it of the same alarm: the receiver must not
        see a clear before its raise. `only`: that entry, wherever it stands, or nothing if it is gone. `shut`: what is
        the group's is passed over in the same way.
        """
        if only is not None:
            found = iter([only] if only in self.waiting else [])
        elif shut and self._shared == len(self.waiting):
            found = iter(())
        else:
            held = {seq for each in aside for seq in self._from(each)}
            found = (seq for seq in self.waiting if seq <= upto and seq not in held)
        taken = list(islice((seq for seq in found if not (shut and self._is_held(seq))), limit))
        self.in_flight = frozenset(taken)
        return taken

    def _is_held(self, seq: int) -> bool:
        """Whether an entry is the group's, or waits behind one of the same alarm that is."""
        sequence = self.waiting[seq].sequence
        before = () if sequence is None else sequence.seqs
        return self.waiting[seq].shared or self.holds_shared(each for each in before if each < seq)

    def holds_shared(self, seqs: Iterable[int]) -> bool:
        """Whether one of these entries is the group's."""
        return self._shared > 0 and any(self.waiting[seq].shared for seq in seqs)

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
            self.may_be_sent(seq)

    def may_be_sent(self, seq: int) -> None:
        """The receiver may have an entry that waits.

        Taken for notified: a clear that the receiver does not need is better than an alarm that stays on.
        """
        entry = self.waiting[seq]
        if entry.sequence is not None:
            known = entry.sequence.severities
            is_unknown = entry.sequence.notified and not known
            self._mark_notified(entry.sequence, known if is_unknown else known | entry.severities)

    def remove(self, seq: int, *, notified: bool) -> QueueEntry | None:
        """An entry leaves the queue: accepted (`notified`), dropped, or a dead letter. None if it was not there."""
        entry = self.waiting.pop(seq, None)
        if entry is None:
            return None
        self._shared -= entry.shared
        self.in_flight -= {seq}
        self._superseded.pop(seq, None)
        self._standalone.pop(seq, None)
        self._changes["waiting", (self.name, seq)] = None
        if entry.sequence is not None:
            entry.sequence.seqs.remove(seq)
            if notified:
                self._mark_notified(entry.sequence, entry.severities)
            self._close(entry.sequence)
        return entry

    def share(self, seq: int) -> None:
        """An entry that waits is the group's from now on, and so is its alarm."""
        entry = self.waiting[seq]
        self._shared += not entry.shared
        entry.shared = True
        if entry.sequence is not None:
            self.share_sequence(entry.sequence)

    def share_sequence(self, sequence: AlarmSequence) -> None:
        """An alarm is the group's from now on."""
        if not sequence.shared:
            sequence.shared = True
            self.store_sequence(sequence)

    def unshare(self, sequence: AlarmSequence) -> None:
        """An alarm is this agent's own from now on, and so is what waits of it."""
        sequence.shared = False
        self.store_sequence(sequence)
        for seq in sequence.seqs:
            self._shared -= self.waiting[seq].shared
            self.waiting[seq].shared = False

    def owe(self, alarm_id: str) -> None:
        """The sink was told of an alarm of the group's, by whoever led, and is owed its end."""
        sequence = self.sequences.setdefault(alarm_id, AlarmSequence(alarm_id))
        self.share_sequence(sequence)
        if not sequence.seqs and not sequence.notified:
            self._mark_notified(sequence, sequence.severities)

    def owe_no_more(self, alarm_id: str) -> None:
        """The sink is owed nothing more of an alarm, unless events of it still wait."""
        sequence = self.sequences.get(alarm_id)
        if sequence is not None and not sequence.seqs:
            sequence.open = False
            self._close(sequence)

    def restore_sequence(self, alarm_id: str, told: object, *, is_open: bool) -> None:
        """Add a stored sequence, before its entries; `told` as `store_sequence` writes it.

        A damaged value is taken for notified: then the clear is sent, at worst needlessly.
        """
        bits = told if isinstance(told, int) and told > 0 else 0
        severities = frozenset(severity for severity in _SENT if bits >> severity.number & 1)
        is_notified = told not in {0, _SHARED_BIT}
        self.sequences[alarm_id] = AlarmSequence(alarm_id, is_notified, is_open, severities, shared=is_shared(told))

    def close_all(self) -> None:
        """After a restore: forget sequences that are over."""
        for sequence in list(self.sequences.values()):
            self._sort(sequence)
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


def is_shared(told: object) -> bool:
    """Whether a stored sequence is the group's."""
    return isinstance(told, int) and told > 0 and bool(told & _SHARED_BIT)


def _told(sequence: AlarmSequence) -> int:
    """What is stored: 0, or 1 and a bit for each severity. Older versions read and write 1 for notified."""
    notified = 1 + sum(1 << severity.number for severity in sequence.severities) if sequence.notified else 0
    return notified + (_SHARED_BIT if sequence.shared else 0)
