"""Rows out of the spool's file, whatever is in its cells."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from hsm_agent.spool import schema
from hsm_agent.spool.changes import COLUMNS

if TYPE_CHECKING:
    from hsm_agent.spool.changes import Key, Row, Rows, Table


def text(octets: bytes) -> str | bytes:
    """Text, or the octets where that is no UTF-8: one such cell must not hide the rows behind it."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


def state(row: tuple[object, object]) -> tuple[str, str]:
    """A state; of one that is no text something that nobody takes for a state."""
    key, value = row
    return (key, value) if isinstance(key, str) and isinstance(value, str) else (repr(key), "")


def read(connection: sqlite3.Connection, *, states: bool) -> Rows:
    """Every row of every table, of the states only if asked."""
    rows: Rows = {}
    for table in COLUMNS:
        if table != "state" or states:
            _take(rows, table, connection.execute(schema.SELECT[table]))
    return rows


def salvage(connection: sqlite3.Connection | None) -> tuple[Rows, frozenset[Table]]:
    """Every row that can be read, from the first up to what is damaged and from the last down to that.

    And the tables of which rows may be missing.
    """
    rows: Rows = {}
    torn: set[Table] = set()
    for table in COLUMNS if connection is not None else ():
        for statement in (schema.SELECT[table], schema.SELECT_BACKWARDS[table]):
            try:
                assert connection is not None
                _take(rows, table, connection.execute(statement))
            except (sqlite3.Error, UnicodeDecodeError):  # that the file is damaged is known, and told
                torn.add(table)
    return rows, frozenset(torn)


def _take(rows: Rows, table: Table, found: sqlite3.Cursor) -> None:
    width = len(COLUMNS[table][0])
    row: Row
    for row in found:
        key: Key = row[:width]
        rows[table, key] = row[width:]
