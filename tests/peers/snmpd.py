"""net-snmp's own agent as a child process in the foreground: a front for ours by `proxy`, and the yardstick of benchmarks."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.peers.ports import until_listening
from tests.peers.require import environment_for, require
from tests.peers.snmptrapd import free_udp_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

_STOP_SECONDS = 5.0


def proxy_lines(address: str, community: str, base: str) -> list[str]:
    """What snmpd.conf needs to hand our subtree through: NMSs that know one port a host ask snmpd for everything.

    The base is given twice: snmpd's view must hold what it passes on.
    """
    return [f'proxy -v 2c -c "{community}" {address} {base}', f"view hsm included {base}"]


class Snmpd:
    """An snmpd in the foreground. `async with`, or `start` and `stop`."""

    def __init__(self, directory: Path, lines: Sequence[str]) -> None:
        """`lines` are its configuration; `directory` is its own."""
        self._directory = directory
        self._lines = lines
        self.port = free_udp_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"udp:127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it listens."""
        program = require("snmpd")
        persistent = self._directory / "persistent"
        persistent.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "snmpd.conf"
        configuration.write_text("".join(f"{line}\n" for line in self._lines), encoding="utf-8")
        log = self._directory / "snmpd.log"
        self._process = await asyncio.create_subprocess_exec(
            str(program), "-f", "-C", "-c", str(configuration), "-Lf", str(log), "-I", "-smux,-agentx", self.address,
            stdin=asyncio.subprocess.DEVNULL,
            env=os.environ
            | environment_for(program)
            | {"SNMPCONFPATH": str(self._directory), "SNMP_PERSISTENT_DIR": str(persistent), "MIBS": ""},
        )  # fmt: skip
        await until_listening(self._process, [], [self.port], log)

    async def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
