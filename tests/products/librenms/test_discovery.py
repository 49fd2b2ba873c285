"""LibreNMS's discovery and polling of a running agent over SNMPv3, before and after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tests.peers import librenms, netsnmp
from tests.peers.agent import AgentProcess, source
from tests.peers.mibs import OURS, base_mibs
from tests.peers.netsnmp import NetSnmp
from tests.peers.require import ROOT
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

OS = "hsm-agent"
DEFINITION = ROOT / "integrations" / "librenms" / "resources" / "definitions" / "os_discovery" / f"{OS}.yaml"
MODULES = yaml.safe_load(DEFINITION.read_text(encoding="utf-8"))["modules"]
AUTH, PRIVACY = "an-authentication-secret", "a-privacy-secret"
NMS = netsnmp.v3("nms", "SHA-512", AUTH, "AES-256", PRIVACY)
MOVING = {"delay"}
"""What differs from one moment to the next."""


def secret(folder: Path, name: str, text: str) -> dict[str, str]:
    path = folder / name
    path.write_text(text, encoding="ascii")
    path.chmod(0o600)
    return {"file": str(path)}


async def discover(agent: AgentProcess) -> list[dict[str, Any]]:
    """The sensors that are found, each polled with the value it was found with."""
    address = f"udp:127.0.0.1:{agent.snmp_port}"
    walks = await librenms.walk(NetSnmp(address, NMS, f"{base_mibs().path}:{OURS}"), MODULES)
    sensors = librenms.sensors(OS, MODULES, walks)
    polled = await librenms.poll(NetSnmp(address, NMS), [sensor["sensor_oid"] for sensor in sensors])
    for sensor in sensors:
        assert polled[sensor["sensor_oid"]].isdecimal(), sensor
        if sensor["sensor_class"] not in MOVING:
            assert int(polled[sensor["sensor_oid"]]) / sensor["sensor_divisor"] == sensor["sensor_current"], sensor
    return sensors


async def test_a_running_agent_is_discovered_and_keeps_its_sensors_over_a_restart(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments", "付款")
    for label in ("payments", "付款"):
        hsm.set_memory(total=1_000_000, free=900_000, token=label)
        hsm.set_session_limit(50, token=label)
    hsm.set_luna(token="payments")
    hsm.set_audit(records=1000, token="payments")
    agent = AgentProcess(tmp_path, sources=[source("luna-a", hsm.module, hsm.environment, audit_every="1h")])
    agent.settings["serve"]["snmp"]["users"] = [
        {
            "name": "nms",
            "auth": {"protocol": "SHA-512", "secret": secret(tmp_path, "auth", AUTH)},
            "privacy": {"protocol": "AES-256", "secret": secret(tmp_path, "privacy", PRIVACY)},
        }
    ]
    agent.configure()
    async with agent:
        await agent.until(lambda status: len(status["tokens"]) >= 2)
        before = await discover(agent)
        await agent.stop()
        await agent.start()
        await agent.until(
            lambda status: len(status["tokens"]) >= 2 and all(s["status"] == "up" for s in status["sources"])
        )
        after = await discover(agent)

    names = {sensor["sensor_descr"] for sensor in before}
    assert {"token payments of luna-a: private memory", "token 付款 of luna-a: sessions"} <= names
    assert any(name.startswith("audit ") and name.endswith(": time to full") for name in names)
    assert not any("slot " in name for name in names)
    kept = ("sensor_class", "sensor_oid", "sensor_index", "sensor_descr")
    assert [[sensor[key] for key in kept] for sensor in after] == [[sensor[key] for key in kept] for sensor in before]
