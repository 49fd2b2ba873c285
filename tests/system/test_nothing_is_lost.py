"""Receivers and the agent are killed at random moments while 500 crossings are provoked: nothing may be lost.

Every transition the agent ever decided on must reach the RELP server and the inform receiver at least once, the
events of one alarm in order.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.peers.agent import AgentProcess, source
from tests.peers.require import require
from tests.peers.rsyslog import Rsyslog
from tests.peers.snmptrapd import Snmptrapd
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CROSSINGS = 500
TOKENS = 25
SEED = 20260101
BASE = ".1.3.6.1.4.1.8072.9999.9999.4801"
EVENT_ID, ALARM_ID = f"{BASE}.1.8.1.0", f"{BASE}.1.8.10.0"
KINDS = {f"{BASE}.0.1": "ALARM_RAISED", f"{BASE}.0.3": "ALARM_CLEARED"}

Told = tuple[str, str, str]
"""Event id, alarm id, kind."""


@pytest.mark.timeout(240)
async def test_500_crossings_survive_kills_of_agent_and_rsyslog(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    hsm = FakeHsm(tmp_path / "hsm")
    hsm.set_extra_slots(TOKENS)
    hsm.set_memory(total=1000, free=900)
    secret = tmp_path / "trap-community"
    secret.write_text("trapped")
    secret.chmod(0o600)
    async with (
        Snmptrapd(tmp_path / "trapd", ["authCommunity log trapped"]) as trapd,
        Rsyslog(program=require("rsyslogd"), folder=tmp_path) as rsyslog,
        AgentProcess(
            tmp_path,
            sources=[source("fake", hsm.module, hsm.environment, every="200ms", luna="off")],
            rules=[{"name": "token-memory", "above": {"critical": 75}}],
            deliver=[
                {"name": "noc", "kind": "snmp", "to": trapd.address, "version": "v2c", "type": "inform",
                 "community": {"file": str(secret)}, "timeout": "500ms", "retries": 20},
                {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"},
            ],
        ) as agent,
    ):  # fmt: skip
        await agent.until(lambda s: len(s["tokens"]) >= TOKENS, seconds=20)
        for round_ in range(CROSSINGS // TOKENS):
            full = round_ % 2 == 0
            hsm.set_memory(free=100 if full else 900)
            await _disturb(chance, agent, rsyslog)
            wanted = TOKENS if full else 0
            await agent.until(partial(_has_raised, wanted), seconds=30)
        status = await agent.until(lambda s: s["spool"]["entries"] == 0, seconds=60)
        assert status["spool"]["dropped_total"] == 0
        relp = [
            (r.data["hsm@32473"]["eventId"], r.data["hsm@32473"]["alarmId"], r.message_id)
            for r in rsyslog.received()
            if r.message_id.startswith("ALARM_") and r.data["hsm@32473"]["rule"] == "token-memory"
        ]
        informs = [
            (n.text(EVENT_ID), n.text(ALARM_ID), KINDS[n.oid])
            for n in trapd.notifications
            if n.oid in KINDS and n.text(f"{BASE}.1.8.8.0") == "token-memory"
        ]

    for told in (relp, informs):
        first = _first_of_each(told)
        assert len(first) == CROSSINGS
        by_alarm: dict[str, list[str]] = {}
        for _, alarm, kind in first:
            by_alarm.setdefault(alarm, []).append(kind)
        assert set(map(tuple, by_alarm.values())) == {("ALARM_RAISED", "ALARM_CLEARED")}
    assert {event for event, _, _ in relp} == {event for event, _, _ in informs}


def _has_raised(wanted: int, status: dict[str, list[dict[str, str]]]) -> bool:
    return sum(alarm["rule"] == "token-memory" for alarm in status["alarms"]) == wanted


async def _disturb(chance: random.Random, agent: AgentProcess, rsyslog: Rsyslog) -> None:
    """Let a random while pass, then kill one of the two, or both, or none, and start what was killed again."""
    await asyncio.sleep(chance.uniform(0.0, 0.5))
    choices: list[tuple[AgentProcess | Rsyslog, ...]] = [(), (agent,), (rsyslog,), (agent, rsyslog)]
    victims = chance.choice(choices)
    for victim in victims:
        await victim.kill()
    await asyncio.sleep(chance.uniform(0.0, 0.3))
    for victim in reversed(victims):
        await victim.start()


def _first_of_each(told: Iterable[Told]) -> list[Told]:
    """Without the repetitions that at-least-once allows."""
    found: dict[str, Told] = {}
    for each in told:
        found.setdefault(each[0], each)
    return list(found.values())
