"""The size of the code, one reading's way through it, and what starting it costs: `python -m benchmarks.codebase`."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import reading_path
from benchmarks.footprint import agent_at_defaults, first_answer, first_token
from benchmarks.process import children, cpu_seconds, peak_rss_mib, private_mib, rss_mib
from benchmarks.report import median, number, percentile, show, times
from tests.peers.softhsm import SoftHsm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.peers.agent import AgentProcess

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT / "hsm_agent"
_STARTS = 5
_CHECKS = 15
_SETTLE_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 0.001
_IMPORT = re.compile(r"^import time:\s*(\d+) \|\s*\d+ \|", re.MULTILINE)
_EMPTY = ("-c", "")
_WAITING = ("-c", "import sys; sys.stdin.read()")
"""An interpreter that has nothing to do and stays."""
_WAITING_WITH_ASYNCIO = ("-c", "import asyncio, ssl, sqlite3, sys; sys.stdin.read()")


async def run(directory: Path, *, quick: bool) -> None:
    """Measure and print."""
    _size()
    found = await reading_path.trace(directory)
    show(
        "One reading's way",
        ("files", "functions", "calls"),
        [[str(len(found.files)), str(found.functions), str(sum(found.calls.values()))]],
        "From a recorded poll of a worker to the datagram of a v2c trap, one rule; files and functions of hsm_agent"
        " only. A coroutine that goes on after a wait counts as a call again.",
    )
    softhsm = SoftHsm(directory / "softhsm")
    softhsm.create_token("token-0")
    await _starts(directory, softhsm, starts=1 if quick else _STARTS)
    _checks(softhsm, checks=1 if quick else _CHECKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """Lines and definitions of one file."""

    lines: int
    classes: int
    functions: tuple[int, ...]
    """Lines of each function and method, decorators not counted."""


def _size() -> None:
    files = [_read(path) for path in sorted(_PACKAGE.rglob("*.py"))]
    lines = [file.lines for file in files]
    functions = [length for file in files for length in file.functions]
    row = [
        *(str(value) for value in (len(files), sum(lines), sum(file.classes for file in files), len(functions))),
        *(f"{median(lengths):g} / {percentile(lengths, 90):g} / {max(lengths)}" for lengths in (lines, functions)),
    ]
    head = ("files", "lines", "classes", "functions", "lines of a file", "lines of a function")
    show("Size of hsm_agent", head, [row], "Of files and functions: median / p90 / longest.")


def _read(path: Path) -> _File:
    text = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    return _File(
        lines=len(text.splitlines()),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        functions=tuple(
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ),
    )


@dataclass(slots=True)
class _Starts:
    """What starts of one kind of configuration took, a value each."""

    answers: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    anonymous: list[float] = field(default_factory=list)
    workers: list[float] = field(default_factory=list)


async def _starts(directory: Path, softhsm: SoftHsm, *, starts: int) -> None:
    """`hsm-agent run` with one token: SNMPv2c and HTTP, and the same with a user of SNMPv3 who encrypts."""
    floor, library = _interpreter_mib(_WAITING), _interpreter_mib(_WAITING_WITH_ASYNCIO)
    rows = []
    empty: list[float] = []
    for name, with_v3 in (("v2c", False), ("v2c and v3", True)):
        found = _Starts()
        for turn in range(starts):
            await _start(_agent(directory / f"{name} {turn}", softhsm, with_v3=with_v3), found)
            empty.append(_spent(_EMPTY, os.environ)[1] * 1e3)
        profiled = _agent(directory / f"{name} imports", softhsm, with_v3=with_v3, profiled=True)
        modules, seconds = await _imports(profiled)
        rss = median(found.rss)
        rows.append(
            [
                name,
                *(str(modules), *map(number, (seconds * 1e3, median(found.answers), median(found.cpu)))),
                times(median(found.cpu) / median(empty)),
                *(f"{value:.1f}" for value in (rss, rss - library, rss - floor)),
                *(f"{median(values):.1f}" for values in (found.anonymous, found.workers)),
            ]
        )
    show(
        "hsm-agent run, 1 SoftHSM token",
        (
            "serves",
            "modules",
            "import ms",
            "first SNMP answer ms",
            "CPU ms",
            "to an empty interpreter's",
            "RSS MiB",
            "without Python, asyncio, ssl, sqlite3",
            "without Python",
            "anonymous",
            "worker RSS",
        ),
        rows,
        f"Medians of {starts}. *Import*: sum of -X importtime up to the first token. *CPU*: of the process up to its"
        f" first answer. *RSS*: at rest with the token in its table; an empty interpreter holds {floor:.1f} MiB, with"
        f" asyncio, ssl and sqlite3 imported {library:.1f}. *Anonymous*: what no file backs.",
    )


def _agent(directory: Path, softhsm: SoftHsm, *, with_v3: bool, profiled: bool = False) -> AgentProcess:
    made = agent_at_defaults(
        directory,
        softhsm.module,
        softhsm.environment,
        None,
        own_environment={"PYTHONPROFILEIMPORTTIME": "1"} if profiled else None,
    )
    if not with_v3:
        del made.settings["serve"]["snmp"]["users"]
        made.configure()
    return made


async def _start(agent: AgentProcess, into: _Starts) -> None:
    began = time.perf_counter()
    await agent.start(wait=False)
    try:
        into.answers.append(await first_answer(agent.snmp_port, began))
        into.cpu.append(cpu_seconds(agent.pid) * 1e3)
        await first_token(agent.snmp_port, began)
        await asyncio.sleep(_SETTLE_SECONDS)
        into.rss.append(rss_mib(agent.pid))
        into.anonymous.append(private_mib(agent.pid))
        into.workers.append(sum(map(rss_mib, children(agent.pid))))
    finally:
        await agent.kill()


async def _imports(agent: AgentProcess) -> tuple[int, float]:
    """Modules that a start imports, and the seconds this takes."""
    began = time.perf_counter()
    await agent.start(wait=False)
    try:
        await first_answer(agent.snmp_port, began)
        await first_token(agent.snmp_port, began)
    finally:
        await agent.kill()
    microseconds = [int(found) for found in _IMPORT.findall(agent.log)]
    return len(microseconds), sum(microseconds) / 1e6


def _interpreter_mib(arguments: Sequence[str]) -> float:
    with subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE) as process:
        time.sleep(0.5)
        found = rss_mib(process.pid)
        process.communicate()
    return found


def _checks(softhsm: SoftHsm, *, checks: int) -> None:
    """The Nagios plugin, which an unattended host starts every few minutes: from start to end."""
    command = ["-m", "hsm_agent", "check", "-p", str(softhsm.module)]
    environment = {**os.environ, **softhsm.environment}
    said = subprocess.run([sys.executable, *command], env=environment, cwd=_ROOT, check=False, capture_output=True)
    if b"token-0" not in said.stdout:
        raise ValueError(f"the check did not reach the token: {said}")
    took: dict[str, list[float]] = {"empty": [], "check": []}
    spent: dict[str, list[float]] = {"empty": [], "check": []}
    for _ in range(checks):  # in turns, so that what else the machine does hits both
        for name, arguments in (("empty", _EMPTY), ("check", command)):
            wall, cpu = _spent(arguments, environment)
            took[name].append(wall)
            spent[name].append(cpu)
    empty, check = median(took["empty"]), median(took["check"])
    peak = median([_peak_mib(command, environment) for _ in range(min(checks, 3))])
    show(
        "hsm-agent check -p, 1 SoftHSM token",
        (
            "ms",
            "to an empty interpreter",
            "fastest tenth",
            "CPU to an empty interpreter's",
            "peak RSS of the parent MiB",
            "empty interpreter ms",
            "RSS MiB",
        ),
        [
            [
                number(check * 1e3),
                times(check / empty),
                times(percentile(took["check"], 10) / percentile(took["empty"], 10)),
                times(median(spent["check"]) / median(spent["empty"])),
                f"{peak:.1f}",
                number(empty * 1e3),
                f"{_interpreter_mib(_WAITING):.1f}",
            ]
        ],
        f"Medians of {checks}, start to end of the whole process, its worker included. *Fastest tenth* compares the"
        " 10th percentiles, which other work disturbs less.",
    )


def _spent(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds from start to end, and of CPU time, children included."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=environment, cwd=_ROOT, check=False, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def _peak_mib(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    """What the process itself held at most; what `wait` tells would take its children in."""
    found = 0.0
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, env=environment, cwd=_ROOT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            found = max(found, peak_rss_mib(process.pid))
            time.sleep(_LOOK_AGAIN_SECONDS)
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_ROOT / "var") as folder:
        asyncio.run(run(Path(folder), quick=False))
