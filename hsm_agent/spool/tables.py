"""The tables of the spool's file: rows and changes of rows, the SQL for them, and damaged cells.

A change replaces or erases one whole row, so applying it twice, or after a COMMIT of unknown outcome, is harmless.
The names of tables and columns are those of the files that older versions wrote; `run` holds alarm sequences, `told`
whether the sink was notified, `buried` how many dead letters there were.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

TableName = Literal["sink", "entry", "waiting", "dead", "run", "state", "tally", "shared"]
RowKey = tuple[str | int, ...]
RowValues = tuple[Any, ...]
StoredRow = tuple[tuple[TableName, RowKey], RowValues]
"""A row with its table and key."""
StoredRows = dict[tuple[TableName, RowKey], RowValues]
"""Rows by table and key."""
RowChanges = dict[tuple[TableName, RowKey], RowValues | None]
"""New rows by table and key; None erases."""

COLUMNS: dict[TableName, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sink": (("name",), ("minimum_severity", "dropped", "buried")),
    "entry": (("seq",), ("payload",)),
    "waiting": (("sink", "seq"), ("attempts",)),
    "dead": (("sink", "seq"), ("reason", "time")),
    "run": (("sink", "alarm_id"), ("told", "open")),
    "state": (("key",), ("value",)),
    "tally": (("name",), ("value",)),
    "shared": (("seq",), ("event_id",)),
}
"""Key columns and other columns of each table."""
LAZY: dict[TableName, str] = {
    "shared": "CREATE TABLE IF NOT EXISTS shared (seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL)",
}
"""Tables that are made when something is first written to them: by an agent in a group. An older one passes over them;
the event ID tells an entry from a later one of the same number."""

VERSION = 1
"""Raised with every change of the tables that an older agent can't read."""

CREATE = f"""
CREATE TABLE sink (name TEXT PRIMARY KEY, minimum_severity TEXT NOT NULL, dropped INTEGER NOT NULL,
                   buried INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE entry (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE waiting (sink TEXT NOT NULL, seq INTEGER NOT NULL, attempts INTEGER NOT NULL,
                      PRIMARY KEY (sink, seq)) WITHOUT ROWID;
CREATE TABLE dead (sink TEXT NOT NULL, seq INTEGER NOT NULL, reason TEXT NOT NULL, time REAL NOT NULL,
                   PRIMARY KEY (sink, seq)) WITHOUT ROWID;
CREATE TABLE run (sink TEXT NOT NULL, alarm_id TEXT NOT NULL, told INTEGER NOT NULL, open INTEGER NOT NULL,
                  PRIMARY KEY (sink, alarm_id)) WITHOUT ROWID;
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""

CREATE_PRAGMAS = (
    # Kept in the file. Before the first table: freed pages can be given back to the file system.
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
)
PRAGMAS = (
    # None of them writes: a full disk can still be read.
    # The file is this process's alone (DirectoryLock): no shared-memory file that a full disk could refuse.
    "PRAGMA locking_mode = EXCLUSIVE",
    # A small log: on a full disk it is the room that a checkpoint gives back.
    "PRAGMA wal_autocheckpoint = 256",
    "PRAGMA journal_size_limit = 1048576",
)


def text_bytes(changes: RowChanges) -> int:
    """About how many bytes the new rows are, without SQLite's own."""
    values = (value for (_, key), row in changes.items() if row is not None for value in (*key, *row))
    return sum(len(value) for value in values if isinstance(value, str | bytes))


def _put(table: TableName) -> str:
    key, others = COLUMNS[table]
    names = key + others
    marks = ", ".join("?" * len(names))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - own names


def _erase(table: TableName) -> str:
    return f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in COLUMNS[table][0])}"  # noqa: S608 - own names


def _select(table: TableName, direction: str = "") -> str:
    key, others = COLUMNS[table]
    order = ", ".join(f"{name}{direction}" for name in key)
    return f"SELECT {', '.join(key + others)} FROM {table} ORDER BY {order}"  # noqa: S608 - own names


PUT = {table: _put(table) for table in COLUMNS}
ERASE = {table: _erase(table) for table in COLUMNS}
_STATES = "SELECT key, value FROM state WHERE substr(key, 1, ?) = ? ORDER BY key"


def decode_text(octets: bytes) -> str | bytes:
    """For `Connection.text_factory`: text, or the octets where that is no UTF-8.

    An exception here would hide the rows behind the damaged cell.
    """
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


def read_states(connection: sqlite3.Connection, prefix: str) -> dict[str, str]:
    """Stored states whose key begins so; a damaged one under a key and a value that stand for no state."""
    return {
        key if (sound := isinstance(key, str) and isinstance(value, str)) else repr(key): value if sound else ""
        for key, value in connection.execute(_STATES, (len(prefix), prefix))
    }


def missing_tables(connection: sqlite3.Connection) -> set[TableName]:
    """Which of the tables that are made later are not there yet."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {table for table in LAZY if table not in there}


def read_rows(connection: sqlite3.Connection) -> StoredRows:
    """Every row of every table but the states, of which there are many: they are read by prefix."""
    rows: StoredRows = {}
    missing = missing_tables(connection)
    for table in COLUMNS:
        if table != "state" and table not in missing:
            _take(rows, table, connection.execute(_select(table)))
    return rows


def salvage(connection: sqlite3.Connection | None) -> tuple[StoredRows, frozenset[TableName]]:
    """Every row that can be read, states too, and the tables of which rows may be missing."""
    rows: StoredRows = {}
    torn: set[TableName] = set()
    for table in COLUMNS if connection is not None else ():
        # From the first row up to what is damaged, and from the last one down to it.
        for statement in (_select(table), _select(table, " DESC")):
            try:
                assert connection is not None
                _take(rows, table, connection.execute(statement))
            except (sqlite3.Error, UnicodeDecodeError) as error:  # that the file is damaged is known, and logged
                if table not in LAZY or "no such table" not in str(error):
                    torn.add(table)
    return rows, frozenset(torn)


def _take(rows: StoredRows, table: TableName, found: Iterable[RowValues]) -> None:
    width = len(COLUMNS[table][0])
    for row in found:
        rows[table, row[:width]] = row[width:]
