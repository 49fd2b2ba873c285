"""The file: opened, checked, written, set aside when damaged, put right when removed."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hsm_agent.spool.disk import RESERVE_BYTES, Disk, DiskTrouble, StoredSpool
from hsm_agent.spool.tables import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hsm_agent.spool.tables import RowChanges, StoredRows

ROWS: StoredRows = {
    ("sink", ("noc",)): ("", 0, 0),
    ("entry", (1,)): (b"{}",),
    ("waiting", ("noc", 1)): (0,),
    ("run", ("noc", "a")): (1, 0),
    ("dead", ("noc", 1)): ("refused", 5.5),
    ("tally", ("dropped",)): (3,),
}
STATE: StoredRows = {("state", ("alarm/1",)): ("raised",)}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "state")
    assert disk.open() == StoredSpool(fresh=True)
    yield disk
    disk.close({})


def _reopened(disk: Disk) -> StoredSpool:
    disk.close({})
    return disk.open()


def test_what_is_written_is_read_back(disk: Disk) -> None:
    disk.apply({**ROWS, **STATE}, durable=True)

    assert _reopened(disk) == StoredSpool(rows=ROWS, same=True)
    assert disk.states("alarm/") == {"alarm/1": "raised"}
    assert disk.states("") == {"alarm/1": "raised"}


def test_a_table_of_a_group_is_made_when_something_is_first_in_it(disk: Disk) -> None:
    disk.apply({("shared", (1,)): None}, durable=True)
    with pytest.raises(DiskTrouble):
        disk.apply({("shared", (1,)): ("e",), ("entry", (1,)): (None,)}, durable=True)
    before = _reopened(disk).rows
    for _ in range(2):
        disk.apply({("shared", (1,)): ("e",), ("shared", (2,)): None}, durable=True)
    made = _reopened(disk).rows
    disk.apply({("shared", (1,)): None}, durable=True)

    assert (before, made) == ({}, {("shared", (1,)): ("e",)})
    assert _reopened(disk).rows == {}


def test_none_erases(disk: Disk) -> None:
    disk.apply(dict(ROWS), durable=True)

    disk.apply(dict.fromkeys(ROWS), durable=True)

    assert _reopened(disk).rows == {}


def test_entries_are_let_go_before_the_rest(disk: Disk) -> None:
    many: StoredRows = {("entry", (seq,)): (b"{}",) for seq in range(200)}
    disk.apply({**many, **STATE}, durable=True)

    left = disk.apply_releases({**dict.fromkeys(many), **dict.fromkeys(STATE), ("tally", ("dropped",)): (4,)})

    assert left == {**dict.fromkeys(STATE), ("tally", ("dropped",)): (4,)}
    assert _reopened(disk).rows == {}
    assert disk.states("") == {"alarm/1": "raised"}


def test_all_of_it_or_nothing(disk: Disk) -> None:
    bad: RowChanges = {("tally", ("dropped",)): (4,), ("entry", (1,)): (None,)}

    with pytest.raises(DiskTrouble, match="NOT NULL"):
        disk.apply(bad, durable=True)

    assert disk.open().rows == {}


def test_files_are_private(disk: Disk, tmp_path: Path) -> None:
    disk.apply(dict(ROWS), durable=True)

    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}

    assert found == dict.fromkeys(["lock", "spool.ballast", "spool.db", "spool.db-wal"], 0o600)


@pytest.mark.parametrize("durable", [True, False])
def test_only_what_must_be_durable_is_flushed(disk: Disk, durable: bool) -> None:
    disk.apply(dict(ROWS), durable=durable)

    assert disk._connection is not None
    (level,) = disk._connection.execute("PRAGMA synchronous").fetchone()
    assert level == (2 if durable else 1)
    assert disk._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("garbage", [b"this is no database at all, whatever it is called " * 40])
def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "spool.db").write_bytes(garbage)
    disk = Disk(tmp_path)

    loaded = disk.open()

    assert loaded == StoredSpool(damage="file is not a database (SQLITE_NOTADB)", torn=frozenset(COLUMNS), fresh=True)
    (aside,) = tmp_path.glob("spool.db.damaged-*")
    assert aside.read_bytes() == garbage
    disk.apply(dict(ROWS), durable=True)
    assert _reopened(disk).rows == ROWS
    disk.close({})


def test_what_is_readable_of_a_damaged_file_is_kept(disk: Disk, tmp_path: Path) -> None:
    big: StoredRows = {("entry", (seq,)): (b"x" * 3000,) for seq in range(1, 100)}
    disk.apply({**big, **ROWS, **STATE}, durable=True)
    disk.close({})
    with closing(sqlite3.connect(tmp_path / "state" / "spool.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'waiting'").fetchone()
    with (tmp_path / "state" / "spool.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xaa" * 4096)

    loaded = disk.open()

    assert loaded.damage
    assert loaded.fresh
    assert loaded.rows == {key: row for key, row in {**big, **ROWS, **STATE}.items() if key[0] != "waiting"}


def test_few_damaged_files_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"spool.db.damaged-2026010{number}T000000Z").touch()
        (tmp_path / f"spool.db.damaged-2026010{number}T000000Z-wal").touch()
    (tmp_path / "spool.db").write_bytes(b"garbage" * 1000)
    disk = Disk(tmp_path)

    disk.open()

    assert len(list(tmp_path.glob("spool.db.damaged-*Z"))) == 3
    assert len(list(tmp_path.glob("spool.db.damaged-*-wal"))) == 2
    disk.close({})


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "spool.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    disk = Disk(tmp_path)

    with pytest.raises(DiskTrouble, match=r"was written by a newer hsm-agent \(schema 99\)"):
        disk.open()

    assert not list(tmp_path.glob("*.damaged-*"))
    disk.close({})


def test_a_file_that_was_removed_is_not_written_into_the_void(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "state" / "spool.db").unlink()

    with pytest.raises(DiskTrouble, match=r"spool\.db was removed or replaced"):
        disk.apply(dict(ROWS), durable=True)

    assert not disk.is_open
    assert disk.open() == StoredSpool(fresh=True)
    disk.apply(dict(ROWS), durable=True)


def test_freed_pages_go_back_to_the_file_system(disk: Disk, tmp_path: Path) -> None:
    big: StoredRows = {("entry", (seq,)): (b"x" * 4000,) for seq in range(600)}
    disk.apply(dict(big), durable=True)
    disk.tidy()
    file, wal = tmp_path / "state" / "spool.db", tmp_path / "state" / "spool.db-wal"
    assert (file.stat().st_size > 2_000_000, wal.stat().st_size) == (True, 0)

    disk.apply(dict.fromkeys(big), durable=True)
    steps = 1
    while disk.tidy():
        steps += 1

    assert steps == 2
    assert (file.stat().st_size < 1_100_000, wal.stat().st_size) == (True, 0)


def test_the_reserve_is_there_from_the_start_and_comes_back(disk: Disk, tmp_path: Path) -> None:
    ballast = tmp_path / "state" / "spool.ballast"
    assert ballast.stat().st_size == RESERVE_BYTES
    ballast.unlink()

    disk.tidy()

    assert ballast.stat().st_size == RESERVE_BYTES


def test_a_full_file_frees_the_reserve_and_changes_nothing(disk: Disk, tmp_path: Path) -> None:
    assert disk._connection is not None
    disk._connection.execute("PRAGMA max_page_count = 20")

    with pytest.raises(DiskTrouble, match="full"):
        disk.apply({("entry", (seq,)): (b"x" * 4000,) for seq in range(100)}, durable=True)

    assert disk.is_open
    assert not (tmp_path / "state" / "spool.ballast").exists()
    assert _reopened(disk).rows == {}


def test_the_reserve_is_for_letting_go(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: RowChanges = {("entry", (1,)): (b"x" * 10**6,), ("waiting", ("noc", 1)): None}
    (tmp_path / "state" / "spool.ballast").unlink()
    disk.require_room(changes)
    assert (tmp_path / "state" / "spool.ballast").stat().st_size == RESERVE_BYTES
    (tmp_path / "state" / "spool.ballast").unlink()
    monkeypatch.setattr("os.statvfs", lambda _: type("Full", (), {"f_bavail": 256, "f_frsize": 4096}))

    with pytest.raises(DiskTrouble, match="disk full: 1024 KiB free, 4001 KiB needed"):
        disk.require_room(changes)


def test_what_is_not_open_says_so(tmp_path: Path) -> None:
    disk = Disk(tmp_path)

    with pytest.raises(DiskTrouble, match="not open"):
        disk.apply({}, durable=True)
    with pytest.raises(DiskTrouble, match="not open"):
        disk.states("")
    assert not disk.tidy()
    disk.close({})
