"""A vendor's alarm through the running agent: in as a Luna trap, out as raise and clear at snmptrapd and rsyslog."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from tests.peers.agent import AgentProcess
from tests.peers.netsnmp import v2c
from tests.peers.require import require
from tests.peers.rsyslog import Rsyslog
from tests.peers.snmptrapd import Notification, Snmptrapd, free_udp_port
from tests.peers.trapsender import TrapSender, reference

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.syslog_receiver import Received

BASE = ".1.3.6.1.4.1.8072.9999.9999.4801"
RAISED, CLEARED = f"{BASE}.0.1", f"{BASE}.0.3"
EVENT_ID, SEVERITY, RESOURCE, RULE, TEXT, ALARM_ID = (f"{BASE}.1.8.{n}.0" for n in (1, 2, 4, 8, 9, 10))
COMMUNITY = "traps-only"


def secret(folder: Path, name: str, text: str) -> dict[str, str]:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return {"file": str(path)}


def appliance_traps(folder: Path, port: int) -> dict[str, Any]:
    return {
        "name": "traps",
        "kind": "snmp_trap_listener",
        "listen": [f"udp:127.0.0.1:{port}"],
        "communities": [{"name": secret(folder, "appliance", COMMUNITY)}],
        "devices": {"127.0.0.1": "luna-a"},
    }


def listens(status: dict[str, Any]) -> bool:
    """Whether the source is up; the first poll opens its socket."""
    return any((source["name"], source["status"]) == ("traps", "up") for source in status["sources"])


def told(trapd: Snmptrapd) -> list[Notification]:
    """Notifications of alarms, each once."""
    return list({n.text(EVENT_ID): n for n in trapd.notifications if n.oid in (RAISED, CLEARED)}.values())


def recorded(records: list[Received]) -> list[Received]:
    """Records of alarms, each once."""
    alarms = [record for record in records if record.message_id.startswith("ALARM")]
    return list({record.data["hsm@32473"]["eventId"]: record for record in alarms}.values())


async def test_a_luna_fan_arrives_as_raise_and_clear_and_survives_a_kill(tmp_path: Path) -> None:
    port = free_udp_port()
    (tmp_path / "net-snmp").mkdir()
    luna = TrapSender(f"127.0.0.1:{port}", v2c(COMMUNITY), tmp_path / "net-snmp")
    noc = {"name": "noc", "kind": "snmp", "version": "v2c", "type": "trap", "community": secret(tmp_path, "noc", "noc")}
    async with (
        Snmptrapd(tmp_path / "trapd", ["authCommunity log noc"]) as trapd,
        Rsyslog(program=require("rsyslogd"), folder=tmp_path) as rsyslog,
        AgentProcess(
            tmp_path,
            sources=[appliance_traps(tmp_path, port)],
            deliver=[
                {**noc, "to": trapd.address},
                {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"},
            ],
        ) as agent,
    ):
        await agent.until(listens)
        sent = time.time()
        await luna.luna(2, reference(asserted=True))
        await agent.until(lambda status: len(status["alarms"]) == 1)
        took = time.time() - sent
        await agent.kill()
        await agent.start()
        await agent.until(listens)
        await luna.luna(2, reference(asserted=False, date_first=True), tool="snmpinform")
        await agent.until(lambda status: not status["alarms"])
        # The kill may have a sink told twice: the event's identifier tells.
        async with asyncio.timeout(10):
            while len(alarms := told(trapd)) < 2 or len(records := recorded(await rsyslog.until(1))) < 2:
                await asyncio.sleep(0.02)

    assert [n.oid for n in alarms] == [RAISED, CLEARED]
    assert [n.varbinds[SEVERITY] for n in alarms] == [6, 1]
    assert {(n.text(RESOURCE), n.text(RULE)) for n in alarms} == {("luna-a", "vendor-alarm")}
    assert len({n.text(ALARM_ID) for n in alarms}) == 1
    assert (
        alarms[0]
        .text(TEXT)
        .startswith(
            "traps/luna-a reports fan: ipmievd[812] in messages of luna-a:172.20.11.40, 2014 Apr 3 15:47:30. First look"
        )
    )
    assert [r.message_id for r in records] == ["ALARM_RAISED", "ALARM_CLEARED"]
    assert records[0].data["labels@32473"] == {"alarm": "fan"}
    print(f"trap sent to alarm seen: {took * 1000:.0f} ms, the sender's own start included")
    assert took < 1


async def test_an_operator_ends_what_no_trap_ends(tmp_path: Path) -> None:
    port = free_udp_port()
    (tmp_path / "net-snmp").mkdir()
    luna = TrapSender(f"127.0.0.1:{port}", v2c(COMMUNITY), tmp_path / "net-snmp")
    async with AgentProcess(tmp_path, sources=[appliance_traps(tmp_path, port)]) as agent:
        await agent.until(listens)
        await luna.luna(5, reference(asserted=True))
        await luna.luna(2, reference(asserted=True))
        found = await agent.until(lambda status: len(status["alarms"]) == 2)
        (disk,) = [alarm for alarm in found["alarms"] if alarm["severity"] == "critical"]
        await agent.ask("forget", alarm_id=disk["alarm_id"])
        await agent.until(lambda status: len(status["alarms"]) == 1)
        await asyncio.sleep(0.3)  # a few polls: it must not come back
        left = await agent.status()
        await agent.stop()
        await agent.start()
        await agent.until(listens)
        restarted = await agent.status()

    assert [alarm["labels"]["alarm"] for alarm in left["alarms"]] == ["fan"]
    assert [alarm["alarm_id"] for alarm in restarted["alarms"]] == [left["alarms"][0]["alarm_id"]]
