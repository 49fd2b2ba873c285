"""Programs that use a spool in a process of their own, so that the test can kill it or fill its disk.

AlarmSequence as `python -m tests.integration.spool.child PROGRAM DIRECTORY`; talks JSON, a line each, on stdin and stdout.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from hsm_agent.spool import Spool
from tests.fakes.events import raised

_FILLER = "filler"


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


async def _open(directory: Path) -> Spool:
    spool = await Spool.open(directory, entries=10**6, size_bytes=10**9, retry_seconds=0.05, patience_seconds=5.0)
    await spool.register({"noc": None, "siem": None}, ())
    return spool


async def commit_for_ever(directory: Path) -> None:
    """Print each event id once its commit has returned; every third is accepted by one sink, and said so."""
    spool = await _open(directory)
    number = spool.stats().entries
    while True:
        ids = [f"{os.getpid()}-{number + offset}" for offset in range(3)]
        await asyncio.gather(*(spool.commit([raised(i, i)], {f"alarm/{i}": i}) for i in ids))
        say(committed=ids)
        if number % 9 == 0:
            (entry,) = await spool.pending("siem", 1)
            await spool.accepted("siem", [entry.seq])
            say(accepted=entry.event.event_id)
        number += 3


async def commit_many(directory: Path) -> None:
    """So many commits at once, to be counted by how often the disk is flushed."""
    spool = await _open(directory)
    for _ in range(3):
        await asyncio.gather(*(spool.commit([raised(f"{n}", f"{n}")], {}) for n in range(200)))
    await spool.accepted("noc", [entry.seq for entry in await spool.pending("noc", 100)])
    os._exit(0)


async def obey(directory: Path) -> None:
    """Do what stdin says, a JSON list a line: a verb and its arguments; answer with the state of things."""
    spool = await _open(directory)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say(ready=True, failed=spool.stats().failed)
    while line := await reader.readline():
        verb, *arguments = json.loads(line)
        answer = await _VERBS[verb](spool, directory, *arguments)
        stats = spool.stats()
        say(answer=answer, failed=stats.failed, reason=stats.reason, entries=stats.entries)
    await spool.close()


async def _commit(spool: Spool, _: Path, first: int, count: int, size: int) -> None:
    for number in range(first, first + count):
        event = dataclasses.replace(raised(f"e{number}", f"a{number}"), text="x" * size)
        await spool.commit([event], {f"alarm/{number}": str(number)})


async def _accept(spool: Spool, _: Path, sink: str, count: int) -> list[str]:
    entries = await spool.pending(sink, count)
    await spool.accepted(sink, [entry.seq for entry in entries])
    return [entry.event.event_id for entry in entries]


async def _fill(_: Spool, directory: Path) -> int:
    with (directory / _FILLER).open("ab", buffering=0) as file:
        for chunk in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * chunk)
            except OSError:
                continue
    return (directory / _FILLER).stat().st_size


async def _make_room(_: Spool, directory: Path) -> None:
    (directory / _FILLER).unlink()


async def _wait_until_well(spool: Spool, _: Path) -> bool:
    for __ in range(400):
        if not spool.stats().failed:
            return True
        await asyncio.sleep(0.02)
    return False


async def _wait_until_released(spool: Spool, _: Path) -> bool:
    """Until every acknowledgement is on disk; events need not be."""
    for __ in range(400):
        if None not in spool._writer._unwritten().values():
            return True
        await asyncio.sleep(0.02)
    return False


async def _limit_file_size(_: Spool, __: Path, size: int) -> None:
    """Any file of this process may grow so far and no further."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def _states(spool: Spool, _: Path) -> dict[str, str]:
    return await spool.states()


async def _ballast(_: Spool, directory: Path) -> int:
    path = directory / "spool.ballast"
    return path.stat().st_size if path.exists() else 0


_VERBS: dict[str, Any] = {
    "commit": _commit,
    "accept": _accept,
    "fill": _fill,
    "make room": _make_room,
    "wait until well": _wait_until_well,
    "wait until released": _wait_until_released,
    "limit file size": _limit_file_size,
    "states": _states,
    "ballast": _ballast,
}
_PROGRAMS = {"commit-for-ever": commit_for_ever, "commit-many": commit_many, "obey": obey}

if __name__ == "__main__":
    asyncio.run(_PROGRAMS[sys.argv[1]](Path(sys.argv[2])))
