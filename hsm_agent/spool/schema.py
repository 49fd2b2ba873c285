"""The spool's file: its tables and the statements on them. SQL text only; nothing here opens anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.spool.changes import COLUMNS

if TYPE_CHECKING:
    from hsm_agent.spool.changes import Changes, Row, Table

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
    # The file is this process's alone (directory.py): no shared-memory file that a full disk could refuse.
    "PRAGMA locking_mode = EXCLUSIVE",
    # A small log: on a full disk it is the room that a checkpoint gives back.
    "PRAGMA wal_autocheckpoint = 256",
    "PRAGMA journal_size_limit = 1048576",
)


def _put(table: Table) -> str:
    key, others = COLUMNS[table]
    names = key + others
    marks = ", ".join("?" * len(names))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - own names


def _erase(table: Table) -> str:
    return f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in COLUMNS[table][0])}"  # noqa: S608 - own names


def _select(table: Table, direction: str = "") -> str:
    key, others = COLUMNS[table]
    order = ", ".join(f"{name}{direction}" for name in key)
    return f"SELECT {', '.join(key + others)} FROM {table} ORDER BY {order}"  # noqa: S608 - own names


PUT: dict[Table, str] = {table: _put(table) for table in COLUMNS}
ERASE: dict[Table, str] = {table: _erase(table) for table in COLUMNS}
SELECT: dict[Table, str] = {table: _select(table) for table in COLUMNS}
SELECT_BACKWARDS: dict[Table, str] = {table: _select(table, " DESC") for table in COLUMNS}
STATES = "SELECT key, value FROM state WHERE substr(key, 1, ?) = ? ORDER BY key"


def statements(changes: Changes) -> dict[str, list[Row]]:
    """What to execute for these changes, each with its parameters."""
    grouped: dict[str, list[Row]] = {}
    for (table, key), row in changes.items():
        if row is None:
            grouped.setdefault(ERASE[table], []).append(key)
        else:
            grouped.setdefault(PUT[table], []).append((*key, *row))
    return grouped
