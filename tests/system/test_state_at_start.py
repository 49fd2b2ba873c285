"""A state directory that can't be used at the start: all but SNMPv3 runs from memory, and it mends without a restart."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers import private_mounts
from tests.peers.agent import COMMUNITY, AgentProcess, source
from tests.peers.netsnmp import NetSnmp, v2c, v3
from tests.peers.require import require
from tests.peers.rights import needs_private_mounts
from tests.peers.rsyslog import Rsyslog
from tests.peers.snmptrapd import Snmptrapd
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

USER, AUTH, PRIVACY = "nms", "authentic-123", "encrypted-123"
NAME = ".1.3.6.1.2.1.1.5.0"
FULL = 'mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" && head -c 1M /dev/zero >"$1/filler"; shift && exec "$@"'
READ_ONLY = 'mount -t tmpfs -o size=8m,mode=700,ro tmpfs "$1" && shift && exec "$@"'


@pytest.fixture
def hsm(tmp_path: Path) -> FakeHsm:
    made = FakeHsm(tmp_path / "hsm", "payments")
    made.set_memory(total=1_000_000, free=900_000)
    return made


@pytest.fixture
async def rsyslog(tmp_path: Path) -> AsyncIterator[Rsyslog]:
    async with Rsyslog(program=require("rsyslogd"), folder=tmp_path) as peer:
        yield peer


@pytest.fixture
async def trapd(tmp_path: Path) -> AsyncIterator[Snmptrapd]:
    lines = [f'createUser {USER} SHA-256 "{AUTH}" AES "{PRIVACY}"', f"authUser log {USER}"]
    async with Snmptrapd(tmp_path / "trapd", lines) as peer:
        yield peer


def _user(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"name": USER}
    for key, protocol, secret in (("auth", "SHA-256", AUTH), ("privacy", "AES-128", PRIVACY)):
        path = folder / f"{key}.secret"
        path.write_text(secret)
        path.chmod(0o600)
        found[key] = {"protocol": protocol, "secret": {"file": str(path)}}
    return found


def _agent(folder: Path, hsm: FakeHsm, rsyslog: Rsyslog, trapd: Snmptrapd, *command: str) -> AgentProcess:
    user = _user(folder)
    agent = AgentProcess(
        folder,
        sources=[source("fake", hsm.module, hsm.environment)],
        deliver=[
            {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"},
            {"name": "noc", "kind": "snmp", "to": trapd.address, "version": "v3", "type": "inform", "user": user},
        ],
        command=command,
    )
    agent.settings["serve"]["snmp"]["users"] = [user]
    agent.configure()
    return agent


async def _told(rsyslog: Rsyslog, kind: str, rule: str) -> str:
    async with asyncio.timeout(30):
        while True:
            for each in rsyslog.received():
                if each.message_id == kind and each.data["hsm@32473"]["rule"] == rule:
                    return each.text
            await asyncio.sleep(0.05)


async def _get(agent: AgentProcess, credentials: tuple[str, ...]) -> bool:
    options = ("-t", "1", "-r", "1")
    manager = NetSnmp(f"127.0.0.1:{agent.snmp_port}", credentials, options=options)
    return "agent-under-test" in (await manager.get(NAME)).out


async def _lives_from_memory(agent: AgentProcess, hsm: FakeHsm, rsyslog: Rsyslog, trapd: Snmptrapd) -> None:
    hsm.set_memory(free=50_000)
    await _told(rsyslog, "ALARM_RAISED", "token-memory")
    await _told(rsyslog, "ALARM_RAISED", "spool-failed")
    assert "snmp-engine.json" in await _told(rsyslog, "ALARM_RAISED", "snmpv3-held")
    assert await _get(agent, v2c(COMMUNITY))
    assert not await _get(agent, _V3)
    assert trapd.notifications == []
    walked = await NetSnmp(f"127.0.0.1:{agent.snmp_port}", v2c(COMMUNITY)).walk(".1.3.6.1.4.1.8072.9999.9999.4801.1.3")
    assert 'STRING: "payments"' in walked.values()


async def _is_mended(agent: AgentProcess, rsyslog: Rsyslog, trapd: Snmptrapd) -> None:
    pid = agent.pid
    await _told(rsyslog, "ALARM_CLEARED", "snmpv3-held")
    await _told(rsyslog, "ALARM_CLEARED", "spool-failed")
    assert await _get(agent, _V3)
    await trapd.wait_for(2, seconds=30)
    await agent.until(lambda status: not status["spool"]["failed"] and status["spool"]["entries"] == 0, seconds=30)
    assert agent.pid == pid


_V3 = v3(USER, "SHA-256", AUTH, "AES-128", PRIVACY)


async def test_a_file_where_the_folder_should_be(
    tmp_path: Path, hsm: FakeHsm, rsyslog: Rsyslog, trapd: Snmptrapd
) -> None:
    (tmp_path / "state").touch()
    async with _agent(tmp_path, hsm, rsyslog, trapd) as agent:
        await _lives_from_memory(agent, hsm, rsyslog, trapd)
        (tmp_path / "state").unlink()
        await _is_mended(agent, rsyslog, trapd)
        assert await agent.stop() == 0

    assert json.loads((tmp_path / "state" / "snmp-engine.json").read_text())["boots"]


@needs_private_mounts
@pytest.mark.parametrize("script", [FULL, READ_ONLY], ids=["full", "read-only"])
async def test_a_disk_that_takes_nothing(
    tmp_path: Path, hsm: FakeHsm, rsyslog: Rsyslog, trapd: Snmptrapd, script: str
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    command = private_mounts.command("sh", "-c", script, "sh", str(state))
    async with _agent(tmp_path, hsm, rsyslog, trapd, *command) as agent:
        await _lives_from_memory(agent, hsm, rsyslog, trapd)
        inside = [str(require("nsenter")), "--mount", "--root", "-t", str(agent.pid), "mount", "-o"]
        subprocess.run([*inside, "remount,rw,size=16m", str(state)], check=True)
        await _is_mended(agent, rsyslog, trapd)


async def test_the_control_socket_comes_with_the_folder(
    tmp_path: Path, hsm: FakeHsm, rsyslog: Rsyslog, trapd: Snmptrapd
) -> None:
    (tmp_path / "state").touch()
    agent = _agent(tmp_path, hsm, rsyslog, trapd)
    agent.control = tmp_path / "state" / "control"
    agent.settings["agent"]["control_socket"] = str(agent.control)
    agent.configure()
    await agent.start(wait=False)
    try:
        async with asyncio.timeout(20):
            while "the control socket waits for the disk" not in agent.log:
                await asyncio.sleep(0.05)
        (tmp_path / "state").unlink()
        await agent.until(lambda _: True, seconds=30)
    finally:
        await agent.stop()


async def test_a_damaged_engine_file_holds_back_snmpv3_until_it_is_put_right(
    tmp_path: Path, hsm: FakeHsm, rsyslog: Rsyslog, trapd: Snmptrapd
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "snmp-engine.json").write_text("[[[")
    async with _agent(tmp_path, hsm, rsyslog, trapd) as agent:
        assert "not what the agent wrote" in await _told(rsyslog, "ALARM_RAISED", "snmpv3-held")
        assert await _get(agent, v2c(COMMUNITY))
        assert not await _get(agent, _V3)
        assert (state / "snmp-engine.json").read_text() == "[[["
        (state / "snmp-engine.json").unlink()
        await _told(rsyslog, "ALARM_CLEARED", "snmpv3-held")
        assert await _get(agent, _V3)
