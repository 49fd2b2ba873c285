"""Rows of what was there before a restart stand in the MIB's tables from the first answer on."""

from __future__ import annotations

import asyncio
import itertools
import re
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.fakes import appliances
from tests.peers.agent import COMMUNITY, AgentProcess, source
from tests.peers.netsnmp import NetSnmp, v2c
from tests.peers.snmpsim import Snmpsim
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

MIB = ".1.3.6.1.4.1.8072.9999.9999.4801.1"
SOURCE_STATUS, TOKEN_STATUS, TOKEN_RESOURCE, TOKEN_SERIAL = "2.1.4", "3.1.10", "3.1.28", "3.1.4"
TOKEN_STORAGE, AUDIT_RESOURCE, AUDIT_FILLING, AUDIT_SECONDS, SINK_NAME = "3.1.25", "4.1.3", "4.1.11", "4.1.7", "7.1.2"
TOKEN_NAME, READING_METRIC = "3.1.29", "5.1.4"
UNKNOWN, UP, DOWN, PRESENT = "INTEGER: 1", "INTEGER: 2", "INTEGER: 4", "INTEGER: 2"


async def column(agent: AgentProcess, arc: str) -> dict[str, str]:
    """A column's values by row."""
    root = f"{MIB}.{arc}"
    walked = await NetSnmp(f"udp:127.0.0.1:{agent.snmp_port}", v2c(COMMUNITY)).walk(root)
    return {name.removeprefix(f"{root}."): value for name, value in walked.items()}


async def column_of(agent: AgentProcess, arc: str, rows: int) -> dict[str, str]:
    """The same once it has so many rows: the tables follow a poll within moments."""
    async with asyncio.timeout(10):
        while len(found := await column(agent, arc)) != rows or any("No Such" in each for each in found.values()):
            await asyncio.sleep(0.05)
        return found


async def first_answer(agent: AgentProcess) -> None:
    """Return as soon as it answers SNMP at all: before the control socket is there, or any source was polled."""
    for _ in itertools.count():
        said = await NetSnmp(f"udp:127.0.0.1:{agent.snmp_port}", v2c(COMMUNITY)).run(
            "snmpget", "-r0", "-t0.2", "1.3.6.1.2.1.1.5.0"
        )
        if said.code == 0:
            return


async def test_a_restart_while_the_module_hangs_leaves_no_row_out(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments", "signing")
    hsm.set_luna()
    hsm.set_audit(0)
    sink = {"name": "siem", "kind": "syslog", "to": "udp:127.0.0.1:9"}
    luna = source("luna", hsm.module, hsm.environment, timeout="60s", every="30s", audit_every="30s")
    agent = AgentProcess(tmp_path, sources=[luna], deliver=[sink])
    arcs = (TOKEN_RESOURCE, TOKEN_SERIAL, AUDIT_RESOURCE, SINK_NAME)
    async with agent:
        await agent.until(lambda status: len(status["tokens"]) == 2)
        await agent.until(lambda _: (agent.state / "known-objects.json").exists())
        before = {arc: await column(agent, arc) for arc in arcs}
        sources = await column(agent, SOURCE_STATUS)
        assert set((await column(agent, AUDIT_SECONDS)).values()) == {"Gauge32: 4294967295"}
        assert set((await column(agent, AUDIT_FILLING)).values()) == {"INTEGER: 2"}
        await agent.kill()
        hsm.fault("C_Initialize", hang_ms=60_000)
        await agent.start(wait=False)
        await first_answer(agent)

        after = {arc: await column(agent, arc) for arc in arcs}
        status = await column(agent, TOKEN_STATUS)
        sources_after = await column(agent, SOURCE_STATUS)
        document = await agent.until(lambda status: bool(status["tokens"]))

    assert sorted(sources.values()) == [UP, UP]
    # A slot without a token is found anew: it has no name to be known by.
    named = {row: name for row, name in before[TOKEN_RESOURCE].items() if "slot" not in name}
    assert len(named) == 2
    assert after[TOKEN_RESOURCE] == named
    assert after[TOKEN_SERIAL] == {row: before[TOKEN_SERIAL][row] for row in named}
    assert (after[AUDIT_RESOURCE], after[SINK_NAME]) == (before[AUDIT_RESOURCE], before[SINK_NAME])
    assert status.keys() == named.keys()
    assert set(status.values()) == {UNKNOWN}
    assert sources_after.keys() == sources.keys()
    assert sorted(sources_after.values()) == [UNKNOWN, UP]
    assert [(one["resource"], one["status"]) for one in document["tokens"]] == [
        ("payments", "unknown"),
        ("signing", "unknown"),
    ]


async def test_a_token_that_went_while_the_agent_was_stopped_goes_with_the_first_complete_poll(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments", "signing")
    settings: dict[str, Any] = {"every": "100ms", "audit_every": "100ms"}
    agent = AgentProcess(tmp_path, sources=[source("soft", hsm.module, hsm.environment, **settings)])
    async with agent:
        await agent.until(lambda status: len(status["tokens"]) == 2)
        await agent.stop()
        agent.settings["sources"][0]["tokens"] = ["payments"]
        agent.configure()
        await agent.start()

        await agent.until(lambda status: [one["status"] for one in status["tokens"]] == ["present"])
        names = await column_of(agent, TOKEN_RESOURCE, 1)

    assert list(names.values()) == ['STRING: "payments"']


def _samples(port: int, *metrics: str) -> dict[str, list[str]]:
    """The resources that each metric has at /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page: str = answer.read().decode()
    return {metric: re.findall(rf'^{metric}{{.*resource="([^"]*)"', page, re.MULTILINE) for metric in metrics}


async def test_a_second_token_of_a_label_moves_no_row_and_an_hsm_is_told_of_once(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments", "signing")
    # Partitions of HSM 66331 by their numbers: one row of the audit store, storage and counters for all of them.
    for token, serial in (("payments", "154438865287"), ("signing", "154438865304"), ("third", "154438865305")):
        hsm.set("token.serial", serial, token=token)
    hsm.set_luna()
    hsm.set_audit(10)
    hsm.set_statistics(up=1000, idle=900, commands=77)
    often = dict.fromkeys(("every", "audit_every", "storage_every", "rediscover_every"), "200ms")
    agent = AgentProcess(tmp_path, sources=[source("luna", hsm.module, hsm.environment, **often)])
    async with agent:
        await agent.until(lambda status: len(status["tokens"]) == 2)
        before = await column_of(agent, TOKEN_SERIAL, 3)  # with the slot that has no token
        hsm.set("token.label", "payments", token="third")
        hsm.softhsm.create_token("third")
        await agent.until(lambda status: len(status["tokens"]) == 3)
        await agent.kill()
        await agent.start()
        await agent.until(lambda status: [one["status"] for one in status["tokens"]] == ["present"] * 3)
        await agent.until(lambda status: any(one["metric"] == "hsm_commands_total" for one in status["readings"]))
        after, names = await column_of(agent, TOKEN_SERIAL, 4), await column(agent, TOKEN_NAME)
        resources, audits = await column(agent, TOKEN_RESOURCE), await column(agent, AUDIT_RESOURCE)
        metrics = list((await column(agent, READING_METRIC)).values())
        samples = await asyncio.to_thread(
            _samples, agent.http_port, "hsm_token_present", "hsm_commands_total", "hsm_storage_used_percent"
        )

    by_serial = {serial: row for row, serial in after.items()}
    assert {row: after[row] for row, serial in before.items() if serial != '""'} == {
        by_serial['STRING: "154438865287"']: 'STRING: "154438865287"',
        by_serial['STRING: "154438865304"']: 'STRING: "154438865304"',
    }
    third = by_serial['STRING: "154438865305"']
    assert (resources[third], names[third]) == ('STRING: "154438865305"', 'STRING: "payments"')
    assert resources[by_serial['STRING: "154438865287"']] == 'STRING: "payments"'
    assert list(audits.values()) == ['STRING: "66331"']
    assert metrics.count('STRING: "hsm_commands_total"') == metrics.count('STRING: "hsm_storage_used_percent"') == 1
    assert sorted(samples.pop("hsm_token_present")) == ["154438865305", "payments", "signing"]
    assert samples == {"hsm_commands_total": ["66331"], "hsm_storage_used_percent": ["66331"]}


def _statuses(status: dict[str, Any]) -> dict[str, str]:
    return {one["resource"]: one["status"] for one in status["tokens"]}


async def test_partitions_of_an_appliance_are_tokens_until_one_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    community = tmp_path / "appliance-community"
    community.write_text("luna", encoding="ascii")
    community.chmod(0o600)
    async with Snmpsim(tmp_path / "snmpsim", {"luna": appliances.luna()}) as peer:
        appliance = {
            "name": "luna-sa",
            "kind": "snmp",
            "to": f"udp:127.0.0.1:{peer.port}",
            "version": "v2c",
            "community": {"file": str(community)},
            "profile": "luna",
            "every": "300ms",
            "timeout": "2s",
        }
        rule = {"name": "token-storage", "above": {"warning": 60}, "for": "0s"}
        async with AgentProcess(tmp_path, sources=[appliance], rules=[rule]) as agent:
            await agent.until(lambda status: bool(status["tokens"]))
            found = {
                arc: list((await column_of(agent, arc, 2)).values())
                for arc in (TOKEN_RESOURCE, TOKEN_SERIAL, TOKEN_STATUS, TOKEN_STORAGE)
            }
            full = appliances.luna(used=1_300_000)
            peer.serve("luna", full)
            raised = (await agent.until(lambda status: len(status["alarms"]) == 2))["alarms"]
            (alarm,) = [each["alarm_id"] for each in raised if each["resource"] == "keys"]
            index = appliances.text_index(appliances.SERIAL, appliances.PARTITION)
            peer.serve("luna", [record for record in full if not record[0].endswith(f".{index}")])
            gone = await agent.until(lambda status: _statuses(status)["keys"] == "unknown")
            await agent.ask("forget", alarm_id=alarm)
            left = await agent.until(lambda status: "keys" not in _statuses(status))

    assert _statuses(gone) == {"keys": "unknown", appliances.SPARE: "present"}
    assert _statuses(left) == {appliances.SPARE: "present"}
    assert found[TOKEN_RESOURCE][0] == 'STRING: "keys"'
    assert found[TOKEN_STATUS][0] == PRESENT
    assert found[TOKEN_STORAGE][0] == "Gauge32: 5000"
    assert len(found[TOKEN_SERIAL]) == len(found[TOKEN_RESOURCE])
    assert '""' not in found[TOKEN_SERIAL]
    assert "hsm-a" not in "".join(found[TOKEN_RESOURCE]), "the HSM itself is no token"
