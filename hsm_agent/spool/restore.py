"""From stored rows back to a ledger. Rows that contradict each other are put right, not trusted; pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeGuard

from hsm_agent.model import Severity
from hsm_agent.spool.event_codec import decode
from hsm_agent.spool.queue import Ledger
from hsm_agent.spool.records import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hsm_agent.model import Event, EventKind
    from hsm_agent.spool.changes import Key, Rows, Table


_Pair = tuple[str, int]
_Kind = tuple["EventKind", str]
"""What a cursor needs to know of an entry: the kind of its event, and the alarm."""
_MINIMA = {"", *(severity.value for severity in Severity)}
_MOST = 2**53
"""Numbers rise by one with each event, or begin at the time in milliseconds: more is damage."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A ledger from disk, how many of its rows could not be read, and how many of those were events."""

    ledger: Ledger
    unreadable: int
    events_lost: int


def restore(rows: Rows, *, entries: int, size: int, torn: Collection[Table] = ()) -> Restored:
    """The ledger that left these rows. What it puts right is in its `changes`.

    `torn` are tables of which rows are missing.
    """
    return _Restoration(Ledger(entries=entries, size=size), torn).run(rows)


class _Restoration:
    """Takes in what is sound of each table, and leaves out the rest. Nothing that is stored is trusted."""

    def __init__(self, ledger: Ledger, torn: Collection[Table]) -> None:
        self._ledger = ledger
        self._torn = torn
        self._unreadable = 0
        self._entries: dict[int, _Kind] = {}
        self._lost: set[object] = set()
        self._buried: set[_Pair] = set()

    def run(self, rows: Rows) -> Restored:
        ledger = self._ledger
        self._read_entries(rows)
        self._sinks(rows)
        self._dead(rows)
        self._waiting(rows)
        for seq in self._entries:
            ledger.discard_if_unheld(seq)
        for cursor in ledger.cursors.values():
            cursor.settle_all()
        for (name,), (value,) in _of(rows, "tally"):
            if name == "dropped" and _is_count(value):
                ledger.dropped_total = value
            else:
                self._leave_out("tally", (name,))
        return Restored(ledger, self._unreadable, len(self._lost))

    def _sinks(self, rows: Rows) -> None:
        ledger = self._ledger
        for (name,), (minimum, dropped, buried) in _of(rows, "sink"):
            if not isinstance(name, str):
                self._leave_out("sink", (name,))
                continue
            if minimum in _MINIMA and _is_count(dropped) and _is_count(buried):
                ledger.add_sink(name, Severity(minimum) if minimum else None, dropped=dropped, buried=buried)
                continue
            # Its queue is as good as before: a minimum is set by the next configuration, a number is lost.
            self._unreadable += 1
            totals = {"dropped": dropped, "buried": buried}
            sound = {total: value for total, value in totals.items() if _is_count(value)}
            ledger.add_sink(name, None, **sound).store()
        # Whoever is waited for was a sink; if it is none any more, the configuration will say so.
        for name in {name for (name, _), _ in _of(rows, "waiting") if isinstance(name, str)} - ledger.cursors.keys():
            self._unreadable += 1
            ledger.add_sink(name, None).store()
        for (name, alarm_id), (told, is_open) in _of(rows, "run"):
            if name in ledger.cursors and isinstance(alarm_id, str):
                # Where it is not known, it is taken for told and on: then its clear is told, and too much at worst.
                ledger.cursors[name].restore_run(alarm_id, told=told != 0, is_open=is_open != 0)
            else:
                self._leave_out("run", (name, alarm_id), is_damage=not isinstance(alarm_id, str))

    def _read_entries(self, rows: Rows) -> None:
        for (seq,), (payload,) in _of(rows, "entry"):
            event = _event(payload) if _is_count(seq) and seq <= _MOST else None
            if event is None:
                self._lost.add(seq)
                self._leave_out("entry", (seq,))
            else:
                self._entries[seq] = (event.kind, event.alarm_id)
                self._ledger.add_entry(seq, event.event_id, payload)

    def _waiting(self, rows: Rows) -> None:
        """Who waits for what. Where that is not known any more, whoever may is told: twice is better than never."""
        rows_of = Counter(name for (name, _), _ in _of(rows, "waiting"))
        stored = {name for (name,), _ in _of(rows, "sink")}
        found: dict[_Pair, int] = {}
        doubtful: set[_Pair] = self._pairs() if "waiting" in self._torn else set()
        for (name, seq), (attempts,) in _of(rows, "waiting"):
            if name in self._ledger.cursors and seq in self._entries:
                found[name, seq] = attempts if _is_count(attempts) else 0
                self._unreadable += not _is_count(attempts)
                if name not in stored and rows_of[name] == 1:  # a damaged name rather than a lost sink
                    doubtful |= self._pairs(seq=seq)
                continue
            is_lost = seq in self._lost or "entry" in self._torn
            self._leave_out("waiting", (name, seq), is_damage=not is_lost)
            doubtful |= set() if is_lost else self._pairs(name, seq)
        for pair in doubtful - self._buried:
            found.setdefault(pair, 0)
        for name, seq in sorted(found, key=lambda pair: pair[1]):
            self._ledger.add_waiting(name, seq, *self._entries[seq], found[name, seq])
            if (name, seq) in doubtful:
                self._ledger.cursors[name].store_place(seq)

    def _pairs(self, name: object = None, seq: object = None) -> set[_Pair]:
        """Who may wait for what, going by a name and a number that may be damaged."""
        names = [each for each in self._ledger.cursors if name not in self._ledger.cursors or each == name]
        seqs = [each for each in self._entries if seq not in self._entries or each == seq]
        return set(product(names, seqs))

    def _dead(self, rows: Rows) -> None:
        for (name, seq), (reason, time) in _of(rows, "dead"):
            if name in self._ledger.cursors and seq in self._entries:
                sound = isinstance(reason, str) and isinstance(time, float | int) and isfinite(time)
                self._unreadable += not sound
                self._buried.add((name, seq))
                self._ledger.add_dead(seq, DeadLetter(sink=name, reason=str(reason), time=time if sound else 0.0))
            else:
                self._leave_out("dead", (name, seq), is_damage=not isinstance(seq, int))

    def _leave_out(self, table: Table, key: Key, *, is_damage: bool = True) -> None:
        self._unreadable += is_damage
        self._ledger.changes.erase(table, key)


def _event(payload: object) -> Event | None:
    try:
        return decode(payload) if isinstance(payload, bytes) else None
    except ValueError:
        return None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value >= 0


def _of(rows: Rows, table: Table) -> Iterator[tuple[Any, Any]]:
    return ((key, row) for (of_table, key), row in rows.items() if of_table == table)
