"""SIGTERM when nothing wants to end: receivers that say nothing, modules that hang, a reload under way."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tests.peers.agent import COMMUNITY, AgentProcess, source
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

STOP_SECONDS = 5.0


async def test_silent_receivers_hung_modules_and_a_reload_keep_it_no_longer_than_five_seconds(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments")
    hsm.set_memory(total=1_000_000, free=50_000)
    community = tmp_path / "of-receiver"
    community.write_text(COMMUNITY, encoding="ascii")
    community.chmod(0o600)
    with ExitStack() as stack:
        stream = stack.enter_context(socket.socket())
        stream.bind(("127.0.0.1", 0))
        stream.listen()
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        inform = {"version": "v2c", "type": "inform", "community": {"file": str(community)}}
        deliver: list[dict[str, Any]] = [
            {"name": "relp", "kind": "syslog", "to": f"relp:127.0.0.1:{stream.getsockname()[1]}"},
            {"name": "inform", "kind": "snmp", "to": f"udp:127.0.0.1:{datagrams.getsockname()[1]}", **inform},
            {"name": "refused", "kind": "syslog", "to": "tcp:127.0.0.1:1"},
        ]
        sources = [source(f"s{number}", hsm.module, hsm.environment, timeout="30s") for number in range(3)]
        async with AgentProcess(tmp_path, sources=sources, deliver=deliver) as agent:
            await agent.until(lambda status: len(status["alarms"]) >= 3)
            hsm.fault("C_GetTokenInfo", hang_ms=60_000)
            list(hsm.calls())
            await agent.until(lambda _: "C_GetTokenInfo" in list(hsm.calls()))
            agent.settings["sources"] = agent.settings["sources"][:1]
            agent.configure()
            os.kill(agent.pid, signal.SIGHUP)
            began = time.monotonic()

            assert await agent.stop() == 0
            assert time.monotonic() - began < STOP_SECONDS
        assert "events for sink relp stay spooled until the next start" in agent.log
