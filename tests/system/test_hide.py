"""`serve.hide` on a running agent: every view is walked for the names of a Luna's tokens; what tells the truth does."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.peers.agent import COMMUNITY, AgentProcess, source
from tests.peers.netsnmp import NetSnmp, v2c
from tests.peers.processes import until
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LABELS = ("payments-marker", "signing-marker")
PATHS = ("", "metrics", "api/v1/status", "readyz", "healthz")
PSEUDONYM = re.compile(r"hidden-[a-z2-7]{8}")


async def http(agent: AgentProcess) -> str:
    def read() -> Iterator[str]:
        for path in PATHS:
            with urllib.request.urlopen(f"http://127.0.0.1:{agent.http_port}/{path}", timeout=10) as answer:
                yield re.sub("<style>.*?</style>", "", answer.read().decode(), flags=re.DOTALL)

    return "\n".join(await asyncio.to_thread(list, read()))


async def snmp(agent: AgentProcess, community: str) -> str:
    manager = NetSnmp(f"127.0.0.1:{agent.snmp_port}", v2c(community), options=("-Oa",))
    return (await manager.run("snmpbulkwalk", "1.3.6.1")).out


def stands(name: str, text: str) -> bool:
    """Not as part of a longer number."""
    return re.search(rf"(?<![\d.]){re.escape(name)}(?!\d|\.\d)", text) is not None


def secrets_of(status: dict[str, Any]) -> set[str]:
    """Labels, serial numbers and firmware versions, as the control socket tells them."""
    infos = [each["labels"] for each in status["readings"] if each["metric"] in {"token_info", "hsm_firmware_info"}]
    found = {info.get(name, "") for info in infos for name in ("label", "serial", "firmware", "version")}
    return {*found, *LABELS} - {""}


async def test_no_view_but_an_open_one_shows_a_name_and_a_restart_changes_no_pseudonym(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", *LABELS)
    hsm.set_luna()
    hsm.set_audit(0)
    hsm.set_memory(total=1000, free=10, token=LABELS[0])
    luna = source("luna", hsm.module, hsm.environment, every="1s", tokens=["*", "third-marker"])
    agent = AgentProcess(tmp_path, sources=[luna])
    open_community = tmp_path / "open"
    open_community.write_text("open-community", encoding="ascii")
    open_community.chmod(0o600)
    agent.settings["serve"]["hide"] = ["labels", "serials", "firmware"]
    agent.settings["serve"]["snmp"]["communities"].append({"name": {"file": str(open_community)}, "hide": []})
    agent.configure()

    async with agent:
        status = await agent.until(lambda now: {"token-memory", "token-missing"} <= {each["rule"] for each in now["alarms"]})  # fmt: skip
        names = {*secrets_of(status), "third-marker"}
        shown = [await http(agent), await snmp(agent, COMMUNITY)]
        told = await snmp(agent, "open-community")
        pseudonyms = set(PSEUDONYM.findall(shown[0]))

        assert len(names) >= 6
        assert [name for name in names if any(stands(name, text) for text in shown)] == []
        assert all(label in told for label in LABELS)
        assert [each["label"] for each in status["tokens"] if each["label"]] == [*LABELS]
        assert len(pseudonyms) >= 6
        assert pseudonyms & set(PSEUDONYM.findall(shown[1]))

        assert await agent.stop() == 0
        await agent.start()
        await agent.until(lambda now: now["sources"][1]["status"] == "up")
        assert set(PSEUDONYM.findall(await http(agent))) >= pseudonyms

        agent.settings["serve"]["hide"] = []
        agent.configure()
        os.kill(agent.pid, signal.SIGHUP)
        await until(lambda: "Configuration loaded" in agent.log, seconds=10.0)
        assert all(label in text for text in [await http(agent), await snmp(agent, COMMUNITY)] for label in LABELS)
