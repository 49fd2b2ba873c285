"""net-snmp's snmptrap and snmpinform: an appliance as far as its traps go. Needs no pytest."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.peers.netsnmp import Said
from tests.peers.require import environment_for, require

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LUNA = "1.3.6.1.4.1.23629.1.5.2.2"
FAN = f"{LUNA}.2"
_SECONDS = 30.0


def reference(*, asserted: bool, date_first: bool = False, host: str = "luna-a:172.20.11.40") -> str:
    """The one varbind of a Luna trap."""
    logfile, date = "messages", "2014 Apr  3 15:47:30"
    first, second = (date, logfile) if date_first else (logfile, date)
    return f"[{host} / {first} / {second} / ipmievd[812] / {int(asserted)}]"


@dataclass(frozen=True, slots=True)
class TrapSender:
    """Sends to one port with one set of credentials (tests.peers.netsnmp). `state` keeps engine boots between calls."""

    to: str
    credentials: tuple[str, ...]
    state: Path
    options: tuple[str, ...] = ("-t", "1", "-r", "1")

    async def send(self, trap: str, *varbinds: str, tool: str = "snmptrap") -> Said:
        """A trap (v2c, v3), or an inform; varbinds are OID, type letter, value."""
        return await self._run(tool, [self.to, "", trap, *varbinds])

    async def send_v1(self, enterprise: str, number: int, *varbinds: str) -> Said:
        """An SNMPv1 trap of an enterprise."""
        return await self._run("snmptrap", [self.to, enterprise, "", "6", str(number), "", *varbinds])

    async def luna(self, number: int, text: str, *, tool: str = "snmptrap") -> Said:
        """One of Luna's notifications."""
        return await self.send(f"{LUNA}.{number}", f"{LUNA}.1", "s", text, tool=tool)

    async def _run(self, tool: str, arguments: Sequence[str]) -> Said:
        program = require(tool)
        own = {"SNMPCONFPATH": str(self.state), "SNMP_PERSISTENT_DIR": str(self.state), "MIBS": "", "LC_ALL": "C.UTF-8"}
        process = await asyncio.create_subprocess_exec(
            str(program), *self.credentials, *self.options, *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environment_for(program), **own},
        )  # fmt: skip
        async with asyncio.timeout(_SECONDS):
            out, err = await process.communicate()
        return Said(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
