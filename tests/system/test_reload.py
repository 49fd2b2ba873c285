"""SIGHUP, when something is in the way: whole or not at all, and never the end of the agent."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.peers.agent import COMMUNITY, AgentProcess, source
from tests.peers.netsnmp import NetSnmp, v2c
from tests.peers.processes import until
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ENTERPRISES = "1.3.6.1.4.1"
REFUSED = "configuration refused, the old one stays"


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[AgentProcess]:
    hsm = FakeHsm(tmp_path / "hsm", "payments")
    sources = [source(name, hsm.module, hsm.environment) for name in ("stays", "goes")]
    async with AgentProcess(tmp_path, sources=sources) as process:
        await process.until(lambda status: len(status["tokens"]) == 2)
        yield process


async def _reload(agent: AgentProcess, containing: str) -> None:
    before = agent.log.count(containing)
    agent.configure()
    os.kill(agent.pid, signal.SIGHUP)
    await until(lambda: agent.log.count(containing) > before, seconds=10.0)


async def _walk(agent: AgentProcess, community: str = COMMUNITY) -> str:
    address = f"127.0.0.1:{agent.snmp_port}"
    manager = NetSnmp(address, v2c(community), options=("-t", "1", "-r", "0"))
    return (await manager.run("snmpbulkwalk", ENTERPRISES)).out


async def test_a_port_that_is_taken_leaves_all_servers_as_they_were(agent: AgentProcess, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("another-community", encoding="ascii")
    other.chmod(0o600)
    agent.settings["serve"]["snmp"]["communities"] = [{"name": {"file": str(other)}}]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        agent.settings["serve"]["http"]["listen"] = f"127.0.0.1:{taken.getsockname()[1]}"
        await _reload(agent, REFUSED)

    assert "serve.http.listen" in agent.log
    assert '"payments"' in await _walk(agent)
    assert not await _walk(agent, "another-community")


async def test_a_refused_responder_leaves_http_as_it_was(agent: AgentProcess) -> None:
    free = agent.http_port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        agent.settings["serve"]["snmp"]["listen"] = [f"udp:127.0.0.1:{taken.getsockname()[1]}"]
        agent.settings["serve"]["http"]["listen"] = f"0.0.0.0:{free}"  # the same port: the old one had to make room
        await _reload(agent, REFUSED)

    reader, writer = await asyncio.open_connection("127.0.0.1", free)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    assert '"payments"' in await _walk(agent)


async def test_http_moves_to_all_addresses_of_the_host_on_its_port(agent: AgentProcess) -> None:
    agent.settings["serve"]["http"]["listen"] = f"0.0.0.0:{agent.http_port}"
    await _reload(agent, "Configuration loaded")

    _, writer = await asyncio.open_connection("127.0.0.2", agent.http_port)
    writer.close()


async def test_a_source_that_left_is_shown_by_snmp_no_more(agent: AgentProcess) -> None:
    assert '"goes"' in await _walk(agent)
    del agent.settings["sources"][1]
    await _reload(agent, "Configuration loaded")

    async with asyncio.timeout(5):
        while '"goes"' in await _walk(agent):
            await asyncio.sleep(0.05)
    assert '"stays"' in await _walk(agent)


async def test_a_file_that_no_parser_can_read_is_refused(agent: AgentProcess) -> None:
    before = agent.log.count(REFUSED)
    agent.file.write_text(f"agent: {'[' * 3000}", encoding="ascii")
    os.kill(agent.pid, signal.SIGHUP)
    await until(lambda: agent.log.count(REFUSED) > before, seconds=10.0)

    assert len((await agent.status())["sources"]) == 3


async def test_signals_that_come_while_it_starts_are_heeded(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path)
    await agent.start(wait=False)
    try:
        async with asyncio.timeout(20):
            while not agent.control.exists():
                await asyncio.sleep(0.001)
        os.kill(agent.pid, signal.SIGHUP)

        assert await agent.stop() == 0
    finally:
        if agent.process is not None and agent.process.returncode is None:
            await agent.kill()
