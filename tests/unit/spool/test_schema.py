"""The statements fit the tables."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from hsm_agent.spool import schema
from hsm_agent.spool.changes import COLUMNS, Table


@pytest.mark.parametrize("table", COLUMNS)
def test_a_row_is_put_replaced_read_and_erased(table: Table) -> None:
    key, others = COLUMNS[table]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema.CREATE)
        connection.execute(schema.PUT[table], tuple(range(len(key + others))))
        replaced = (*range(len(key)), *(7 for _ in others))
        connection.execute(schema.PUT[table], replaced)

        (row,) = connection.execute(schema.SELECT[table])
        assert [float(value) for value in row] == list(replaced)

        connection.execute(schema.ERASE[table], tuple(range(len(key))))
        assert list(connection.execute(schema.SELECT[table])) == []


def test_states_are_found_by_a_prefix_taken_literally() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema.CREATE)
        for key in ("alarm/1", "alarm%2", "Alarm/3", "other"):
            connection.execute(schema.PUT["state"], (key, "x"))

        assert [row[0] for row in connection.execute(schema.STATES, (6, "alarm/"))] == ["alarm/1"]
        assert [row[0] for row in connection.execute(schema.STATES, (6, "alarm%"))] == ["alarm%2"]


def test_the_version_is_in_the_file() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema.CREATE)

        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
