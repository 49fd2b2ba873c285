"""Five hundred agents publish into one etcd, and an agent watches them: what that costs, and that it is right.

The agents are their publishers, each with a client of its own; etcd and the agent that watches are processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.agent.publisher import Publisher
from hsm_agent.config.publish import PublishSettings
from hsm_agent.model import ActiveAlarm, Event, EventKind, Severity, SourceState, SourceStatus
from hsm_agent.net.etcd import EtcdClient
from hsm_agent.net.etcd_messages import Put
from hsm_agent.net.etcd_settings import EtcdSettings
from hsm_agent.store import Store
from hsm_agent.wire.agent_report import encode, key_of
from tests.fakes.fleet import report
from tests.peers.agent import AgentProcess
from tests.peers.etcd import EtcdCluster, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

AGENTS, SILENT = 500, 50
EVERY_SECONDS, SILENT_AFTER_SECONDS = 10.0, 35.0
LOOK_SECONDS = 10.0
RUN_SECONDS = 45.0
_TICKS = os.sysconf("SC_CLK_TCK")


def name_of(number: int) -> str:
    return f"site-{number % 20:02}-{number:03}"


def store_of(number: int) -> Store:
    """An agent of five sources, one in ten with a source that is down, one in five with an alarm."""
    now = time.time()
    made = Store(agent_name=name_of(number), started=now - 86400, labels={})
    for index in range(5):
        state = SourceState.DOWN if index == 0 and number % 10 == 0 else SourceState.UP
        made.sources[f"luna-{index}"] = SourceStatus(
            name=f"luna-{index}", kind="pkcs11", every_seconds=60.0, state=state
        )
    if number % 5 == 0:
        text = "The private memory of luna-1/payments is 91.3 % full (limit 90 %): new keys are refused soon."
        event = Event(
            event_id="e", kind=EventKind.RAISED, severity=Severity.CRITICAL, time=now, text=text, agent=made.agent_name
        )
        series = ("luna-1", "payments", "token_memory_private_used_percent", ())
        made.set_alarms(
            {("token-memory", series): ActiveAlarm(
                alarm_id="a", rule="token-memory", series=series, severity=Severity.CRITICAL, since=now, event=event
            )}
        )  # fmt: skip
    return made


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def database_mib(cluster: EtcdCluster) -> float:
    (status,) = json.loads(await cluster.ctl("endpoint", "status", "--write-out=json"))
    return float(status["Status"]["dbSize"]) / 2**20


def watcher_of(folder: Path, etcd: Mapping[str, Any], *, watches: bool) -> AgentProcess:
    folder.mkdir()
    fleet = {"name": "fleet", "kind": "fleet", "etcd": {**etcd}, "every": f"{LOOK_SECONDS:g}s"}
    fleet |= {"silent_after": f"{SILENT_AFTER_SECONDS:g}s"}
    return AgentProcess(folder, sources=[fleet] if watches else [])


@pytest.mark.timeout(300)
async def test_five_hundred_agents_are_watched_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "etcd"
    folder.mkdir()
    lines = []
    async with EtcdCluster(folder) as cluster:
        etcd = settings(cluster)
        publish = PublishSettings.model_validate({"site": "fra", "every": f"{EVERY_SECONDS:g}s", "etcd": etcd})
        publishers = [Publisher(publish, store_of(number), problem=lambda: "") for number in range(AGENTS)]
        tasks = []
        for publisher in publishers:
            tasks.append(asyncio.create_task(publisher.run()))
            await asyncio.sleep(EVERY_SECONDS / AGENTS)  # as agents that were started at different times
        async with (
            watcher_of(tmp_path / "idle", etcd, watches=False) as idle,
            watcher_of(tmp_path / "watcher", etcd, watches=True) as watcher,
        ):
            await watcher.until(lambda status: status["agent"]["polls"] >= 1)
            await asyncio.sleep(LOOK_SECONDS)
            before, idle_before = cpu_seconds(watcher.pid), cpu_seconds(idle.pid)
            polls_before = (await watcher.status())["agent"]["polls"]
            await asyncio.sleep(RUN_SECONDS)
            polls = (await watcher.status())["agent"]["polls"] - polls_before
            used = cpu_seconds(watcher.pid) - before - (cpu_seconds(idle.pid) - idle_before)
            rows = (await watcher.ask("fleet"))["agents"]
            status = await watcher.status()
            took = [each["value"] for each in status["readings"] if each["metric"] == "source_poll_seconds"]
            lines += [
                f"{len(rows)} agents, {len(status['readings'])} readings",
                f"CPU of a look: {used / polls * 1000:.0f} ms over {polls} looks (reading, judging and showing)",
                f"a look at etcd took {took[0] * 1000:.0f} ms",
                f"RSS {resident_mib(watcher.pid):.1f} MiB, without a fleet {resident_mib(idle.pid):.1f} MiB",
            ]
            assert {row["state"] for row in rows} == {"up"}
            assert sum(row["alarms"]["critical"] for row in rows) == AGENTS // 5
            assert sum(row["sources_down"] for row in rows) == AGENTS // 10

            for task in tasks[:SILENT]:
                task.cancel()
            ended = time.monotonic()
            expected = {name_of(number) for number in range(SILENT)}
            found: set[str] = set()
            while found != expected:
                assert time.monotonic() - ended < SILENT_AFTER_SECONDS + 3 * LOOK_SECONDS
                await asyncio.sleep(1)
                alarms = (await watcher.status())["alarms"]
                found = {each["resource"] for each in alarms if each["rule"] == "fleet-agent"}
                assert found <= expected
            lines.append(f"{SILENT} silent agents were alarms after {time.monotonic() - ended:.0f} s, no other was")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lines += await an_hour(cluster, etcd)
    with capsys.disabled():
        print("", *lines, sep="\n  ")


async def an_hour(cluster: EtcdCluster, etcd: Mapping[str, Any]) -> list[str]:
    """What etcd holds after an hour of 500 agents that publish every minute, before and after compaction."""
    clients = [EtcdClient(EtcdSettings.model_validate(etcd)) for _ in range(20)]
    value = encode(report(time=time.time()))

    async def minutes(client: EtcdClient, numbers: range) -> None:
        for _ in range(60):
            for number in numbers:
                await client.transaction(puts=[Put(key=key_of(name_of(number)).encode(), value=value)])

    share = AGENTS // len(clients)
    began, size = time.monotonic(), await database_mib(cluster)
    await asyncio.gather(*(minutes(client, range(n * share, (n + 1) * share)) for n, client in enumerate(clients)))
    took, grown = time.monotonic() - began, await database_mib(cluster)
    revision = (await clients[0].range(b"x", limit=1)).revision
    await cluster.ctl("compact", "--physical", str(revision))
    await cluster.ctl("defrag")
    small = await database_mib(cluster)
    for client in clients:
        await client.close()
    return [
        f"30000 reports of {len(value)} octets, an hour of 500 agents: {took:.0f} s; etcd's file {size:.1f} -> {grown:.1f} MiB",
        f"compacted and defragmented {small:.1f} MiB",
    ]
