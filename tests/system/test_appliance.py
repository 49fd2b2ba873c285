"""An appliance read over SNMP, from its own objects to status, `/metrics`, the MIB, and an alarm."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.fakes import appliances
from tests.peers.agent import COMMUNITY, AgentProcess
from tests.peers.netsnmp import NetSnmp, v2c
from tests.peers.snmpsim import Snmpsim

if TYPE_CHECKING:
    from pathlib import Path

READINGS = ".1.3.6.1.4.1.8072.9999.9999.4801.1.5"


def _source(directory: Path, port: int) -> dict[str, Any]:
    community = directory / "appliance-community"
    community.write_text("utimaco", encoding="ascii")
    community.chmod(0o600)
    values = [{"oid": "1.3.6.1.4.1.3159.1.1.5.0", "metric": "custom_queue_percent"}]
    return {
        "name": "csl",
        "kind": "snmp",
        "to": f"udp:127.0.0.1:{port}",
        "version": "v2c",
        "community": {"file": str(community)},
        "profile": "utimaco",
        "custom": {"values": values},
        "every": "500ms",
        "timeout": "2s",
    }


def _page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def _active(status: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(alarm["rule"], alarm["resource"]): alarm["severity"] for alarm in status["alarms"]}


async def test_an_appliance_goes_all_the_way(tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = [
        {"name": "queue", "metric": "custom_queue_percent", "above": {"warning": 10}},
        {"name": "clock-offset", "enabled": False},
    ]
    async with (
        Snmpsim(tmp_path / "snmpsim", {"utimaco": appliances.utimaco()}) as peer,
        AgentProcess(tmp_path, sources=[_source(tmp_path, peer.port)], rules=rules) as agent,
    ):
        status = await agent.until(lambda status: ("queue", "") in _active(status))
        peer.serve("utimaco", appliances.utimaco(mode="MAINTENANCE"))
        down = await agent.until(lambda status: ("appliance", "PCI:0") in _active(status))
        peer.serve("utimaco", appliances.utimaco())
        await agent.until(lambda status: ("appliance", "PCI:0") not in _active(status))
        page = await asyncio.to_thread(_page, f"http://127.0.0.1:{agent.http_port}/metrics")
        walked = (await NetSnmp(f"127.0.0.1:{agent.snmp_port}", v2c(COMMUNITY)).run("snmpwalk", READINGS)).out
        _, polled, _ = await agent.run("poll", "--config", str(agent.file))

    mine = [reading for reading in status["readings"] if reading["metric"] == "custom_queue_percent"]
    assert [(reading["source"], reading["value"], reading["unit"]) for reading in mine] == [("csl", 12, "percent")]
    assert _active(down)["appliance", "PCI:0"] == "critical"
    assert 'hsm_custom_queue_percent{resource="",source="csl"} 12.0' in page
    assert '"custom_queue_percent"' in walked
    assert '"sensor_fan_rpm"' in walked
    assert any("custom_queue_percent" in line and "percent" in line for line in polled.splitlines())


async def test_a_rule_on_a_metric_that_no_source_declares_is_refused(tmp_path: Path) -> None:
    agent = AgentProcess(
        tmp_path,
        sources=[_source(tmp_path, 161)],
        rules=[{"name": "queue", "metric": "custom_queue_percents", "above": {"warning": 10}}],
    )

    code, _, said = await agent.run("check-config", "--config", str(agent.file))

    assert code == 2
    assert "rules.0.metric: no source declares 'custom_queue_percents', did you mean 'custom_queue_percent'?" in said
