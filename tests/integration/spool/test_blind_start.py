"""A spool whose file can't be read at the start begins in memory, and takes in the old entries when it can."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from hsm_agent.spool import Spool
from tests.fakes.events import cleared, plain, raised
from tests.peers.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SINKS = {"noc": None, "siem": None}


async def _open(directory: Path, sinks: dict[str, None]) -> Spool:
    spool = await Spool.open(directory, entries=1000, size_bytes=10**7, retry_seconds=0.02)
    await spool.register(sinks, ())
    return spool


async def _ids(spool: Spool, sink: str = "noc") -> list[str]:
    return [entry.event.event_id for entry in await spool.pending(sink, 100)]


@contextlib.contextmanager
def _held_by_someone_else(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


async def test_what_was_there_before_is_told_first_once_it_can_be_read(tmp_path: Path) -> None:
    spool = await _open(tmp_path, {**SINKS, "gone meanwhile": None})
    await spool.commit([raised("old", "a"), plain("old test")], {"alarm/a": "raised", "alarm/b": "raised"})
    await spool.close()

    with _held_by_someone_else(tmp_path / "spool.db"):
        spool = await _open(tmp_path, SINKS)
        assert (spool.stats().reason, await spool.states()) == ("database is locked (SQLITE_BUSY)", {})
        await spool.commit([raised("new", "x")], {"alarm/a": None, "alarm/x": "raised"})
        assert await _ids(spool) == ["new"]
        assert await spool.states() == {"alarm/x": "raised"}
        await spool.accepted("siem", [entry.seq for entry in await spool.pending("siem", 9)])

    await until(lambda: not spool.stats().failed, seconds=20.0)
    assert (await _ids(spool), await _ids(spool, "siem")) == (["old", "old test", "new"], ["old", "old test"])
    await spool.commit([cleared("clear", "a")], {})
    await spool.close()

    spool = await _open(tmp_path, SINKS)
    assert await _ids(spool, "siem") == ["old", "old test", "clear"]
    assert await _ids(spool) == ["old", "old test", "new", "clear"]
    assert await spool.states() == {"alarm/b": "raised", "alarm/x": "raised"}
    assert "gone meanwhile" not in spool.stats().sinks
    await spool.close()


async def test_the_bytes_that_are_counted_are_no_less_than_those_on_disk(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path, entries=10**6, size_bytes=10**9)
    await spool.register({f"sink {number}": None for number in range(3)}, ())
    for first in range(0, 4000, 100):
        numbers = range(first, first + 100)
        await spool.commit([raised(f"{n:08}-0000-4000-8000-000000000000", f"{n:036}") for n in numbers], {})
    counted = spool.stats().bytes
    await spool.close()

    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db")) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()

    assert 0.5 * counted < (pages - free) * 4096 <= counted
