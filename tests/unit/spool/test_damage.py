"""Whatever is wrong with the spool's file: the spool opens, says so, keeps what is sound, and works."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hsm_agent.model import Severity
from hsm_agent.spool import Spool
from hsm_agent.spool.tables import COLUMNS
from tests.fakes.events import cleared, raised
from tests.fakes.examples import chosen, examples

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.spool.tables import TableName

SINKS = {"noc": None, "siem": Severity.CRITICAL}
EVENTS = [f"e{number:02}" for number in range(12)]
CELLS: dict[str, str] = {
    "text": "'many'",
    "a list": "'[1,2]'",
    "one letter off": "'warnimg'",
    "no UTF-8": "CAST(x'ff00' AS TEXT)",
    "octets": "x'00ff'",
    "huge": "9223372036854775807",
    "negative": "-5",
    "fraction": "2.5",
    "infinite": "9e999",
    "deep": f"'{9999 * '['}{9999 * ']'}'",
    "empty": "''",
}
DAMAGES = examples(60, 12)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("made")
    asyncio.run(_fill(folder))
    return folder


async def _fill(folder: Path) -> None:
    spool = await Spool.open(folder, entries=1000, size_bytes=10**7)
    await spool.register(SINKS, ())
    for number, event_id in enumerate(EVENTS):
        await spool.commit([raised(event_id, f"a{number}", Severity.CRITICAL)], {f"state {number}": "{}"})
    (first, *_) = await spool.pending("siem", 1)
    await spool.dead_letter("siem", first.seq, "refused")
    shared = spool.address([cleared("c11", "a11")])
    await spool.commit_addressed(shared, {}, shared=True)
    await spool.close()


async def _opened(folder: Path) -> tuple[Spool, dict[str, set[str]]]:
    """The spool after a start, and who still waits for which event."""
    spool = await Spool.open(folder, entries=1000, size_bytes=10**7)
    await spool.states()
    await spool.register(SINKS, ())
    waiting: dict[str, set[str]] = {"noc": set(), "siem": set()}
    for entry in await spool.entries():
        for sink in entry.waiting:
            waiting[sink].add(entry.event.event_id)
    return spool, waiting


async def _works(spool: Spool) -> None:
    await spool.commit([raised("new", "new", Severity.CRITICAL)], {"new": "{}"})
    pending = await spool.pending("noc", 1000)
    assert pending[-1].event.event_id == "new"
    await spool.accepted("noc", [entry.seq for entry in pending])
    await spool.close(flush_seconds=0.05)  # some files of these tests are never written


@pytest.mark.parametrize(
    ("table", "column", "cell"),
    chosen(
        [
            (table, column, cell)
            for cell in CELLS
            for table, (keys, values) in COLUMNS.items()
            for column in (*keys, *values)
        ],
        5,
    ),
)
async def test_one_damaged_cell_costs_its_row_at_most(
    tmp_path: Path, made: Path, table: TableName, column: str, cell: str
) -> None:
    folder = tmp_path / "state"
    shutil.copytree(made, folder)
    with closing(sqlite3.connect(folder / "spool.db", isolation_level=None)) as connection:
        keys = COLUMNS[table][0]
        row = connection.execute(f"SELECT {', '.join(keys)} FROM {table} ORDER BY 1, {keys[-1]} LIMIT 1").fetchone()
        where = " AND ".join(f"{name} = ?" for name in keys)
        with contextlib.suppress(sqlite3.IntegrityError):  # a number of an entry is a number: SQLite sees to that
            connection.execute(f"UPDATE {table} SET {column} = {CELLS[cell]} WHERE {where}", row)

    spool, waiting = await _opened(folder)

    lost = set(EVENTS) - waiting["noc"]
    assert len(lost) <= (1 if table == "entry" else 0), lost
    assert len(set(EVENTS[1:]) - waiting["siem"]) <= (1 if table == "entry" else 0)
    assert not spool.stats().failed
    await _works(spool)


@pytest.mark.parametrize("seed", range(DAMAGES))
async def test_random_damage_ends_nothing(tmp_path: Path, made: Path, seed: int) -> None:
    chance = random.Random(seed)
    folder = tmp_path / "state"
    shutil.copytree(made, folder)
    data = bytearray((folder / "spool.db").read_bytes())
    if seed % 3 == 0:
        data = data[: chance.randrange(len(data))]
    for _ in range(chance.choice((1, 1, 3, 50))):
        start = chance.randrange(max(1, len(data)))
        length = chance.choice((1, 1, 4, 100, 4096))
        data[start : start + length] = chance.randbytes(length) if seed % 2 else bytes(length)
    (folder / "spool.db").write_bytes(data)

    spool, _ = await _opened(folder)

    if spool.stats().failed:  # then it lives from memory, and says why
        assert spool.stats().reason
    await _works(spool)


@pytest.mark.parametrize("name", ["spool.db", "spool.db-wal", "lock", "spool.ballast"])
@pytest.mark.parametrize("kind", ["folder", "link", "noise", "empty"])
async def test_what_stands_in_the_place_of_a_file_ends_nothing(
    tmp_path: Path, made: Path, name: str, kind: str
) -> None:
    folder = tmp_path / "state"
    shutil.copytree(made, folder)
    target = tmp_path / "target"
    target.write_bytes(b"not ours")
    (folder / name).unlink(missing_ok=True)
    match kind:
        case "folder":
            (folder / name).mkdir()
        case "link":
            (folder / name).symlink_to(target)
        case "noise":
            (folder / name).write_bytes(random.Random(name).randbytes(9999))
        case _:
            (folder / name).touch()

    spool, waiting = await _opened(folder)

    assert waiting["noc"] >= set(EVENTS) or name in {"spool.db", "lock"}
    await _works(spool)
    assert target.read_bytes() == b"not ours"
