"""The size of the code, one reading's way through it, and what starting it costs: `python -m benchmarks.codebase`."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import reading_path
from benchmarks.footprint import agent_at_defaults, first_answer, first_token
from benchmarks.process import children, peak_rss_mib, private_mib, rss_mib
from benchmarks.report import median, number, percentile, show, times
from tests.peers.softhsm import SoftHsm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


async def _starts(directory: Path, softhsm: SoftHsm, *, starts: int) -> None:
    """`hsm-agent run` with one token, everything else at its default."""
    answers, whole, anonymous, workers = [], [], [], []
    for turn in range(starts):
        agent = agent_at_defaults(directory / f"start-{turn}", softhsm.module, softhsm.environment, None)
        began = time.perf_counter()
        await agent.start(wait=False)
        try:
            answers.append(await first_answer(agent.snmp_port, began))
            await first_token(agent.snmp_port, began)
            await asyncio.sleep(_SETTLE_SECONDS)
            whole.append(rss_mib(agent.pid))
            anonymous.append(private_mib(agent.pid))
            workers.append(sum(map(rss_mib, children(agent.pid))))
        finally:
            await agent.kill()
    modules, seconds = await _imports(directory, softhsm)
    floor = _interpreter_mib()
    rss = median(whole)
    row = [
        *(str(modules), number(seconds * 1e3), number(median(answers))),
        *(f"{value:.1f}" for value in (rss, rss - floor, median(anonymous), median(workers), floor)),
    ]
    show(
        "hsm-agent run, 1 SoftHSM token",
        (
            "modules",
            "import ms",
            "first SNMP answer ms",
            "RSS MiB",
            "its own",
            "anonymous",
            "worker RSS",
            "empty interpreter RSS",
        ),
        [row],
        f"Medians of {starts}. *Import*: sum of -X importtime up to the first token. *RSS*: the agent's process at"
        " rest with the token in its table; *its own*: without what an empty interpreter holds; *anonymous*: what no"
        " file backs.",
    )


async def _imports(directory: Path, softhsm: SoftHsm) -> tuple[int, float]:
    """Modules that a start imports, and the seconds this takes."""
    agent = agent_at_defaults(
        directory / "imports",
        softhsm.module,
        softhsm.environment,
        None,
        own_environment={"PYTHONPROFILEIMPORTTIME": "1"},
    )
    began = time.perf_counter()
    await agent.start(wait=False)
    try:
        await first_answer(agent.snmp_port, began)
        await first_token(agent.snmp_port, began)
    finally:
        await agent.kill()
    microseconds = [int(found) for found in _IMPORT.findall(agent.log)]
    return len(microseconds), sum(microseconds) / 1e6


def _interpreter_mib() -> float:
    with subprocess.Popen([sys.executable, *_WAITING], stdin=subprocess.PIPE) as process:
        time.sleep(0.3)
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
    for _ in range(checks):  # in turns, so that what else the machine does hits both
        took["empty"].append(_seconds(_EMPTY, environment))
        took["check"].append(_seconds(command, environment))
    empty, check = median(took["empty"]), median(took["check"])
    peak = median([_peak_mib(command, environment) for _ in range(min(checks, 3))])
    show(
        "hsm-agent check -p, 1 SoftHSM token",
        ("ms", "to an empty interpreter", "peak RSS of the parent MiB", "empty interpreter ms", "RSS MiB"),
        [[number(check * 1e3), times(check / empty), f"{peak:.1f}", number(empty * 1e3), f"{_interpreter_mib():.1f}"]],
        f"Medians of {checks}, start to end of the whole process, its worker included.",
    )


def _seconds(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, cwd=_ROOT, check=False, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


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
