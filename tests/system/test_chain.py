"""The whole chain on real receivers: a reading crosses its threshold, and everybody is told, and told again when it is over."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

from tests.peers.agent import COMMUNITY, AgentProcess, source
from tests.peers.require import require
from tests.peers.rsyslog import Rsyslog
from tests.peers.snmptrapd import Snmptrapd
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

BASE = ".1.3.6.1.4.1.8072.9999.9999.4801"
RAISED, CHANGED, CLEARED = f"{BASE}.0.1", f"{BASE}.0.2", f"{BASE}.0.3"
EVENT_ID, SEVERITY, RESOURCE, VALUE, RULE, ALARM_ID = (f"{BASE}.1.8.{n}.0" for n in (1, 2, 4, 6, 8, 10))


async def test_a_crossing_arrives_as_inform_trap_and_relp_record_and_clears(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments")
    hsm.set_memory(total=1_000_000, free=900_000)
    secret = tmp_path / "trap-community"
    secret.write_text("trapped")
    secret.chmod(0o600)
    async with (
        Snmptrapd(tmp_path / "trapd", ["authCommunity log trapped"]) as trapd,
        Rsyslog(program=require("rsyslogd"), folder=tmp_path) as rsyslog,
        AgentProcess(
            tmp_path,
            sources=[source("fake", hsm.module, hsm.environment)],
            deliver=[
                {"name": "noc", "kind": "snmp", "to": trapd.address, "version": "v2c", "type": "inform",
                 "community": {"file": str(secret)}},
                {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"},
            ],
        ) as agent,
    ):  # fmt: skip
        await agent.until(lambda status: bool(status["tokens"]))
        hsm.set_memory(free=200_000)
        await agent.until(lambda status: len(status["alarms"]) == 1)
        hsm.set_memory(free=50_000)
        await agent.until(lambda status: any(a["severity"] == "critical" for a in status["alarms"]))
        walk = await asyncio.to_thread(_walk, agent.snmp_port)
        hsm.set_memory(free=900_000)
        await agent.until(lambda status: not status["alarms"])
        records = [r for r in await rsyslog.until(3) if r.message_id.startswith("ALARM")]
        async with asyncio.timeout(10):
            while len(alarms := [n for n in trapd.notifications if n.oid in (RAISED, CHANGED, CLEARED)]) < 3:
                await asyncio.sleep(0.02)

    assert [n.oid for n in alarms] == [RAISED, CHANGED, CLEARED]
    assert [n.varbinds[SEVERITY] for n in alarms] == [6, 3, 1]
    assert {n.text(RESOURCE) for n in alarms} == {"payments"}
    assert {n.text(RULE) for n in alarms} == {"token-memory"}
    assert len({n.text(ALARM_ID) for n in alarms}) == 1
    assert [r.message_id for r in records] == ["ALARM_RAISED", "ALARM_CHANGED", "ALARM_CLEARED"]
    assert [r.pri & 7 for r in records] == [4, 1, 5]
    assert [r.data["hsm@32473"]["eventId"] for r in records] == [n.text(EVENT_ID) for n in alarms]
    assert records[0].data["hsm@32473"]["value"] == "80"
    assert f"{BASE}.1.3.1.13.1 = Gauge32: 9500" in walk
    assert f"{BASE}.1.6.1.3.1 = INTEGER: 3" in walk


def _walk(port: int) -> str:
    command = [str(require("snmpbulkwalk")), "-v2c", "-c", COMMUNITY, "-On", f"127.0.0.1:{port}", BASE]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env={"MIBS": ""}).stdout
