"""A Luna's audit store from empty to full and back: everybody is told what is coming before cryptography stops."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from tests.peers.agent import AgentProcess, source
from tests.peers.require import require
from tests.peers.rsyslog import Rsyslog
from tests.peers.snmptrapd import Snmptrapd
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

BASE = ".1.3.6.1.4.1.8072.9999.9999.4801"
KINDS = {f"{BASE}.0.1": "RAISED", f"{BASE}.0.2": "CHANGED", f"{BASE}.0.3": "CLEARED"}
SEVERITIES: dict[object, str] = {1: "cleared", 3: "critical", 6: "warning"}
EVENT_ID, SEVERITY, RULE = (f"{BASE}.1.8.{n}.0" for n in (1, 2, 8))
CAPACITY = 1000
EXPECTED = [
    ("audit-time-to-full", "RAISED", "critical"),
    ("audit-not-draining", "RAISED", "warning"),
    ("audit-fill", "RAISED", "warning"),
    ("audit-fill", "CHANGED", "critical"),
    ("audit-not-draining", "CLEARED", "cleared"),
    ("audit-time-to-full", "CLEARED", "cleared"),
    ("audit-fill", "CHANGED", "warning"),
    ("audit-fill", "CLEARED", "cleared"),
]


async def test_the_store_fills_stops_the_hsm_and_drains(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "root-ca")
    hsm.set_luna()
    hsm.set_audit(0, capacity=CAPACITY)
    secret = tmp_path / "trap-community"
    secret.write_text("trapped")
    secret.chmod(0o600)
    rhythm = {"every": "100ms", "audit_every": "100ms", "storage_every": "100ms", "audit_capacity": CAPACITY}
    async with (
        Snmptrapd(tmp_path / "trapd", ["authCommunity log trapped"]) as trapd,
        Rsyslog(program=require("rsyslogd"), folder=tmp_path) as rsyslog,
        AgentProcess(
            tmp_path,
            sources=[source("luna", hsm.module, hsm.environment, **rhythm)],
            # The records have to stay for a quarter of an hour; here for a second.
            rules=[{"name": "audit-not-draining", "not_falling": {"warning": "1s"}}],
            deliver=[
                {"name": "noc", "kind": "snmp", "to": trapd.address, "version": "v2c", "type": "inform",
                 "community": {"file": str(secret)}},
                {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"},
            ],
        ) as agent,
    ):  # fmt: skip
        await agent.until(lambda status: bool(status["tokens"]))
        # Others leave a few records a second; the application at hand ten with each object it makes.
        hsm.set_audit(0, rate=20, per_object=10, capacity=CAPACITY)
        application = asyncio.create_task(asyncio.to_thread(_work_until_refused, hsm))
        await agent.until(lambda status: _raised(status).get("audit-fill") == "critical")
        refused = await application
        readings = await _seen_from_outside(agent)
        hsm.set_audit(900, rate=-500, capacity=CAPACITY)
        await agent.until(lambda status: not status["alarms"])
        records = [r for r in await rsyslog.until(len(EXPECTED)) if r.message_id.startswith("ALARM")]
        async with asyncio.timeout(10):
            while len(alarms := [n for n in trapd.notifications if n.oid in KINDS]) < len(EXPECTED):
                await asyncio.sleep(0.02)

    assert "0x80000035" in refused
    assert "CKR_LOG_FULL" in readings
    told = [(n.text(RULE), KINDS[n.oid], SEVERITIES[n.varbinds[SEVERITY]]) for n in alarms]
    assert told == EXPECTED
    assert [r.data["hsm@32473"]["eventId"] for r in records] == [n.text(EVENT_ID) for n in alarms]
    assert [r.message_id for r in records] == [f"ALARM_{kind}" for _, kind, _ in EXPECTED]
    assert records[0].data["alarm"]["probableCause"] == "storageCapacityProblem"


def _raised(status: dict[str, Any]) -> dict[str, str]:
    return {alarm["rule"]: alarm["severity"] for alarm in status["alarms"]}


def _work_until_refused(hsm: FakeHsm) -> str:
    """An application that goes on making objects until it may not; returns what it was told."""
    with hsm.user("root-ca") as user:
        while True:
            try:
                user.create_objects(1, size=10)
            except RuntimeError as error:
                return str(error)
            time.sleep(0.06)


async def _seen_from_outside(agent: AgentProcess) -> str:
    """What another process reads while the HSM refuses nearly everything; no source fails by it."""
    status = await agent.status()
    assert all(each["status"] == "up" for each in status["sources"])
    code, out, _ = await agent.run("poll", "--config", str(agent.file))
    assert code == 0
    return out
