"""The canary's process: what hangs or dies costs it alone, and it outlives nobody."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.canary_source import canary, said, settings, tree
from tests.peers import signing_key
from tests.peers.processes import alive, until
from tests.peers.softhsm import PIN
from tests.peers.testmodule import FakeHsm

ROOT = Path(__file__).resolve().parents[2]


async def test_a_module_that_hangs_costs_its_process_and_a_fresh_one_signs(tmp_path: Path) -> None:
    fake = await asyncio.to_thread(FakeHsm, tmp_path / "hsm", "payments")
    await asyncio.to_thread(
        signing_key.make, fake.softhsm.module, "payments", PIN, environment=fake.softhsm.environment
    )
    wanted = await asyncio.to_thread(
        settings, tmp_path, fake.module, PIN, environment=fake.environment, token="payments", timeout="2s"
    )
    async with canary(tmp_path, wanted) as signer:
        well = said(await signer.poll())
        fake.fault("C_OpenSession", hang_ms=60_000)
        began = time.monotonic()
        hung = await signer.poll()
        took = time.monotonic() - began
        left = signer.pids()
        fake.mend()
        fake.fault("C_OpenSession", rv="0x80000035")
        full = said(await signer.poll())
        fake.mend()
        fake.fault("C_GetTokenInfo", rv="0x32")
        gone = said(await signer.poll())
        fake.mend()
        fake.fault("C_OpenSession", segv=1)
        crashed = said(await signer.poll())
        fake.mend()
        back = said(await signer.poll())

    assert well == back == (1, "")
    assert said(hung) == (0, "C_OpenSession did not return within 2 s, worker killed: check the HSM and the link to it")
    assert took < 2.6
    assert left == ()
    assert gone == (0, "C_GetTokenInfo returned CKR_DEVICE_REMOVED: check the HSM")
    assert full[1].startswith("C_OpenSession returned ")
    assert "80000035" in full[1]
    assert crashed == (0, "the module was killed by SIGSEGV in C_OpenSession: check the vendor client and its version")


async def test_a_module_that_prints_the_pin_prints_it_for_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fake = await asyncio.to_thread(FakeHsm, tmp_path / "hsm", "payments")
    await asyncio.to_thread(
        signing_key.make, fake.softhsm.module, "payments", PIN, environment=fake.softhsm.environment
    )
    wanted = await asyncio.to_thread(
        settings, tmp_path, fake.module, PIN, environment=fake.environment, token="payments"
    )
    fake.fault("C_OpenSession", noise=f"opening with {PIN}!")
    async with canary(tmp_path, wanted) as signer:
        await signer.poll()
        await signer.poll()

    printed = [record.getMessage() for record in caplog.records if "module of canary says" in record.getMessage()]
    assert any("opening with (hidden)!" in line for line in printed)
    assert PIN not in caplog.text


async def test_a_module_that_will_not_finalise_is_killed(tmp_path: Path) -> None:
    fake = await asyncio.to_thread(FakeHsm, tmp_path / "hsm", "payments")
    await asyncio.to_thread(
        signing_key.make, fake.softhsm.module, "payments", PIN, environment=fake.softhsm.environment
    )
    wanted = await asyncio.to_thread(
        settings, tmp_path, fake.module, PIN, environment=fake.environment, token="payments"
    )
    async with canary(tmp_path, wanted) as signer:
        assert said(await signer.poll()) == (1, "")
        fake.fault("C_Finalize", hang_ms=60_000)
        (child,) = signer.pids()
        began = time.monotonic()
        await signer.close()

    assert time.monotonic() - began < 2
    assert not Path(f"/proc/{child}").exists()


_PARENT = """
import asyncio, json, sys
from pathlib import Path
from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.canary.source import CanaryCollector, CanarySettings

async def main(settings):
    collector = CanaryCollector(settings, CollectorContext(state_directory=Path(sys.argv[2])))
    polling = asyncio.create_task(collector.poll())
    while not collector.pids():
        await asyncio.sleep(0.01)
    print(*collector.pids(), flush=True)
    await polling
    print("polled", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(CanarySettings.model_validate(json.loads(sys.argv[1]))))
"""


@pytest.mark.parametrize("function", ["C_OpenSession", "dlopen", ""])
def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path, function: str) -> None:
    fake = FakeHsm(tmp_path / "hsm", "payments")
    signing_key.make(fake.softhsm.module, "payments", PIN, environment=fake.softhsm.environment)
    if function:
        fake.fault(function, hang_ms=60_000)
    wanted = settings(tmp_path, fake.module, PIN, environment=fake.environment, token="payments")
    text = json.dumps({**tree(wanted), "module": str(fake.module), "timeout": "60s"})
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, text, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    if function == "dlopen":
        asyncio.run(until(lambda: _has_mapped(child, fake.module)))
    elif function:
        asyncio.run(until(lambda: function in fake.calls()))
    else:
        assert parent.stdout.readline() == "polled\n"
    assert alive(child)

    parent.send_signal(signal.SIGKILL)
    parent.wait(5)
    parent.stdout.close()
    asyncio.run(until(lambda: not alive(child), seconds=3.0))


def _has_mapped(pid: int, module: Path) -> bool:
    """Whether a process or a child of its main thread has a library in its memory."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return any(str(module) in Path(f"/proc/{each}/maps").read_text(encoding="utf-8") for each in (pid, *children))
