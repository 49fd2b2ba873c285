"""CPU and memory of a worker where /proc shows nobody what he may not look into, as in the unit that is delivered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.peers import private_mounts
from tests.peers.another_user import as_nobody
from tests.peers.rights import needs_private_mounts

_ROOT = Path(__file__).resolve().parents[2]
_LOOK = """
import asyncio, json, os, sys
from hsm_agent.collect.child_common import PKCS11_COMMAND
from hsm_agent.collect.child_process import Children, Launch
from hsm_agent.agent.self_monitoring import process_readings

async def main():
    children = Children(Launch(source="hsm", command=PKCS11_COMMAND))
    worker = await children.start()
    supervisor = worker.pid
    async with asyncio.timeout(20):
        while worker.usage() is None or worker.pid == supervisor:
            await asyncio.sleep(0.02)
    shown = os.path.exists(f"/proc/{worker.pid}/stat")
    kept = children.usages()
    found = [list(process_readings({"hsm": [worker.pid]}, 1.0, each)) for each in (kept, {})]
    await worker.kill()
    return shown, [[[r.resource, r.metric, r.value, r.reason] for r in each] for each in found]

json.dump(asyncio.run(main()), sys.stdout)
"""


@needs_private_mounts
def test_a_worker_that_proc_hides_is_seen_by_its_supervisor() -> None:
    look = as_nobody(sys.executable, "-c", _LOOK)
    script = 'mount -t proc -o hidepid=invisible proc /proc && exec "$@"'
    done = subprocess.run(
        private_mounts.command("sh", "-ec", script, "sh", *look),
        capture_output=True, text=True, check=False, timeout=60, cwd=_ROOT, env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    shown, (kept, alone) = json.loads(done.stdout)
    assert not shown
    of_worker = {metric: value for resource, metric, value, _ in kept if resource}
    assert set(of_worker) == {"process_cpu_seconds_total", "process_resident_memory_bytes"}
    assert 0 <= of_worker["process_cpu_seconds_total"] < 20
    assert 1_000_000 < of_worker["process_resident_memory_bytes"] < 10**9
    hidden = {(value, reason) for resource, _, value, reason in alone if resource}
    assert hidden == {(None, "/proc hides the process from the agent")}
