"""The worker as a process: it freezes nobody, outlives nobody, dumps nothing, and inherits nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hsm_agent.agent.components import TaskSupervisor
from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.runner import Runner
from tests.integration.pkcs11_source import source, value
from tests.peers.processes import alive, living, until
from tests.peers.rights import needs_root
from tests.peers.testmodule import FakeHsm

ROOT = Path(__file__).resolve().parents[2]

LATE_SECONDS = 0.05

_PARENT = """
import asyncio, json, sys
from pathlib import Path
from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.pkcs11.source import Pkcs11Collector, Pkcs11Settings

async def main():
    settings = Pkcs11Settings.model_validate(json.loads(sys.argv[1]))
    collector = Pkcs11Collector(settings, CollectorContext(state_directory=Path(sys.argv[2])))
    polling = asyncio.create_task(collector.poll())
    while not collector.pids():
        await asyncio.sleep(0.01)
    print(*collector.pids(), flush=True)
    await polling
    print("polled", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def _drop(*_: object, **__: object) -> None:
    """Publish nothing."""


@pytest.fixture
def fake(tmp_path: Path) -> FakeHsm:
    return FakeHsm(tmp_path / "hsm", "alpha")


class Ticker:
    """Wakes every 5 ms and keeps the longest it was ever late."""

    def __init__(self) -> None:
        self.worst_seconds = 0.0

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            self.worst_seconds = max(self.worst_seconds, time.monotonic() - began - 0.005)


@pytest.mark.parametrize("function", ["dlopen", "C_Initialize", "C_GetTokenInfo", "C_Finalize"])
async def test_the_event_loop_goes_on_while_a_module_hangs(tmp_path: Path, fake: FakeHsm, function: str) -> None:
    fake.fault(function, hang_ms=60_000)
    lateness = []
    for _ in range(3):  # a busy machine may be late by itself; we are late every time
        ticker = Ticker()
        async with source(tmp_path, fake.module, environment=fake.environment, timeout="1s") as hsm:
            async with asyncio.TaskGroup() as tasks:
                ticking = tasks.create_task(ticker.run())
                expected = contextlib.nullcontext() if function == "C_Finalize" else pytest.raises(SourceFailure)
                with expected:
                    await hsm.poll()
                await hsm.close()
                ticking.cancel()
            assert hsm.pids() == ()
        lateness.append(ticker.worst_seconds)
        if ticker.worst_seconds < LATE_SECONDS:
            break

    assert min(lateness) < LATE_SECONDS


@pytest.mark.parametrize("function", ["dlopen", "C_GetTokenInfo", ""])
async def test_no_worker_outlives_a_parent_that_is_killed(tmp_path: Path, fake: FakeHsm, function: str) -> None:
    if function:
        fake.fault(function, hang_ms=60_000)
    settings = {"name": "x", "kind": "pkcs11", "module": str(fake.module), "environment": fake.environment}
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, _json({**settings, "timeout": "60s"}), str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    if function:
        await until(lambda: function in ("dlopen", *fake.calls()))
    else:
        assert parent.stdout.readline() == "polled\n"
    assert alive(worker)

    parent.send_signal(signal.SIGKILL)
    parent.wait(5)
    parent.stdout.close()
    await until(lambda: not alive(worker))


def _json(value: object) -> str:
    import json

    return json.dumps(value)


async def test_a_killed_worker_is_replaced_within_the_same_poll(tmp_path: Path, fake: FakeHsm) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        await hsm.poll()
        (worker,) = hsm.pids()
        os.kill(worker, signal.SIGKILL)
        await until(lambda: not alive(worker))
        poll = await hsm.poll()

    assert value(poll, "alpha", "token_present") == 1
    assert "killed by SIGKILL" in poll.errors[0]


@needs_root  # nobody else may look into a process that dumps no core
async def test_the_worker_has_a_clean_environment_no_strange_descriptors_and_dumps_no_core(
    tmp_path: Path, fake: FakeHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_SECRET", "do not pass on")
    with Path("/dev/null").open(encoding="ascii") as inheritable:
        os.set_inheritable(inheritable.fileno(), True)
        async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
            await hsm.poll()
            (worker,) = hsm.pids()
            process = Path(f"/proc/{worker}")
            environment = (process / "environ").read_bytes().split(b"\0")
            open_files = [str(path.readlink()) for path in (process / "fd").iterdir()]
            limits = (process / "limits").read_text(encoding="ascii")
            resident = int((process / "statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    names = {entry.split(b"=")[0].decode() for entry in environment if entry}
    assert names == {"PATH", "LC_ALL", "PYTHONPATH", *fake.environment}
    assert [path for path in open_files if path == "/dev/null"] == ["/dev/null"]
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
    assert resident < 22 * 1024 * 1024


async def test_closing_lets_the_module_finalise(tmp_path: Path, fake: FakeHsm) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        await hsm.poll()
        list(fake.calls())

    assert list(fake.calls()) == ["C_Finalize"]


async def test_endless_noise_is_bounded_in_the_log(
    tmp_path: Path, fake: FakeHsm, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fake.set_extra_slots(64)
    fake.fault("C_GetTokenInfo", noise="x" * 5000)
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        for _ in range(3):
            await hsm.poll()

    said = [record.getMessage() for record in caplog.records if "module of hsm" in record.getMessage()]
    assert len(said) == 101
    assert max(map(len, said)) < 400


async def test_a_source_that_leaves_while_a_call_hangs_leaves_no_process(tmp_path: Path, fake: FakeHsm) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment, timeout="20s") as hsm:
        await hsm.poll()
        (pid,) = hsm.pids()
        fake.fault("C_GetTokenInfo", hang_ms=60_000)
        tasks = TaskSupervisor()
        async with tasks:
            runner = Runner(hsm, _drop, on_poll=lambda: None)
            tasks.start("source", runner.run())
            list(fake.calls())  # those of the first poll
            await until(lambda: "C_GetTokenInfo" in fake.calls())

            await tasks.stop(["source"], within=5.0)

            assert hsm.pids() == ()
            assert living([pid]) == []
