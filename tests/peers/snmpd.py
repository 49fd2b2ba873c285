"""net-snmp's own agent as a child process in the foreground: a front for ours by `proxy`, and the yardstick of benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.daemon import Daemon
from tests.peers.require import require
from tests.peers.snmptrapd import free_udp_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def proxy_lines(address: str, community: str, base: str) -> list[str]:
    """What snmpd.conf needs to hand our subtree through: NMSs that know one port a host ask snmpd for everything.

    The base is given twice: snmpd's view must hold what it passes on.
    """
    return [f'proxy -v 2c -c "{community}" {address} {base}', f"view hsm included {base}"]


class Snmpd(Daemon):
    """An snmpd."""

    def __init__(self, directory: Path, lines: Sequence[str]) -> None:
        """`lines` are its configuration; `directory` is its own."""
        self._directory = directory
        self._lines = lines
        self.port = free_udp_port()

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"udp:127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self._directory / "snmpd.log"

    async def start(self) -> None:
        program = require("snmpd")
        persistent = self._directory / "persistent"
        persistent.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "snmpd.conf"
        configuration.write_text("".join(f"{line}\n" for line in self._lines), encoding="utf-8")
        arguments = ["-f", "-C", "-c", str(configuration), "-Lo", "-I", "-smux,-agentx", self.address]
        environment = {"SNMPCONFPATH": str(self._directory), "SNMP_PERSISTENT_DIR": str(persistent), "MIBS": ""}
        await self._run(program, arguments, udp=[self.port], environment=environment)
