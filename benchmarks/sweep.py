"""Figure 1: a sweep of all slots, through the worker against the same calls in a C loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import median, number, percentile, show, times
from hsm_agent.collect.child_common import PKCS11_COMMAND
from hsm_agent.collect.pkcs11.fetch import Fetcher, ModuleLaunch, PollRequest
from hsm_agent.collect.pkcs11.parse import parse, tokens_watched
from hsm_agent.collect.pkcs11.poll_state import ParseOptions, PollMemory
from tests.peers.require import require
from tests.peers.softhsm import SoftHsm
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.collect.pkcs11.recording import RawPoll

_TURNS = 5
"""The C loop and the worker take turns, so that what else the machine does hits both."""
_SWEEPS_A_TURN = 60
_WARM_UP = 5
_DEADLINE_SECONDS = 10.0


@dataclass(slots=True)
class _Measured:
    """Milliseconds of each sweep."""

    c: list[float] = field(default_factory=list)
    worker: list[float] = field(default_factory=list)
    round_trip: list[float] = field(default_factory=list)
    parsing: list[float] = field(default_factory=list)


async def run(directory: Path, *, quick: bool) -> None:
    """Measure and print."""
    program = _compile(directory)
    rows = []
    for title, module, environment in _modules(directory, many=8 if quick else 64):
        measured = await _measure(program, module, environment, turns=1 if quick else _TURNS)
        rows.append(_row(title, measured))
    show(
        "Sweep",
        (
            "module",
            "C loop ms",
            "worker ms",
            "round trip ms",
            "parse ms",
            "worker / C",
            "round trip / C",
            "worker / C, fastest tenth",
        ),
        rows,
        "Medians; *fastest tenth* compares the 10th percentiles, which other work disturbs less. *Worker*:"
        " from its first call to its last, answers put into JSON and written between them. *Round trip*: request in the"
        " agent to last answer decoded there. *Parse*: from there to readings. SoftHSM shows one slot more than it has"
        " tokens.",
    )


def _compile(directory: Path) -> Path:
    source = Path(__file__).with_name("sweep.c")
    program = directory / "sweep"
    command = [str(require("cc")), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", program, source, "-ldl"], check=True, timeout=60)
    return program


def _modules(directory: Path, *, many: int) -> list[tuple[str, Path, Mapping[str, str]]]:
    one = SoftHsm(directory / "one")
    one.create_token("token-0")
    several = SoftHsm(directory / "several")
    for number_ in range(many):
        several.create_token(f"token-{number_}")
    invented = FakeHsm(directory / "invented")
    invented.set_extra_slots(many)
    invented.set("calls.file", None)  # it would write a line for each call
    return [
        ("SoftHSM, 1 token", one.module, one.environment),
        (f"SoftHSM, {many} tokens", several.module, several.environment),
        (f"test module, {many} tokens", invented.module, invented.environment),
    ]


async def _measure(program: Path, module: Path, environment: Mapping[str, str], *, turns: int) -> _Measured:
    measured = _Measured()
    launch = ModuleLaunch(
        source="bench", command=PKCS11_COMMAND, environment=environment, module=str(module), luna=False
    )
    fetcher = Fetcher(launch)
    try:
        for _ in range(turns):
            measured.c += await asyncio.to_thread(_in_c, program, module, environment)
            for _ in range(_WARM_UP):
                await _sweep(fetcher)
            # Back to back, as the C loop: parsing in between would cool the worker's caches and not the C loop's.
            swept = [await _sweep(fetcher) for _ in range(_SWEEPS_A_TURN)]
            measured.worker += [worker for worker, _, _ in swept]
            measured.round_trip += [trip for _, trip, _ in swept]
            measured.parsing += [_parse(raw) for _, _, raw in swept]
    finally:
        await fetcher.close()
    return measured


def _in_c(program: Path, module: Path, environment: Mapping[str, str]) -> list[float]:
    command = [str(program), str(module), str(_WARM_UP + _SWEEPS_A_TURN)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, check=True, capture_output=True, text=True, timeout=60
    )
    return [int(line) / 1e6 for line in done.stdout.split()][_WARM_UP:]


async def _sweep(fetcher: Fetcher) -> tuple[float, float, RawPoll]:
    """One sweep: milliseconds in the worker, milliseconds until the answers are here, the answers."""
    deadline = asyncio.get_running_loop().time() + _DEADLINE_SECONDS
    request = PollRequest(sweep=True, find=lambda results: tokens_watched(results, ("*",)), steps=lambda _tokens: ())
    started = time.perf_counter()
    raw = await fetcher.read(request, deadline)
    return _in_worker(raw), (time.perf_counter() - started) * 1e3, raw


def _parse(raw: RawPoll) -> float:
    """Milliseconds until the answers are readings."""
    started = time.perf_counter()
    parse(raw, ParseOptions(name="bench"), PollMemory())
    return (time.perf_counter() - started) * 1e3


def _in_worker(raw: RawPoll) -> float:
    """Milliseconds: the worker notes when it begins each slot; the calls of the last one are added."""
    results = [*raw.results.values()]
    begun = [result.at for result in results]
    last = sum(call.microseconds for call in results[-1].calls)
    return (begun[-1] - begun[0]) * 1e3 + last / 1e3


def _row(title: str, measured: _Measured) -> list[str]:
    c, worker, trip = median(measured.c), median(measured.worker), median(measured.round_trip)
    return [
        title,
        *(number(value) for value in (c, worker, trip, median(measured.parsing))),
        times(worker / c),
        times(trip / c),
        times(percentile(measured.worker, 10) / percentile(measured.c, 10)),
    ]
