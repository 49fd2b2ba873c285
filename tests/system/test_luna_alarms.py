"""The running agent on a Luna-like token: what the default rules make of its statistics, roles, group and policies."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.agent import AgentProcess, source
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

QUICK = {"every": "100ms", "audit_every": "100ms", "storage_every": "100ms"}


@pytest.fixture
def hsm(tmp_path: Path) -> FakeHsm:
    made = FakeHsm(tmp_path / "hsm", "payments")
    made.set_luna()
    made.set_audit(0)
    made.set_statistics(up=1000, idle=900, commands=0)
    made.set_pairs("ha.members", {1001: 0, 1002: 0})
    made.set_pairs("policies", {7: 1, 12: 1})
    return made


def _raised(status: dict[str, Any]) -> dict[str, str]:
    return {alarm["rule"]: alarm["severity"] for alarm in status["alarms"]}


async def test_a_rate_that_falls_is_told_and_clears_once_it_is_the_usual_one(tmp_path: Path, hsm: FakeHsm) -> None:
    began = time.time()
    hsm.set_statistics(up=1000, idle=900, commands=0, rate=200)
    # Against two seconds ago instead of an hour.
    quicker = {"rate_changes": {"against": "2s", "percent": 50, "at_least": 10}, "for": "0s"}
    async with AgentProcess(
        tmp_path,
        sources=[source("luna", hsm.module, hsm.environment, **QUICK)],
        rules=[{"name": "operation-rate", **quicker}],
    ) as agent:
        await agent.until(lambda status: bool(status["tokens"]))
        await agent.until(lambda _: time.time() - began > 5)
        steady = _raised(await agent.status())
        hsm.set_statistics(up=1000, idle=900, commands=200 * (time.time() - began), rate=40)
        alarms = (await agent.until(lambda status: "operation-rate" in _raised(status)))["alarms"]
        await agent.until(lambda status: not status["alarms"])

    assert steady == {}
    assert alarms[0]["text"].startswith("The command rate of luna/payments is ")


async def test_roles_members_and_tamper_are_told_and_clear(tmp_path: Path, hsm: FakeHsm) -> None:
    async with AgentProcess(tmp_path, sources=[source("luna", hsm.module, hsm.environment, **QUICK)]) as agent:
        await agent.until(lambda status: bool(status["tokens"]))
        hsm.set_role("crypto_officer", attempts=9)
        hsm.set_role("crypto_user", attempts=10, flags=3)
        hsm.set_pairs("ha.members", {1001: 0, 1002: 0x30})
        hsm.set("tamper.state", 8)
        told = await agent.until(lambda status: len(status["alarms"]) == 4)
        hsm.set_pairs("ha.members", {1001: 0x30, 1002: 0x30})
        await agent.until(lambda status: _raised(status)["ha-member"] == "critical")
        hsm.set_role("crypto_officer", attempts=10)
        hsm.set_role("crypto_user", attempts=10)
        hsm.set_pairs("ha.members", {1001: 0, 1002: 0})
        hsm.set("tamper.state", 0)
        await agent.until(lambda status: not status["alarms"])

    assert _raised(told) == {
        "login-attempts": "warning",
        "role-locked": "critical",
        "ha-member": "warning",
        "tamper": "critical",
    }
    texts = " ".join(alarm["text"] for alarm in told["alarms"])
    assert "Wrong login as crypto_officer on token luna/payments: attempts left 10 -> 9" in texts
    assert "Role crypto_user of token luna/payments is locked" in texts


async def test_a_policy_changed_while_the_agent_was_down_is_told_at_its_start(tmp_path: Path, hsm: FakeHsm) -> None:
    agent = AgentProcess(tmp_path, sources=[source("luna", hsm.module, hsm.environment, **QUICK)])
    async with agent:
        await agent.until(lambda status: bool(status["tokens"]))
        before = _raised(await agent.status())
        await agent.stop()
        hsm.set_pairs("policies", {7: 1, 12: 0})
        await agent.start()
        told = await agent.until(lambda status: bool(status["alarms"]))

    assert before == {}
    assert _raised(told) == {"policy-changed": "warning"}
    assert "digest=" in told["alarms"][0]["text"]


async def test_poll_explains_the_calls_and_names_the_group_without_a_watched_member(
    tmp_path: Path, hsm: FakeHsm
) -> None:
    keys = {"audit_every": "60s", "every": "60s"}
    agent = AgentProcess(tmp_path, sources=[source("luna", hsm.module, hsm.environment, **keys)])
    code, out, err = await agent.run("poll", "--explain", "--config", str(agent.file))

    assert code == 0
    assert "none of its members' own slots is watched" in err
    table = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith((" C_", " CA_", " all"))}
    assert table["CA_GetHAState"] == ["1", "1,440"]
    assert table["CA_RoleStateGet"] == ["3", "864"]
    assert table["CA_GetHSMPolicySet"] == ["2", "2"]
    assert table["all"][1] == "12,679"


async def test_what_two_partitions_say_of_their_hsm_is_one_alarm_once_it_is_said_that_they_share_it(
    tmp_path: Path,
) -> None:
    def tampered(status: dict[str, Any]) -> list[str]:
        return sorted(alarm["resource"] for alarm in status["alarms"] if alarm["rule"] == "tamper")

    hsm = FakeHsm(tmp_path / "hsm", "pay", "sign")
    hsm.set_luna()
    hsm.set_audit(0)
    agent = AgentProcess(tmp_path, sources=[source("luna", hsm.module, hsm.environment, **QUICK)])
    async with agent:
        await agent.until(lambda status: len(status["tokens"]) == 2)
        hsm.set("tamper.state", 8)
        await agent.until(lambda status: tampered(status) == ["pay", "sign"])
        agent.settings["hsms"] = {"vault": ["luna/*"]}
        agent.configure()
        os.kill(agent.pid, signal.SIGHUP)
        told = await agent.until(lambda status: tampered(status) == ["vault"])
        hsm.set("tamper.state", 0)
        await agent.until(lambda status: not status["alarms"])

    assert "luna/vault" in told["alarms"][0]["text"]
