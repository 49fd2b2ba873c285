"""From stored rows back to the queue in memory. Rows that contradict each other are put right, not trusted. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeGuard

from hsm_agent.codec import from_bytes
from hsm_agent.model import AGENT_SOURCE, Event, Severity
from hsm_agent.spool.entries import DeadLetter
from hsm_agent.spool.queue import Queue
from hsm_agent.spool.sink_queue import is_shared

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hsm_agent.model import EventKind
    from hsm_agent.spool.tables import RowKey, StoredRows, TableName


_Pair = tuple[str, int]
_Kind = tuple["EventKind", str, Severity]
"""What a sink's queue needs to know of an entry: kind, alarm and severity of its event."""
_MINIMA = {"", *(severity.value for severity in Severity)}
_MOST = 2**53
"""Numbers rise by one with each event, or begin at the time in milliseconds: a greater one is damage."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A queue from disk, how many of its rows could not be read, and how many of those were events."""

    queue: Queue
    unreadable: int
    events_lost: int


def restore(rows: StoredRows, *, entries: int, size_bytes: int, torn: Collection[TableName] = ()) -> Restored:
    """The queue that left these rows. What was put right is in its `changes`.

    `torn` are tables of which rows are missing.
    """
    return _Restoration(Queue(entries=entries, size_bytes=size_bytes), torn).run(rows)


class _Restoration:
    """Adds what is sound of each table, and leaves out the rest. Nothing that is stored is trusted."""

    def __init__(self, queue: Queue, torn: Collection[TableName]) -> None:
        self._queue = queue
        self._torn = torn
        self._unreadable = 0
        self._entries: dict[int, _Kind] = {}
        self._lost: set[object] = set()
        self._dead_letters: set[_Pair] = set()
        self._open: dict[tuple[str, str], bool] = {}

    def run(self, rows: StoredRows) -> Restored:
        queue = self._queue
        self._read_entries(rows)
        self._share(rows)
        self._sinks(rows)
        self._dead(rows)
        self._waiting(rows)
        for seq in self._entries:
            queue.discard_if_unreferenced(seq)
        for (name, alarm_id), is_open in self._open.items():
            queue.sinks[name].sequences[alarm_id].open = is_open  # of a clear that was dropped no entry tells
        for sink_queue in queue.sinks.values():
            sink_queue.close_all()
        for (name,), (value,) in _of(rows, "tally"):
            if name == "dropped" and _is_count(value):
                queue.dropped_total = value
            else:
                self._leave_out("tally", (name,))
        return Restored(queue, self._unreadable, len(self._lost))

    def _sinks(self, rows: StoredRows) -> None:
        queue = self._queue
        for (name,), (minimum, dropped, dead_letters_total) in _of(rows, "sink"):
            if not isinstance(name, str):
                self._leave_out("sink", (name,))
                continue
            if minimum in _MINIMA and _is_count(dropped) and _is_count(dead_letters_total):
                severity = Severity(minimum) if minimum else None
                queue.add_sink(name, severity, dropped=dropped, dead_letters_total=dead_letters_total)
                continue
            # Its entries are as good as before: the configuration sets the minimum anew, and a number is lost.
            self._unreadable += 1
            totals = {"dropped": dropped, "dead_letters_total": dead_letters_total}
            sound = {total: value for total, value in totals.items() if _is_count(value)}
            queue.add_sink(name, None, **sound).store()
        # An entry waits for a sink whose own row is lost; if it is none any more, the next configuration removes it.
        for name in {name for (name, _), _ in _of(rows, "waiting") if isinstance(name, str)} - queue.sinks.keys():
            self._unreadable += 1
            queue.add_sink(name, None).store()
        for (name, alarm_id), (told, is_open) in _of(rows, "run"):
            if name in queue.sinks and isinstance(alarm_id, str):
                queue.sinks[name].restore_sequence(alarm_id, told, is_open=is_open != 0)  # damaged: open
                self._open[name, alarm_id] = is_open != 0
            else:
                self._leave_out("run", (name, alarm_id), is_damage=not isinstance(alarm_id, str))

    def _read_entries(self, rows: StoredRows) -> None:
        for (seq,), (payload,) in _of(rows, "entry"):
            event = _event(payload) if _is_count(seq) and seq <= _MOST else None
            if event is None:
                self._lost.add(seq)
                self._leave_out("entry", (seq,))
            else:
                self._entries[seq] = (event.kind, event.alarm_id, event.severity)
                self._queue.add_entry(seq, event.event_id, payload)

    def _share(self, rows: StoredRows) -> None:
        """Which entries are the group's. Where that is lost, each that may be: whoever leads has them, too."""
        for (seq,), (event_id,) in _of(rows, "shared"):
            stored = self._queue.stored.get(seq)
            # Of another event is what an older version left, which knows no group; of none is damage.
            if stored is not None and (stored.event_id == event_id or not isinstance(event_id, str)):
                self._queue.share_entry(seq, is_stored=True)
            else:
                self._leave_out("shared", (seq,), is_damage=not isinstance(seq, int))
        for seq in self._entries if "shared" in self._torn else ():
            stored = self._queue.stored[seq]
            if not stored.shared and self._entries[seq][1] and from_bytes(Event, stored.payload).source != AGENT_SOURCE:
                self._queue.share_entry(seq)

    def _waiting(self, rows: StoredRows) -> None:
        """Which sink waits for which entry. Where that is lost, each sink that may gets it: better twice than never."""
        rows_of = Counter(name for (name, _), _ in _of(rows, "waiting"))
        stored = {name for (name,), _ in _of(rows, "sink")}
        found: dict[_Pair, int] = {}
        doubtful: set[_Pair] = self._pairs() if "waiting" in self._torn else set()
        for (name, seq), (attempts,) in _of(rows, "waiting"):
            if name in self._queue.sinks and seq in self._entries:
                found[name, seq] = attempts if _is_count(attempts) else 0
                self._unreadable += not _is_count(attempts)
                if name not in stored and rows_of[name] == 1:  # a damaged name rather than a lost sink
                    doubtful |= self._pairs(seq=seq)
                continue
            is_lost = seq in self._lost or "entry" in self._torn
            self._leave_out("waiting", (name, seq), is_damage=not is_lost)
            doubtful |= set() if is_lost else self._pairs(name, seq)
        for pair in doubtful - self._dead_letters:
            found.setdefault(pair, 0)
        for name, seq in sorted(found, key=lambda pair: pair[1]):
            self._queue.add_waiting(name, seq, *self._entries[seq], found[name, seq])
            if (name, seq) in doubtful:
                self._queue.sinks[name].store_entry(seq)

    def _pairs(self, name: object = None, seq: object = None) -> set[_Pair]:
        """Which sinks may wait for which entries, going by a name and a number that may be damaged."""
        names = [each for each in self._queue.sinks if name not in self._queue.sinks or each == name]
        seqs = [each for each in self._entries if seq not in self._entries or each == seq]
        return set(product(names, seqs))

    def _dead(self, rows: StoredRows) -> None:
        for (name, seq), (reason, time) in _of(rows, "dead"):
            if name in self._queue.sinks and seq in self._entries:
                sound = isinstance(reason, str) and isinstance(time, float | int) and isfinite(time)
                self._unreadable += not sound
                self._dead_letters.add((name, seq))
                self._queue.add_dead(seq, DeadLetter(sink=name, reason=str(reason), time=time if sound else 0.0))
            else:
                self._leave_out("dead", (name, seq), is_damage=not isinstance(seq, int))

    def _leave_out(self, table: TableName, key: RowKey, *, is_damage: bool = True) -> None:
        self._unreadable += is_damage
        self._queue.changes[table, key] = None


def without_shared(rows: StoredRows) -> StoredRows:
    """Rows without those of what is the group's."""
    shared = {seq for (seq,), _ in _of(rows, "shared")}
    return {
        (table, key): row
        for (table, key), row in rows.items()
        if not (table in {"shared", "entry", "waiting", "dead"} and key[-1] in shared)
        and not (table == "run" and is_shared(row[0]))
    }


def _event(payload: object) -> Event | None:
    try:
        return from_bytes(Event, payload) if isinstance(payload, bytes) else None
    except ValueError:
        return None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value >= 0


def _of(rows: StoredRows, table: TableName) -> Iterator[tuple[Any, Any]]:
    return ((key, row) for (of_table, key), row in rows.items() if of_table == table)
