"""An alarm from its raise to its clear: memory that fills to a warning, then to critical, and is freed again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.peers.agent import AgentProcess, source
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TOTAL_BYTES = 1_000_000


def community_file(directory: Path, text: str) -> dict[str, str]:
    """A secret as a configuration names it."""
    path = directory / "trap-community"
    path.write_text(text, encoding="ascii")
    path.chmod(0o600)
    return {"file": str(path)}


def trap_sink(directory: Path, address: str, community: str) -> dict[str, Any]:
    """A sink for v2c traps."""
    secret = community_file(directory, community)
    return {"name": "noc", "kind": "snmp", "to": address, "version": "v2c", "type": "trap", "community": secret}


class Crossing:
    """A token `payments` of the source `fake`, and the agent that watches it."""

    def __init__(self, directory: Path, deliver: Sequence[dict[str, Any]] = ()) -> None:
        self._hsm = FakeHsm(directory / "hsm", "payments")
        self._hsm.set_memory(total=TOTAL_BYTES, free=900_000)
        self.agent = AgentProcess(
            directory, sources=[source("fake", self._hsm.module, self._hsm.environment)], deliver=deliver
        )

    async def cross(self) -> None:
        """Raised as a warning, changed to critical, cleared."""
        await self.agent.until(lambda status: bool(status["tokens"]))
        await self.fill(200_000, "warning")
        await self.fill(50_000, "critical")
        self._hsm.set_memory(free=900_000)
        await self.agent.until(lambda status: not status["alarms"])

    async def fill(self, free_bytes: int, severity: str) -> None:
        """Leave that much memory, and wait for the alarm."""
        self._hsm.set_memory(free=free_bytes)
        await self.agent.until(lambda status: [alarm["severity"] for alarm in status["alarms"]] == [severity])
