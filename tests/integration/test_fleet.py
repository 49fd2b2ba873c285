"""Agents that publish into a real etcd, and one that watches them by its ordinary readings, rules and verbs."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from hsm_agent.agent.publisher import Publisher
from hsm_agent.collect.fleet.source import FleetCollector, FleetSettings
from hsm_agent.config.publish import PublishSettings
from hsm_agent.net.etcd import EtcdClient
from hsm_agent.net.etcd_settings import EtcdSettings
from hsm_agent.store import Store
from hsm_agent.wire.agent_report import encode, key_of
from tests.fakes.fleet import report
from tests.peers.agent import AgentProcess
from tests.peers.etcd import EtcdCluster, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

SOON = {"every": "1s"}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[EtcdCluster]:
    folder = tmp_path / "etcd"
    folder.mkdir()
    async with EtcdCluster(folder) as found:
        yield found


def agent(tmp_path: Path, name: str, etcd: Mapping[str, Any], *, watches: bool = False, **more: Any) -> AgentProcess:
    """An agent that publishes every second, and with `watches` watches the others."""
    folder = tmp_path / name
    folder.mkdir()
    due = {"name": "support", "kind": "expiry", "date": "2001-01-01"}
    sources: list[dict[str, Any]] = [{"name": "dates", "kind": "declared", "dates": [due]}]
    if watches:
        sources.append(
            {"name": "fleet", "kind": "fleet", "etcd": {**etcd}, "silent_after": "3s", "every": "200ms", **more}
        )
    made = AgentProcess(folder, sources=sources, agent={"name": name})
    made.settings["publish"] = {"site": "fra", "etcd": {**etcd}, **SOON}
    made.configure()
    return made


async def rows(watcher: AgentProcess) -> dict[str, dict[str, Any]]:
    """What the running agent tells of its fleet, by agent."""
    return {row["agent"]: row for row in (await watcher.ask("fleet"))["agents"]}


async def metrics_of(watcher: AgentProcess) -> str:
    """The page /metrics."""
    url = f"http://127.0.0.1:{watcher.http_port}/metrics"
    with await asyncio.to_thread(urlopen, url, timeout=5) as answer:
        return str(answer.read().decode())


async def until(
    watcher: AgentProcess, states: Mapping[str, str], *, seconds: float = 15.0
) -> dict[str, dict[str, Any]]:
    """The rows once the agents are in these states."""
    found: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(seconds):
        while {name: row["state"] for name, row in found.items()} != states:
            await asyncio.sleep(0.05)
            found = await rows(watcher)
    return found


def raised(status: Mapping[str, Any]) -> dict[str, str]:
    """By agent the texts of the raised alarms on agents of a fleet."""
    return {each["resource"]: each["text"] for each in status["alarms"] if each["rule"] == "fleet-agent"}


def state(status: Mapping[str, Any], source: str) -> str:
    """Of a source."""
    return next(str(each["status"]) for each in status["sources"] if each["name"] == source)


async def test_one_that_is_killed_is_an_alarm_until_it_is_back_and_an_etcd_that_is_away_blames_nobody(
    tmp_path: Path, cluster: EtcdCluster
) -> None:
    etcd = settings(cluster)
    watcher, other = agent(tmp_path, "fra-1", etcd, watches=True), agent(tmp_path, "fra-2", etcd)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(watcher)
        await stack.enter_async_context(other)
        await until(watcher, {"fra-1": "up", "fra-2": "up"})
        async with asyncio.timeout(10):
            while not (found := await rows(watcher))["fra-2"]["alarms"]["critical"]:
                await asyncio.sleep(0.05)
        assert found["fra-2"]["site"] == "fra"
        assert found["fra-2"]["worst"].startswith("declared-date dates/support: ")

        await other.kill()
        await until(watcher, {"fra-1": "up", "fra-2": "silent"})
        texts = raised(await watcher.until(lambda status: bool(raised(status))))
        assert set(texts) == {"fra-2"}
        assert texts["fra-2"].startswith("Agent fra-2 does not publish (silent for")

        (member,) = cluster.members
        await member.stop()
        before = await watcher.until(lambda status: state(status, "fleet") == "down")
        await asyncio.sleep(1)
        status = await watcher.status()
        assert set(raised(status)) == {"fra-2"}
        assert status["agent"]["polls"] > before["agent"]["polls"]

        await member.start()
        await cluster.until_ready()
        await other.start()
        await until(watcher, {"fra-1": "up", "fra-2": "up"})
        await watcher.until(lambda status: not raised(status))


async def test_table_and_metrics_show_it_and_hostile_keys_take_no_agent_along(
    tmp_path: Path, cluster: EtcdCluster
) -> None:
    async with agent(tmp_path, "fra-1", settings(cluster), watches=True, agents=["*", "fra-9"]) as watcher:
        await until(watcher, {"fra-1": "up", "fra-9": "missing"})

        code, table, _ = await watcher.run("fleet", "--config", str(watcher.file))
        _, document, _ = await watcher.run("fleet", "--config", str(watcher.file), "--format", "json")
        metrics = await metrics_of(watcher)
        await cluster.ctl("put", key_of("evil\x1b[2J"), "x")
        await cluster.ctl("put", key_of("fra-0"), stdin="x" * 1_400_000)
        await cluster.ctl("put", key_of("fra-2"), stdin="[" * 10_000)
        await cluster.ctl("put", key_of("fra-3"), stdin=encode(report(time=time.time() - 1e6)).decode())
        states = {"fra-0": "unknown", "fra-1": "up", "fra-2": "unknown", "fra-3": "up", "fra-9": "missing"}
        found = await until(watcher, states, seconds=5)
        how = state(await watcher.status(), "fleet")

    assert (found["fra-0"]["remark"], how) == ("empty, or longer than 16384 octets", "degraded")
    assert code == 0
    assert {row["agent"] for row in json.loads(document)["agents"]} == {"fra-1", "fra-9"}
    assert [line.split()[:3] for line in table.splitlines() if line.lstrip().startswith("fra-")] == [
        ["fra-9", "missing", "never"],
        ["fra-1", "fra", "up"],
    ]
    assert 'hsm_fleet_agent_up{resource="fra-9",source="fleet"} 0.0' in metrics
    assert 'hsm_fleet_alarms{resource="fra-1",severity="major",source="fleet"} 0.0' in metrics


async def test_a_fleet_of_several_pages_is_read_around_a_value_that_no_answer_holds(cluster: EtcdCluster) -> None:
    etcd = EtcdSettings.model_validate(settings(cluster))
    source = FleetCollector(FleetSettings.model_validate({"name": "fleet", "kind": "fleet", "etcd": settings(cluster)}))
    client = EtcdClient(etcd)
    publish = PublishSettings.model_validate({"etcd": settings(cluster)})
    try:
        for number in range(250):
            store = Store(agent_name=f"site-{number:03}", started=time.time(), labels={})
            assert await Publisher(publish, store, problem=lambda: "", etcd=client).once()
        for number in (100, 101):
            await client.put(key_of(f"site-{number}").encode(), b"x" * 1_400_000)

        poll = await source.poll()
    finally:
        await client.close()
        await source.close()

    up = [each.value for each in poll.readings if each.metric == "fleet_agent_up"]
    assert (up.count(1), up.count(None), len(up)) == (248, 2, 250)
    assert poll.complete
    assert poll.calls["range"] < 30
    assert [error.partition(":")[0] for error in poll.errors] == ["agent site-100", "agent site-101"]


async def test_publish_that_leaves_the_configuration_takes_the_key_along(tmp_path: Path, cluster: EtcdCluster) -> None:
    async with agent(tmp_path, "fra-1", settings(cluster)) as publisher:
        said = await publisher.run("fleet", "--config", str(publisher.file))
        assert said == (1, "", "hsm-agent: no source of kind fleet is configured\n")
        async with asyncio.timeout(10):
            while "fra-1" not in await cluster.ctl("get", "--prefix", "/hsm-agent-fleet/", "--keys-only"):
                await asyncio.sleep(0.1)
        del publisher.settings["publish"]
        publisher.configure()
        assert publisher.process is not None
        publisher.process.send_signal(1)
        async with asyncio.timeout(10):
            while await cluster.ctl("get", "--prefix", "/hsm-agent-fleet/", "--keys-only"):
                await asyncio.sleep(0.1)
        status = await publisher.status()

    assert not [each for each in status["readings"] if each["metric"] == "publish_age_seconds"]


async def test_users_of_etcd_as_the_page_makes_them_suffice(tmp_path: Path, cluster: EtcdCluster) -> None:
    for words in (
        "role add publish-fra-1",
        "role grant-permission publish-fra-1 readwrite /hsm-agent-fleet/fra-1",
        "user add fra-1:publisher-password",
        "user grant-role fra-1 publish-fra-1",
        "role add fleet-reader",
        "role grant-permission fleet-reader --prefix=true read /hsm-agent-fleet/",
        "user add fleet-reader:reader-password",
        "user grant-role fleet-reader fleet-reader",
        "user add root:root-password",
        "user grant-role root root",
        "auth enable",
    ):
        await cluster.ctl(*words.split())
    secret = {}
    for name in ("publisher", "reader"):
        secret[name] = tmp_path / name
        secret[name].write_text(f"{name}-password\n")
        secret[name].chmod(0o600)
    watcher = agent(tmp_path, "fra-1", settings(cluster, user="fleet-reader", password={"file": str(secret["reader"])}), watches=True)  # fmt: skip
    watcher.settings["publish"]["etcd"] = settings(cluster, user="fra-1", password={"file": str(secret["publisher"])})
    watcher.configure()

    async with watcher:
        await until(watcher, {"fra-1": "up"})

    with pytest.raises(RuntimeError, match="permission denied"):
        await cluster.ctl("put", key_of("fra-2"), "x", user="fra-1:publisher-password")
