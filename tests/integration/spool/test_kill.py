"""Killed at any moment, the spool has what it said it had; and what may be flushed together is."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from hsm_agent.spool import Spool
from tests.peers.require import require
from tests.peers.rights import needs_tracing

if TYPE_CHECKING:
    from pathlib import Path

CHILD = [sys.executable, "-m", "tests.integration.spool.child"]
KILLS = 8


def _killed_after(directory: Path, seconds: float) -> list[dict[str, object]]:
    """What the child had said when it was killed."""
    with subprocess.Popen([*CHILD, "commit-for-ever", str(directory)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(seconds)
        child.kill()
        lines = [first, *child.stdout.readlines()]
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def test_after_kill_9_everything_committed_is_there_in_order(tmp_path: Path) -> None:
    chance = random.Random(5)
    committed: list[str] = []
    accepted: list[str] = []
    for _ in range(KILLS):
        for said in _killed_after(tmp_path, chance.uniform(0.0, 0.25)):
            committed += said.get("committed", [])  # type: ignore[arg-type] # a list of strings
            accepted += [str(said["accepted"])] if "accepted" in said else []

    pending, states = asyncio.run(_read(tmp_path))

    assert len(committed) > 100
    assert set(committed) <= set(pending["noc"])
    assert [event_id for event_id in pending["noc"] if event_id in set(committed)] == committed
    assert {f"alarm/{event_id}" for event_id in pending["noc"]} == set(states)
    # The last acceptance before each kill may have been recorded, but not said any more.
    unsaid = set(committed) - set(accepted) - set(pending["siem"])
    assert len(unsaid) <= KILLS
    waiting = [event_id for event_id in committed if event_id not in unsaid.union(accepted)]
    assert [event_id for event_id in pending["siem"] if event_id in set(committed)] == waiting


async def _read(directory: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    spool = await Spool.open(directory, entries=10**6, size_bytes=10**9)
    await spool.register({"noc": None, "siem": None}, ())
    assert spool.recovered == ""
    found = {name: [e.event.event_id for e in await spool.pending(name, 10**6)] for name in ("noc", "siem")}
    states = await spool.states()
    await spool.close()
    return found, states


@needs_tracing
def test_commits_at_the_same_time_share_their_flushes(tmp_path: Path) -> None:
    strace = str(require("strace"))
    trace = tmp_path / "trace"
    command = [strace, "-f", "-e", "trace=fsync,fdatasync,pwrite64", "-y", "-o", str(trace), *CHILD, "commit-many"]
    subprocess.run([*command, str(tmp_path / "state")], capture_output=True, check=True)

    log_flushes = re.findall(r"f(?:data)?sync\(\d+<[^>]*spool\.db-wal>", trace.read_text())

    assert 3 <= len(log_flushes) <= 60  # for 600 commits


@needs_tracing
def test_an_event_is_flushed_before_its_commit_returns(tmp_path: Path) -> None:
    strace = str(require("strace"))
    trace = tmp_path / "trace"
    command = [strace, "-f", "-y", "-e", "trace=fsync,fdatasync,write,pwrite64", "-s", "64", "-o", str(trace)]
    script = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from hsm_agent.spool import Spool\n"
        "from tests.fakes.events import raised\n"
        "async def main():\n"
        "    spool = await Spool.open(Path(sys.argv[1]), entries=100, size_bytes=10**6)\n"
        "    await spool.register({'noc': None}, ())\n"
        "    for number in range(5):\n"
        "        os.write(1, b'begin')\n"
        "        await spool.commit([raised(str(number), str(number))], {})\n"
        "        os.write(1, b'durable')\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    run = [*command, sys.executable, "-c", script, str(tmp_path / "state")]
    subprocess.run(run, capture_output=True, check=True)

    calls = re.findall(r'(?m)(begin|durable|f(?:data)?sync)(?="|\(\d+<[^>]*spool\.db-wal>)', trace.read_text())

    story = "".join({"begin": "b", "durable": "d"}.get(call, "f") for call in calls)
    assert re.search("(bf+d){5}$", story), story
