"""net-snmp's command-line tools as an independent manager. Needs no pytest: scripts and benchmarks use it too."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass, field

from tests.peers.require import require

_SECONDS = 30.0
_MODULES = "HSM-AGENT-MIB:SNMPv2-MIB:SNMP-FRAMEWORK-MIB:SNMP-MPD-MIB:SNMP-TARGET-MIB:SNMP-USER-BASED-SM-MIB"
_LINE = re.compile(r"^(?P<name>\.[0-9.]+) = (?P<value>.*(?:\n(?!\.[0-9.]+ = ).*)*)", re.MULTILINE)
_PRIVACY = {"AES-128": "AES", "AES-192": "AES-192", "AES-256": "AES-256"}


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool printed, and how it ended."""

    code: int
    out: str
    err: str


def v2c(community: str) -> tuple[str, ...]:
    """Credentials by community."""
    return ("-v2c", "-c", community)


def v3(
    user: str,
    auth: str,
    auth_secret: str,
    privacy: str | None = None,
    privacy_secret: str = "",
) -> tuple[str, ...]:
    """Credentials of a user; protocols by the names of the agent's configuration."""
    known = ("-v3", "-u", user, "-a", auth, "-A", auth_secret)
    if privacy is None:
        return (*known, "-l", "authNoPriv")
    return (*known, "-l", "authPriv", "-x", _PRIVACY[privacy], "-X", privacy_secret)


@dataclass(frozen=True, slots=True)
class NetSnmp:
    """Asks one agent with one set of credentials. `mibs` are folders of MIB texts; without them names are numbers."""

    address: str
    credentials: tuple[str, ...]
    mibs: str = ""
    options: tuple[str, ...] = field(default=("-t", "5", "-r", "1"))

    async def run(self, tool: str, *arguments: str) -> Said:
        """Any of the tools; `arguments` are options, or come behind the agent's address."""
        options = [one for one in arguments if one.startswith("-")]
        rest = [one for one in arguments if not one.startswith("-")]
        shown = ("-M", self.mibs, "-m", _MODULES) if self.mibs else ("-m", "", "-On", "-Oe")
        process = await asyncio.create_subprocess_exec(
            str(require(tool)), *shown, *self.credentials, *self.options, *options, self.address, *rest,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"SNMPCONFPATH": os.devnull, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        async with asyncio.timeout(_SECONDS):
            out, err = await process.communicate()
        return Said(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))

    async def get(self, *names: str) -> Said:
        """snmpget."""
        return await self.run("snmpget", *names)

    async def walk(self, root: str, *, tool: str = "snmpbulkwalk") -> dict[str, str]:
        """Names and values below a root, as the tool prints them in numbers."""
        said = await self.run(tool, root)
        assert said.code == 0, said
        found = [(line["name"], line["value"].rstrip("\n")) for line in _LINE.finditer(said.out)]
        return {name: value for name, value in found if not value.startswith("No more variables left")}
