"""Cells that hold what they should not, and what of a damaged file can be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from hsm_agent.spool import reading, schema

if TYPE_CHECKING:
    from pathlib import Path


def _made(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = reading.text
    connection.executescript(schema.CREATE)
    return connection


def test_text_that_is_no_text_hides_nothing_behind_it(tmp_path: Path) -> None:
    with closing(_made(tmp_path / "spool.db")) as connection:
        connection.execute(
            "INSERT INTO sink VALUES ('a', '', 0, 0), (CAST(x'ff' AS TEXT), '', 0, 0), ('z', '', 'x', 0)"
        )
        connection.execute("INSERT INTO state VALUES ('k', 'v'), (CAST(x'fe' AS TEXT), 'v'), ('n', 5)")

        rows = reading.read(connection, states=True)
        states = dict(map(reading.state, connection.execute(schema.STATES, (0, ""))))

    assert rows["sink", ("z",)] == ("", "x", 0)
    assert len(rows) == 6
    assert states == {"k": "v", "n": "5", "b'\\xfe'": ""}


def test_states_are_read_only_if_asked(tmp_path: Path) -> None:
    with closing(_made(tmp_path / "spool.db")) as connection:
        connection.execute("INSERT INTO state VALUES ('k', 'v')")

        assert reading.read(connection, states=False) == {}
        assert reading.read(connection, states=True) == {("state", ("k",)): ("v",)}


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
        rows, torn = reading.salvage(connection)

    found = [key[0] for _, key in rows]
    assert torn == {"entry"}

    assert {1, 2, 3, 197, 198, 199} <= set(found)
    assert len(found) >= 190


def test_where_there_is_no_file_nothing_is_read() -> None:
    assert reading.salvage(None) == ({}, frozenset())
