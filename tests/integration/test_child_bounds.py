"""What a module writes and takes is bounded: the agent neither grows nor stands still, and says what it was."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.base import SourceFailure
from tests.integration.canary_source import canary, said, settings
from tests.integration.pkcs11_source import source, value
from tests.peers.processes import living, until
from tests.peers.softhsm import PIN
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Awaitable

LATE_SECONDS = 0.2
GROWN_BYTES = 24 * 1024 * 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def fake(tmp_path: Path) -> FakeHsm:
    return FakeHsm(tmp_path / "hsm", "alpha")


def _resident(pid: int | str = "self") -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES


async def _watched(polling: Awaitable[object]) -> tuple[object, float, int]:
    """What the poll came to, the longest the loop computed in one go, and by how much this process grew.

    In CPU seconds of the loop's thread: how long the host lets it wait says nothing of it. Without a collection of
    garbage, which takes as long as all tests before this one have left objects.
    """
    gc.collect()
    gc.disable()
    try:
        return await _measured(polling)
    finally:
        gc.enable()


async def _measured(polling: Awaitable[object]) -> tuple[object, float, int]:
    before = most = _resident()
    latest = 0.0
    task = asyncio.ensure_future(polling)
    while not task.done():
        began = time.thread_time()
        await asyncio.sleep(0.005)
        latest = max(latest, time.thread_time() - began)
        most = max(most, _resident())
    return task.exception() or task.result(), latest, most - before


@pytest.mark.parametrize(
    ("text", "shown"),
    [("[1]", "[1][1]"), ("[1]~", "1)"), ("noise~", "noise)"), ("[[[[[[[[", "[[[["), ('{"at":"x"}~', '{"at":"x"})')],
)
async def test_a_module_that_floods_the_answers_is_ended_with_the_reason(
    tmp_path: Path, fake: FakeHsm, text: str, shown: str
) -> None:
    fake.fault("C_GetTokenInfo", flood_threads=text)
    async with source(tmp_path, fake.module, environment=fake.environment, timeout="20s") as hsm:
        failure, late, grown = await _watched(hsm.poll())
        assert hsm.pids() == ()
        fake.mend()
        poll = await hsm.poll()

    assert isinstance(failure, SourceFailure)
    assert f"is no answer ({shown}" in str(failure)
    assert late < LATE_SECONDS
    assert grown < GROWN_BYTES
    assert value(poll, "alpha", "token_present") == 1


async def test_a_module_that_writes_to_all_its_pipes_does_not_reach_the_answers(tmp_path: Path, fake: FakeHsm) -> None:
    fake.fault("C_GetTokenInfo", flood="[1]")
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        poll = await hsm.poll()

    assert poll.errors == ()
    assert value(poll, "alpha", "token_present") == 1


async def test_a_line_without_end_is_cut_with_a_word_and_holds_up_nobody(
    tmp_path: Path, fake: FakeHsm, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fake.fault("C_Initialize", long_line=15_000_000)
    async with source(tmp_path, fake.module, environment=fake.environment, timeout="20s") as hsm:
        _, late, grown = await _watched(hsm.poll())

    assert late < LATE_SECONDS
    assert grown < GROWN_BYTES
    (line,) = [record.getMessage() for record in caplog.records if "module of hsm says" in record.getMessage()]
    assert line.startswith(f"module of hsm says: {'x' * 300} … (cut; the line has 1500")
    assert len(line) < 400


@pytest.mark.parametrize("text", ["x", "x~", "a line of more than one word~"])
async def test_a_module_that_never_stops_printing_hangs_by_its_deadline_and_holds_up_nobody(
    tmp_path: Path, fake: FakeHsm, text: str
) -> None:
    fake.fault("C_GetTokenInfo", flood_errors=text)
    async with source(tmp_path, fake.module, environment=fake.environment, timeout="3s") as hsm:
        failure, late, grown = await _watched(hsm.poll())

    assert "C_GetTokenInfo" in str(failure)
    assert "did not return within" in str(failure)
    assert late < LATE_SECONDS
    assert grown < GROWN_BYTES


async def test_a_module_that_takes_too_much_memory_is_ended_with_the_reason_and_goes_on_in_a_fresh_worker(
    tmp_path: Path, fake: FakeHsm
) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment, worker_memory="64MiB", timeout="9s") as hsm:
        await hsm.poll()
        (worker,) = hsm.pids()
        fake.fault("C_GetSlotList", leak_mb=100, hang_ms=5000)
        polling = asyncio.create_task(hsm.poll())
        await until(lambda: not living([worker]))
        fake.mend()
        poll = await polling

    assert poll.errors[0].startswith("the module took 1")
    assert "MiB of resident memory, more than worker_memory (64 MiB), worker ended in C_GetSlotList" in poll.errors[0]
    assert poll.errors[0].endswith("a fresh worker went on")
    assert value(poll, "alpha", "token_present") == 1


async def test_memory_is_bounded_between_polls_and_while_the_library_is_being_loaded(
    tmp_path: Path, fake: FakeHsm
) -> None:
    fake.fault("dlopen", leak_mb=100, hang_ms=5000)
    async with source(tmp_path, fake.module, environment=fake.environment, worker_memory="64MiB", timeout="9s") as hsm:
        with pytest.raises(SourceFailure, match=r"more than worker_memory \(64 MiB\), worker ended in dlopen"):
            await hsm.poll()


async def test_the_canarys_process_is_bounded_likewise(tmp_path: Path) -> None:
    fake = await asyncio.to_thread(FakeHsm, tmp_path / "hsm", "alpha")
    keys = {"environment": fake.environment, "token": "alpha", "timeout": "9s", "worker_memory": "64MiB"}
    wanted = await asyncio.to_thread(lambda: settings(tmp_path, fake.module, PIN, **keys))
    fake.fault("C_OpenSession", leak_mb=100, hang_ms=5000)
    async with canary(tmp_path, wanted) as signer:
        grown = said(await signer.poll())
        fake.mend()
        fake.fault("C_OpenSession", flood_threads="nonsense")
        wrote = said(await signer.poll())

    assert "more than worker_memory (64 MiB), worker ended in C_OpenSession" in grown[1]
    assert wrote[1].startswith("what came from the worker is no answer (nonsense")


async def test_workers_go_first_when_the_host_is_out_of_memory(tmp_path: Path, fake: FakeHsm) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        await hsm.poll()
        (worker,) = hsm.pids()
        score = int(Path(f"/proc/{worker}/oom_score_adj").read_text(encoding="ascii"))

    assert score == min(1000, int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii")) + 800)
