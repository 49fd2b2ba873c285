"""The three responders of figure 2, started side by side with the same table: the agent, snmpd, pysnmp."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.messages import AUTH_SECRET, COMMUNITY, PRIVACY_SECRET, USER, Asker
from benchmarks.process import SERVER_CORE, pin
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.mib import BASE
from hsm_agent.wire.snmp.pdu import Version
from tests.peers.agent import ROOT, AgentProcess, source
from tests.peers.ports import free_port, until_listening
from tests.peers.snmpd import Snmpd
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from hsm_agent.wire.snmp.ber import VarBind

TOKEN_TABLE = (*BASE, 1, 3)
_LABELS = (*TOKEN_TABLE, 1, 3)
_TOKENS_SEEN_SECONDS = 30.0
_OVERRIDE_TYPES = {
    ber.INTEGER: "integer",
    ber.OCTET_STRING: "octet_str",
    ber.GAUGE32: "uinteger",
    ber.COUNTER32: "counter",
    ber.COUNTER64: "uinteger",  # snmpd's override has no Counter64
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Responder:
    """One that answers."""

    name: str
    port: int
    pid: int


def secret(directory: Path, name: str, text: str) -> dict[str, str]:
    """A secret in a file of its own, as the configuration wants it."""
    file = directory / name
    file.write_text(text, encoding="ascii")
    file.chmod(0o600)
    return {"file": str(file)}


def credentials(directory: Path) -> dict[str, Any]:
    """The community and the user of messages.py, for the agent's `serve.snmp`."""
    return {
        "communities": [{"name": secret(directory, "read-community", COMMUNITY)}],
        "users": [
            {
                "name": USER,
                "auth": {"protocol": "SHA-256", "secret": secret(directory, "auth", AUTH_SECRET)},
                "privacy": {"protocol": "AES-128", "secret": secret(directory, "privacy", PRIVACY_SECRET)},
            }
        ],
    }


def invented_tokens(directory: Path, tokens: int) -> FakeHsm:
    """A test HSM with so many tokens that report everything there is to report."""
    hsm = FakeHsm(directory / "hsm")
    hsm.set("calls.file", None)
    hsm.set_extra_slots(tokens)
    hsm.set_memory(total=2_097_152, free=1_500_000)
    hsm.set_session_limit(1000)
    hsm.set_luna()
    return hsm


@asynccontextmanager
async def all_three(directory: Path, tokens: int) -> AsyncIterator[tuple[list[Responder], list[VarBind]]]:
    """The agent with so many tokens, and the others with its token table; all on one core. And the table."""
    hsm = invented_tokens(directory, tokens)
    agent = AgentProcess(
        directory, sources=[source("bench", hsm.module, hsm.environment, every="10m", timeout="30s")]
    )  # fmt: skip
    agent.settings["serve"]["snmp"] |= credentials(directory)
    agent.configure()
    async with agent:
        table = await whole_table(agent.snmp_port, tokens)
        (directory / "snmpd").mkdir()
        async with Snmpd(directory / "snmpd", _snmpd_lines(table)) as snmpd, _pysnmp(directory, table) as pysnmp:
            responders = [
                Responder(name="hsm-agent", port=agent.snmp_port, pid=agent.pid),
                Responder(name="snmpd", port=snmpd.port, pid=snmpd.pid),
                pysnmp,
            ]
            for responder in responders:
                pin(responder.pid, SERVER_CORE)
            yield responders, table


async def whole_table(port: int, tokens: int) -> list[VarBind]:
    """The agent's token table, once all tokens are in it."""
    asker = Asker.meet(port, Version.V2C)
    async with asyncio.timeout(_TOKENS_SEEN_SECONDS):
        while True:
            _, table = asker.walk(TOKEN_TABLE)
            if sum(one.name[: len(_LABELS)] == _LABELS for one in table) >= tokens:
                return table
            await asyncio.sleep(0.05)


def _snmpd_lines(table: Sequence[VarBind]) -> list[str]:
    lines = [
        f"rocommunity {COMMUNITY} 127.0.0.1",
        f'createUser {USER} SHA-256 "{AUTH_SECRET}" AES "{PRIVACY_SECRET}"',
        f"rouser {USER} authPriv",
    ]
    for one in table:
        name = ".".join(map(str, one.name))
        lines.append(f"override .{name} {_OVERRIDE_TYPES[one.tag]} {_override_value(one.value)}")
    return lines


def _override_value(value: object) -> str:
    if isinstance(value, bytes):
        text = value.decode("ascii", "replace").replace('"', "'")
        return f'"{text}"' if text else '"-"'  # it takes no empty string
    assert isinstance(value, int)
    return str(min(value, 2**31 - 1))


@asynccontextmanager
async def _pysnmp(directory: Path, table: Sequence[VarBind]) -> AsyncIterator[Responder]:
    file = directory / "table.json"
    rows = [[".".join(map(str, name)), tag, _json_value(value)] for name, tag, value in table]
    file.write_text(json.dumps(rows), encoding="utf-8")
    port = free_port(socket.SOCK_DGRAM)
    with (directory / "pysnmp.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", "-m", "benchmarks.pysnmp_responder", str(port), str(file),
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    try:
        await until_listening(process, [], [port], directory / "pysnmp.log")
        yield Responder(name="pysnmp", port=port, pid=process.pid)
    finally:
        process.kill()
        await process.wait()


def _json_value(value: object) -> object:
    return value.decode("latin-1") if isinstance(value, bytes) else value
