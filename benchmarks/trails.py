"""Figure 9: how fast an audit trail is followed, what that does to the event loop, and how fast one is verified."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.process import peak_rss_mib
from benchmarks.report import number, percentile, show, times
from hsm_agent.agent.service import SWITCH_SECONDS
from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.trails.source import AuditTrailSettings
from tests.peers.require import require
from tests.peers.trails import CratonWriter
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_ROOT = Path(__file__).resolve().parents[1]
_LINES = 400_000
_PROBE_SECONDS = 0.01
_LOOK_SECONDS = 0.005
_READ = "import sys\nfor line in open(sys.argv[1], 'rb'): pass"
_LOOP = """
import hashlib, json, sys
newest = [0] * 32
for number, line in enumerate(open(sys.argv[1], "rb"), 1):
    entry = json.loads(line)
    if entry.pop("previous_hash") != newest:
        sys.exit(f"broken at line {number}")
    payload = json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode()
    newest = list(hashlib.sha256(bytes(newest) + payload).digest())
"""
"""What anybody would write first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one process took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(slots=True)
class _Beside:
    """What a work took, and the milliseconds that the event loop beside it was late."""

    late: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def lateness(self) -> list[str]:
        return [number(percentile(self.late, each)) for each in (50, 99, 100)]


async def run(directory: Path, *, quick: bool) -> None:
    """Measure and print."""
    sys.setswitchinterval(SWITCH_SECONDS)  # as the agent does at its start
    lines = 5000 if quick else _LINES
    trail = directory / "audit.jsonl"
    with trail.open("wb") as file:
        file.writelines(CratonWriter().lines(lines))
    follower = await _followed(directory, trail, lines)
    busy = await _beside_a_busy_thread(follower.seconds)
    show(
        "An audit trail, followed",
        ("what", "lines a second", "lines a CPU second", "loop late p50 ms", "p99", "longest"),
        [
            [f"follower, {lines} lines", number(lines / follower.seconds), number(lines / follower.cpu_seconds),
             *follower.lateness()],
            ["a thread that only counts, as long", "", "", *busy.lateness()],
        ],
        "The source alone in this process, from an empty state directory until every line is verified and counted and"
        " its checkpoint is on disk. *Late* is how much later than asked a sleep of 10 ms ends on the event loop;"
        " beside any thread in Python it waits for the interpreter's lock, half a millisecond at a time.",
    )  # fmt: skip
    agent = [sys.executable, "-P", "-m", "hsm_agent", "audit", "verify", str(trail)]
    commands = {
        "hsm-agent audit verify": agent,
        "a loop in Python with json, ten lines": [sys.executable, "-c", _LOOP, str(trail)],
        "a loop in Python that only reads": [sys.executable, "-c", _READ, str(trail)],
        "sha256sum": [str(require("sha256sum")), str(trail)],
    }
    runs = {
        what: min((_measured(words) for _ in range(2)), key=lambda one: one.seconds) for what, words in commands.items()
    }
    ours, size = runs["hsm-agent audit verify"], trail.stat().st_size
    show(
        "An audit trail, verified",
        ("what", "s", "lines a second", "MB/s", "CPU s", "peak MiB", "audit verify's CPU to it"),
        [
            [what, number(one.seconds), number(lines / one.seconds), number(size / one.seconds / 1e6),
             number(one.cpu_seconds), number(one.peak_mib), times(ours.cpu_seconds / one.cpu_seconds)]
            for what, one in runs.items()
        ],
        f"{lines} lines of {size / lines:.0f} octets on the average; whole processes with their start, the faster of"
        " two runs. *Peak* is looked at every 5 ms.",
    )  # fmt: skip


async def _followed(directory: Path, trail: Path, lines: int) -> _Beside:
    """Read, verify and count all lines."""
    settings = AuditTrailSettings.model_validate(
        {"name": "trail", "kind": "audit_trail", "format": "craton", "path": str(trail)}
    )
    state = directory / "state"
    state.mkdir(mode=0o700)
    collector = settings.build(CollectorContext(state_directory=state))
    counts: dict[object, float] = {}
    async with _probed() as beside:
        while sum(counts.values()) < lines:
            poll = await collector.poll()
            counts |= {each.series: each.value or 0 for each in poll.readings if each.metric == "trail_events_total"}
    await collector.close()
    return beside


async def _beside_a_busy_thread(seconds: float) -> _Beside:
    """What the interpreter and the machine alone do to the event loop."""
    end = time.monotonic() + seconds

    def count() -> None:
        number = 0
        while time.monotonic() < end:
            number += 1

    async with _probed() as beside:
        await asyncio.to_thread(count)
    return beside


@asynccontextmanager
async def _probed() -> AsyncIterator[_Beside]:
    beside = _Beside()
    probe = asyncio.create_task(_probe(beside.late))
    began, began_cpu = time.perf_counter(), time.process_time()
    yield beside
    beside.seconds, beside.cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    probe.cancel()


async def _probe(late: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _PROBE_SECONDS
        await asyncio.sleep(_PROBE_SECONDS)
        late.append((loop.time() - due) * 1e3)


def _measured(words: Sequence[str]) -> _Run:
    began = time.perf_counter()
    environment = {**os.environ, **trusting(), "PYTHONPATH": str(_ROOT)}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)
    peak = 0.0
    # wait4's own figure begins with the memory of this process, of which the other is a fork.
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        peak = max(peak, peak_rss_mib(process.pid))
        time.sleep(_LOOK_SECONDS)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{words[0]} ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return _Run(seconds=time.perf_counter() - began, cpu_seconds=cpu, peak_mib=peak)
