"""Rows and changes of rows: the statements fit the tables, and what of a damaged file can be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hsm_agent.spool import tables
from hsm_agent.spool.tables import COLUMNS, TableName

if TYPE_CHECKING:
    from pathlib import Path


def _made(path: Path | str = ":memory:") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = tables.decode_text
    connection.executescript(tables.CREATE)
    for statement in tables.LAZY.values():
        connection.execute(statement)
    return connection


def _execute(connection: sqlite3.Connection, changes: tables.RowChanges) -> None:
    for (table, key), row in changes.items():
        connection.execute(*((tables.ERASE[table], key) if row is None else (tables.PUT[table], (*key, *row))))


@pytest.mark.parametrize("table", COLUMNS)
def test_a_row_is_put_replaced_read_and_erased(table: TableName) -> None:
    names, others = COLUMNS[table]
    key = tuple(range(len(names)))
    with closing(_made()) as connection:
        _execute(connection, {(table, key): tuple(0 for _ in others)})
        _execute(connection, {(table, key): tuple(7 for _ in others)})

        (row,) = connection.execute(f"SELECT * FROM {table}")
        assert [float(value) for value in row] == [*key, *(7 for _ in others)]

        _execute(connection, {(table, key): None})
        assert list(connection.execute(f"SELECT * FROM {table}")) == []


def test_states_are_found_by_a_prefix_taken_literally() -> None:
    with closing(_made()) as connection:
        _execute(connection, {("state", (key,)): ("x",) for key in ("alarm/1", "alarm%2", "Alarm/3", "other")})

        assert tables.read_states(connection, "alarm/") == {"alarm/1": "x"}
        assert tables.read_states(connection, "alarm%") == {"alarm%2": "x"}


def test_the_version_is_in_the_file() -> None:
    with closing(_made()) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (tables.VERSION,)


def test_text_that_is_no_text_hides_nothing_behind_it(tmp_path: Path) -> None:
    with closing(_made(tmp_path / "spool.db")) as connection:
        connection.execute(
            "INSERT INTO sink VALUES ('a', '', 0, 0), (CAST(x'ff' AS TEXT), '', 0, 0), ('z', '', 'x', 0)"
        )
        connection.execute("INSERT INTO state VALUES ('k', 'v'), (CAST(x'fe' AS TEXT), 'v'), ('n', 5)")

        rows = tables.read_rows(connection)
        states = tables.read_states(connection, "")

    assert rows["sink", ("z",)] == ("", "x", 0)
    assert len(rows) == 3
    assert states == {"k": "v", "n": "5", "b'\\xfe'": ""}


def test_states_are_salvaged_but_not_read_with_the_other_rows(tmp_path: Path) -> None:
    with closing(_made(tmp_path / "spool.db")) as connection:
        connection.execute("INSERT INTO state VALUES ('k', 'v')")

        assert tables.read_rows(connection) == {}
        assert tables.salvage(connection) == ({("state", ("k",)): ("v",)}, frozenset())


def test_behind_a_damaged_page_the_rows_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    with closing(_made(path)) as connection:
        connection.executemany("INSERT INTO entry VALUES (?, ?)", [(seq, bytes(1500)) for seq in range(1, 200)])
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entry'").fetchall()
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    data = bytearray(path.read_bytes())
    middle = (max(root, pages // 2)) * 4096
    data[middle : middle + 4096] = 4096 * b"\xaa"
    path.write_bytes(data)

    with closing(sqlite3.connect(path)) as connection:
        rows, torn = tables.salvage(connection)

    found = [key[0] for _, key in rows]
    assert torn == {"entry"}

    assert {1, 2, 3, 197, 198, 199} <= set(found)
    assert len(found) >= 190


def test_where_there_is_no_file_nothing_is_read() -> None:
    assert tables.salvage(None) == ({}, frozenset())
