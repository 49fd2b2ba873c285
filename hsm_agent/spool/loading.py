"""From stored rows back to a ledger. Rows that contradict each other are put right, not trusted; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.model import Severity
from hsm_agent.spool.codec import decode
from hsm_agent.spool.ledger import Ledger
from hsm_agent.spool.records import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hsm_agent.model import EventKind
    from hsm_agent.spool.rows import Rows, Table


_Kind = tuple["EventKind", str]
"""What a cursor needs to know of an entry: the kind of its event, and the alarm."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A ledger from disk, and how many entries of it could not be read."""

    ledger: Ledger
    unreadable: int


def restore(rows: Rows, *, entries: int, size: int) -> Restored:
    """The ledger that left these rows. What it puts right is in its `changes`."""
    ledger = Ledger(entries=entries, size=size)
    for (name,), (minimum, dropped, buried) in _of(rows, "sink"):
        ledger.add_sink(name, Severity(minimum) if minimum else None, dropped=dropped, buried=buried)
    for (name, alarm_id), (told, is_open) in _of(rows, "run"):
        if name in ledger.cursors:
            ledger.cursors[name].restore_run(alarm_id, told=bool(told), is_open=bool(is_open))
        else:
            ledger.changes.erase("run", (name, alarm_id))
    entries_read, unreadable = _entries(rows, ledger)
    _holders(rows, ledger, entries_read)
    for seq in entries_read:
        ledger.discard_if_unheld(seq)
    for cursor in ledger.cursors.values():
        cursor.settle_all()
    ledger.dropped_total = next((value for _, (value,) in _of(rows, "tally")), 0)
    return Restored(ledger, unreadable)


def _entries(rows: Rows, ledger: Ledger) -> tuple[dict[int, _Kind], int]:
    found: dict[int, _Kind] = {}
    unreadable = 0
    for (seq,), (payload,) in _of(rows, "entry"):
        try:
            event = decode(payload)
        except ValueError:
            unreadable += 1
            ledger.changes.erase("entry", (seq,))
        else:
            found[seq] = (event.kind, event.alarm_id)
            ledger.add_entry(seq, event.event_id, payload)
    return found, unreadable


def _holders(rows: Rows, ledger: Ledger, entries: dict[int, _Kind]) -> None:
    for (name, seq), (attempts,) in sorted(_of(rows, "waiting"), key=lambda row: int(row[0][1])):
        if name in ledger.cursors and seq in entries:
            ledger.add_waiting(name, seq, *entries[seq], attempts)
        else:
            ledger.changes.erase("waiting", (name, seq))
    for (name, seq), (reason, time) in _of(rows, "dead"):
        if name in ledger.cursors and seq in entries:
            ledger.add_dead(seq, DeadLetter(sink=name, reason=reason, time=time))
        else:
            ledger.changes.erase("dead", (name, seq))


def _of(rows: Rows, table: Table) -> Iterator[tuple[Any, Any]]:
    return ((key, row) for (of_table, key), row in rows.items() if of_table == table)
