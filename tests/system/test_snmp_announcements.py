"""SNMP's own notifications: coldStart at the start, authenticationFailure when a stranger asks; unspooled."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

from tests.peers.agent import AgentProcess
from tests.peers.require import require
from tests.peers.snmptrapd import Snmptrapd

if TYPE_CHECKING:
    from pathlib import Path

COLD_START = ".1.3.6.1.6.3.1.1.5.1"
AUTHENTICATION_FAILURE = ".1.3.6.1.6.3.1.1.5.5"


def _ask_as_a_stranger(port: int) -> int:
    command = [str(require("snmpget")), "-v2c", "-c", "guess", "-t", "0.3", "-r", "0", "-On"]
    address = [f"127.0.0.1:{port}", ".1.3.6.1.2.1.1.1.0"]
    return subprocess.run([*command, *address], capture_output=True, timeout=10, check=False).returncode


async def test_cold_start_and_strangers_are_told_to_snmp_sinks(tmp_path: Path) -> None:
    secret = tmp_path / "trap-community"
    secret.write_text("trapped")
    secret.chmod(0o600)
    async with (
        Snmptrapd(tmp_path / "trapd", ["authCommunity log trapped"]) as trapd,
        AgentProcess(
            tmp_path,
            deliver=[
                {"name": "noc", "kind": "snmp", "to": trapd.address, "version": "v2c", "type": "trap",
                 "community": {"file": str(secret)}},
            ],
        ) as agent,
    ):  # fmt: skip
        (first,) = await trapd.wait_for(1)
        codes = [await asyncio.to_thread(_ask_as_a_stranger, agent.snmp_port) for _ in range(3)]
        _, second, *more = await trapd.wait_for(2)
        status = await agent.status()

    assert first.oid == COLD_START
    assert codes == [1, 1, 1]
    assert second.oid == AUTHENTICATION_FAILURE
    assert more == []  # one a minute and source
    assert status["spool"]["entries"] == 0
    assert "a request from 127.0.0.1 failed authentication" in agent.log
