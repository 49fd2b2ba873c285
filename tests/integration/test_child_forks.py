"""What a module forks ends with the worker, with the canary's process, and with the agent, however that goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child_common import PKCS11_COMMAND
from tests.integration.canary_source import canary, said, settings
from tests.integration.pkcs11_source import source
from tests.peers.another_user import NOBODY, as_nobody
from tests.peers.p11kit import p11kit_proxy
from tests.peers.processes import alive, living, until, with_command
from tests.peers.require import require
from tests.peers.softhsm import PIN
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
KINDS = pytest.mark.parametrize("how", ["child", "daemon"])

_PARENT = """
import asyncio, json, sys
from pathlib import Path
from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.pkcs11.source import Pkcs11Collector, Pkcs11Settings
from tests.peers.another_user import NOBODY, as_nobody

async def main():
    settings = Pkcs11Settings.model_validate(json.loads(sys.argv[1]))
    collector = Pkcs11Collector(settings, CollectorContext(state_directory=Path(sys.argv[2])))
    polling = asyncio.create_task(collector.poll())
    if sys.argv[3] == "polled":
        await polling
    print(flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def fake(tmp_path: Path) -> FakeHsm:
    return FakeHsm(tmp_path / "hsm", "alpha")


@KINDS
async def test_what_a_module_forks_ends_with_its_worker(tmp_path: Path, fake: FakeHsm, how: str) -> None:
    fake.fault("C_Initialize", fork=how)
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        await hsm.poll()
        await until(fake.forks)
        (first,) = fake.forks()
        assert alive(first)
        await hsm.close()
        assert not alive(first)


@KINDS
@pytest.mark.parametrize("death", ["hung", "crashed", "killed"])
async def test_a_worker_that_is_replaced_leaves_nothing(tmp_path: Path, fake: FakeHsm, how: str, death: str) -> None:
    fake.fault("C_Initialize", fork=how)
    async with source(tmp_path, fake.module, environment=fake.environment, timeout="1s") as hsm:
        await hsm.poll()
        await until(fake.forks)
        if death == "killed":
            os.kill(hsm.pids()[0], signal.SIGKILL)
        else:
            fake.fault(
                "C_GetSlotList", hang_ms=60_000 if death == "hung" else None, segv=1 if death == "crashed" else None
            )
        with contextlib.nullcontext() if death == "killed" else pytest.raises(SourceFailure):
            await hsm.poll()
        assert living(fake.forks()) == (fake.forks()[-1:] if death == "killed" else [])
        await hsm.close()

    assert living(fake.forks()) == []


@KINDS
@pytest.mark.parametrize("when", ["polled", "hung"])
async def test_nothing_outlives_an_agent_that_is_killed(tmp_path: Path, fake: FakeHsm, how: str, when: str) -> None:
    fake.fault("C_Initialize", fork=how)
    if when == "hung":
        fake.fault("C_GetSlotList", hang_ms=60_000)
    wanted = {"name": "x", "kind": "pkcs11", "module": str(fake.module), "environment": fake.environment}
    command = [sys.executable, "-c", _PARENT, json.dumps({**wanted, "timeout": "60s"}), str(tmp_path), when]
    parent = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    await asyncio.wait_for(parent.stdout.readline(), 10)
    await until(lambda: fake.forks() and (when == "polled" or "C_GetSlotList" in fake.calls()))
    assert living(fake.forks())

    parent.send_signal(signal.SIGKILL)
    await asyncio.wait_for(parent.wait(), 5)

    await until(lambda: not living(fake.forks()))


@KINDS
async def test_what_a_module_forks_ends_with_the_canarys_process(tmp_path: Path, how: str) -> None:
    fake = await asyncio.to_thread(FakeHsm, tmp_path / "hsm", "alpha")
    wanted = await asyncio.to_thread(
        settings, tmp_path, fake.module, PIN, environment=fake.environment, token="alpha", timeout="2s"
    )
    fake.fault("C_Initialize", fork=how)
    fake.fault("C_OpenSession", hang_ms=60_000)
    async with canary(tmp_path, wanted) as signer:
        assert "C_OpenSession did not return" in said(await signer.poll())[1]

    assert fake.forks()
    assert living(fake.forks()) == []


def _as_nobody(folder: Path) -> Sequence[str]:
    """How to start a worker for whom p11-kit reads a user's own modules: not as root."""
    if os.geteuid() != 0:
        return PKCS11_COMMAND
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    return as_nobody(*PKCS11_COMMAND)


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that another user can reach: those of pytest are its user's own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


async def test_a_remote_module_of_p11_kit_ends_with_the_worker_it_hung(tmp_path: Path, home: Path) -> None:
    fake = await asyncio.to_thread(FakeHsm, home / "hsm", "alpha")
    modules = home / "pkcs11" / "modules"
    modules.mkdir(parents=True)
    (modules / "far.module").write_text(f"remote: |{require('p11-kit')} remote {fake.module}\n", encoding="ascii")
    fake.fault("C_GetTokenInfo", hang_ms=60_000)
    environment = {**fake.environment, "XDG_CONFIG_HOME": str(home), "HOME": str(home)}
    command = await asyncio.to_thread(_as_nobody, home)
    marker = f"HSM_TEST_CONTROL={home}"
    async with source(tmp_path, p11kit_proxy(), environment=environment, timeout="3s", command=command) as hsm:
        polling = asyncio.create_task(hsm.poll())
        await until(lambda: with_command("p11-kit-remote", marker))
        remotes = with_command("p11-kit-remote", marker)
        poll = await asyncio.gather(polling, return_exceptions=True)
        assert "C_GetTokenInfo" in str(poll)
        assert living(remotes) == []

    assert with_command("p11-kit-remote", marker) == []
