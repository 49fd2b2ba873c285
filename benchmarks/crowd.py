"""Figure 6: sixteen modules of 64 tokens each in one agent: CPU, memory, and how late the event loop wakes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.process import children, cpu_seconds, rss_mib
from benchmarks.report import number, percentile, show
from benchmarks.responders import credentials, invented_tokens
from tests.peers.agent import ROOT, AgentProcess, source

if TYPE_CHECKING:
    from pathlib import Path

_START_SECONDS = 15.0
_WATCHED_SECONDS = 120.0
"""Two intervals of the sweep."""
_DAY_SECONDS = 86400


async def run(directory: Path, *, quick: bool) -> None:
    """Measure and print."""
    modules, tokens = (2, 4) if quick else (16, 64)
    hsm = invented_tokens(directory, tokens)
    sources = [
        source(f"module-{number_}", hsm.module, hsm.environment, every="60s", timeout="10s")
        for number_ in range(modules)
    ]
    process = AgentProcess(directory, sources=sources)  # for the file only; it is not started
    process.settings["serve"]["snmp"] |= credentials(directory)
    process.configure()
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.probed_agent", str(process.file),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=ROOT, limit=1 << 24,
    )  # fmt: skip
    try:
        await asyncio.sleep(2.0 if quick else _START_SECONDS)
        agent.send_signal(signal.SIGUSR1)
        before, began = _cpu(agent.pid), time.monotonic()
        await asyncio.sleep(2.0 if quick else _WATCHED_SECONDS)
        days = _DAY_SECONDS / (time.monotonic() - began)
        spent = [(after - earlier) * days for after, earlier in zip(_cpu(agent.pid), before, strict=True)]
        workers = children(agent.pid)
        if len(workers) != modules:
            raise RuntimeError(f"{len(workers)} workers of {modules} modules live")
        memory = [rss_mib(agent.pid), max(map(rss_mib, workers))]
        agent.terminate()
        out, _ = await asyncio.wait_for(agent.communicate(), 30)
    finally:
        if agent.returncode is None:
            agent.kill()
            await agent.wait()
    starting, resting = map(json.loads, out.splitlines())
    _show(f"{modules} x {tokens}", spent, memory, starting, resting)


def _cpu(pid: int) -> tuple[float, float]:
    return cpu_seconds(pid), cpu_seconds(*children(pid))


def _show(what: str, spent: list[float], memory: list[float], starting: list[float], resting: list[float]) -> None:
    row = [
        what,
        *(number(value) for value in spent),
        *(f"{value:.1f}" for value in memory),
        *(number(value) for value in (percentile(resting, 50), percentile(resting, 99), max(resting), max(starting))),
    ]
    head = (
        "modules x tokens",
        "CPU s a day",
        "workers' CPU s a day",
        "RSS MiB",
        "largest worker RSS",
        "loop late p50 ms",
    )
    show(
        "A crowd",
        (*head, "p99", "longest", "longest while starting"),
        [row],
        "The test module with Luna's functions, everything at its default rhythm. *Late*: how much later than asked a"
        " sleep of 10 ms ends, on the agent's own event loop; asking that costs about 1 % of a core, which is in"
        " the CPU.",
    )
