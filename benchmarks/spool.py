"""Figure 4: how long it takes until an event and its alarm's state are on disk."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from typing import TYPE_CHECKING

from benchmarks.report import number, percentile, show, times
from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

_ENTRIES, _SIZE = 100_000, 64 * 2**20  # the defaults
_PUTS = 2000
_STATE = "x" * 700
"""About what an alarm's row takes."""


async def run(directory: Path, *, quick: bool) -> None:
    """Measure and print."""
    puts = 100 if quick else _PUTS
    append = _appends(directory / "append", puts)
    bare = _bare_sqlite(directory / "bare.sqlite", puts)
    alone, alone_rate = await _commits(directory / "one", puts, producers=1)
    together, together_rate = await _commits(directory / "ten", puts, producers=10)
    again = _bare_sqlite(directory / "again.sqlite", puts)
    bare += again
    floor = percentile(bare, 50)
    show(
        "Spool, with fsync",
        ("what", "p50 ms", "p99 ms", "events a second", "p50 to SQLite alone"),
        [
            _row("append and fdatasync", append, 1e3 / (sum(append) / len(append)), floor),
            _row("SQLite alone, 1 row a commit", bare, 1e3 / (sum(bare) / len(bare)), floor),
            _row("spool, 1 producer", alone, alone_rate, floor),
            _row("spool, 10 producers", together, together_rate, floor),
        ],
        f"{puts} events each, two sinks, an event and the state of its alarm in one commit; SQLite in WAL mode with"
        " synchronous=FULL, in the checkout's var/. The time is until `commit` returns in the event loop: the way to"
        " the disk's thread and back is in it.",
    )


def _row(what: str, milliseconds: list[float], rate: float, floor: float) -> list[str]:
    half, most = percentile(milliseconds, 50), percentile(milliseconds, 99)
    return [what, number(half), number(most), number(rate), times(half / floor)]


def _event(alarm: int) -> Event:
    return Event(
        event_id=str(uuid.uuid4()),
        kind=EventKind.CHANGED,
        severity=Severity.WARNING,
        time=time.time(),
        text=f"payments-{alarm}: private memory 78.2 % used (warning at 75)",
        agent="bench",
        alarm_id=f"alarm-{alarm}",
        source="luna-a",
        resource=f"payments-{alarm}",
        metric="token_memory_private_used_percent",
        value="78.2",
        unit="percent",
        threshold="75",
        rule="token-memory",
    )


async def _commits(directory: Path, puts: int, *, producers: int) -> tuple[list[float], float]:
    """Milliseconds of each commit, and commits a second of all producers."""
    directory.mkdir(mode=0o700)
    taken: list[float] = []
    spool = await Spool.open(directory, entries=_ENTRIES, size_bytes=_SIZE)
    try:
        await spool.register({"noc": None, "siem": None}, [])

        async def produce(producer: int) -> None:
            for count in range(puts // producers):
                event = _event(producer)
                started = time.perf_counter()
                await spool.commit([event], {f"alarm/{producer}": f"{count}{_STATE}"})
                taken.append((time.perf_counter() - started) * 1e3)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for producer in range(producers):
                group.create_task(produce(producer))
        rate = len(taken) / (time.perf_counter() - began)
        if spool.stats().failed:
            raise RuntimeError(f"the spool writes nothing: {spool.stats().reason}")
    finally:
        await spool.close()
    return taken, rate


def _bare_sqlite(file: Path, puts: int) -> list[float]:
    """Milliseconds of each commit of one row of the same size, in this thread."""
    taken = []
    database = sqlite3.connect(file, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, text TEXT)")
        for _ in range(puts):
            started = time.perf_counter()
            database.execute("INSERT INTO event (text) VALUES (?)", (_STATE + _STATE,))
            taken.append((time.perf_counter() - started) * 1e3)
    finally:
        database.close()
    return taken


def _appends(file: Path, puts: int) -> list[float]:
    """Milliseconds of each append: what the disk alone costs."""
    taken = []
    with file.open("ab", buffering=0) as log:
        for _ in range(puts):
            started = time.perf_counter()
            log.write((_STATE + _STATE).encode())
            os.fdatasync(log.fileno())
            taken.append((time.perf_counter() - started) * 1e3)
    return taken
