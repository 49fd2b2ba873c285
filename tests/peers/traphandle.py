"""snmptrapd that hands each notification to a program, as SNMPTT and LibreNMS have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.daemon import Daemon
from tests.peers.require import require
from tests.peers.snmptrapd import free_udp_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COMMUNITY = "trapped"


class HandingTrapd(Daemon):
    """`handler` is the command line that gets each notification on its standard input."""

    def __init__(self, directory: Path, handler: str, options: Sequence[str]) -> None:
        """`options` say how names and values are written: `-On`, or the MIBs to load."""
        self._directory = directory
        self._handler = handler
        self._options = options
        self.port = free_udp_port()

    @property
    def log(self) -> Path:
        return self._directory / "snmptrapd.log"

    @property
    def address(self) -> str:
        """For a sink's `to:`."""
        return f"udp:127.0.0.1:{self.port}"

    async def start(self) -> None:
        configuration = self._directory / "snmptrapd.conf"
        configuration.write_text(
            f"authCommunity log,execute {COMMUNITY}\ntraphandle default {self._handler}\n", encoding="utf-8"
        )
        arguments = ["-f", "-n", "-Lo", "-C", "-c", str(configuration), *self._options, self.address]
        environment = {"SNMPCONFPATH": str(self._directory), "SNMP_PERSISTENT_DIR": str(self._directory)}
        await self._run(require("snmptrapd"), arguments, udp=[self.port], environment=environment)
