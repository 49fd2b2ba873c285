"""From a running agent through Prometheus' rules or the agent's sink to a running Alertmanager: pages, inhibitions."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.pki import make
from tests.peers.ports import free_port
from tests.products.prometheus import luna
from tests.products.prometheus.servers import Alertmanager, Prometheus, VictoriaMetrics, Vmalert, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.peers.agent import AgentProcess
    from tests.peers.testmodule import FakeHsm

pytestmark = pytest.mark.timeout(180)
SOON = [{"name": "source-down", "above": {"critical": 3}}]
"""Seconds, instead of three minutes."""
SUPPRESSED = {("critical", "suppressed"), ("warning", "suppressed")}
Page = dict[str, Any]


@asynccontextmanager
async def receiving(port: int) -> AsyncIterator[list[tuple[str, Page]]]:
    """What Alertmanager posts to its receivers: the path and the body of each page."""
    pages: list[tuple[str, Page]] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length:")[2].split()[0])
        pages.append((head.split()[1], json.loads(await reader.readexactly(length))))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", port)
    async with server:
        yield pages


def names(pages: list[tuple[str, Page]], path: str) -> set[str]:
    return {alert["labels"]["alertname"] for to, page in pages if to == path for alert in page["alerts"]}


def states(alerts: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(alert["labels"]["severity"], alert["status"]["state"]) for alert in alerts}


@pytest.mark.parametrize("rules", ["alerts", "alarms"])
async def test_prometheus_rules_page_and_are_inhibited(tmp_path: Path, rules: str) -> None:
    hsm, receiver = luna.hsm(tmp_path / "hsm"), free_port()
    hsm.set_audit(170000)
    agent = luna.agent(tmp_path / "agent", sources=[luna.watched(hsm)], rules=SOON)
    alertmanager = Alertmanager(tmp_path / "alertmanager", receiver=receiver)
    prometheus = Prometheus(
        tmp_path / "prometheus",
        targets=[f"127.0.0.1:{agent.http_port}"],
        alertmanager=alertmanager,
        rules=(rules, "agent", "recording"),
    )
    began = time.monotonic()
    async with receiving(receiver) as pages, alertmanager, agent, prometheus:
        await until(lambda: alertmanager.named("audit-fill", severity="critical"), seconds=60)
        shown = time.monotonic() - began
        await until(lambda: "audit-fill" in names(pages, "/pager"), seconds=30)
        print(f"from nothing to Alertmanager in {shown:.1f} s, to the pager in {time.monotonic() - began:.1f} s")
        await asyncio.sleep(3)
        fill = alertmanager.named("audit-fill")
        await break_source(hsm, agent)
        await until(lambda: alertmanager.named("source-down", severity="critical"), seconds=30)
        await until(lambda: states(alertmanager.named("audit-fill")) <= SUPPRESSED, seconds=30)
        await until(lambda: "source-down" in names(pages, "/pager"), seconds=30)
        hsm.mend()
        await until(lambda: not alertmanager.named("source-down"), seconds=60)
        described = [alert["annotations"]["description"] for alert in fill]

    assert ("critical", "active") in states(fill)
    assert states(fill) <= {("critical", "active"), ("warning", "suppressed")}
    assert {"audit-fill", "source-down"} <= names(pages, "/pager")
    assert "audit-fill" not in names(pages, "/operators")
    assert all("<" not in text and "{" not in text for text in described)


async def test_what_two_agents_say_is_one_page_that_ends_with_the_last_of_them(tmp_path: Path) -> None:
    receiver = free_port()
    alertmanager = Alertmanager(tmp_path / "alertmanager", receiver=receiver)
    sink = {"name": "alertmanager", "kind": "alertmanager", "to": alertmanager.url, "repeat_every": "2s"}
    hsms = [luna.hsm(tmp_path / f"hsm{number}") for number in (1, 2)]
    agents = [
        luna.agent(
            tmp_path / f"agent{number}",
            sources=[luna.watched(hsm)],
            deliver=[sink],
            agent={"name": f"monitor-{number}"},
        )
        for number, hsm in enumerate(hsms, 1)
    ]
    for hsm in hsms:
        hsm.set_audit(170000)
    async with AsyncExitStack() as stack:
        pages = await stack.enter_async_context(receiving(receiver))
        await stack.enter_async_context(alertmanager)
        for agent in agents:
            await stack.enter_async_context(agent)
        await until(lambda: len(alertmanager.named("audit-fill")) == 2, seconds=60)
        await until(lambda: agents_of(last(pages, "audit-fill")) == {"monitor-1", "monitor-2"}, seconds=30)
        hsms[0].set_audit(0)
        await until(lambda: len(alertmanager.named("audit-fill")) == 1, seconds=30)
        await asyncio.sleep(6)
        still = last(pages, "audit-fill")
        hsms[1].set_audit(0)
        await until(lambda: last(pages, "audit-fill")["status"] == "resolved", seconds=30)

    assert still["status"] == "firing"


def last(pages: list[tuple[str, Page]], name: str) -> Page:
    """The newest page about an alert."""
    found = [page for _, page in pages if page["groupLabels"]["alertname"] == name]
    return found[-1] if found else {"status": "", "alerts": []}


def agents_of(page: Page) -> set[str]:
    return {alert["labels"]["agent"] for alert in page["alerts"]}


async def test_the_agents_sink_is_inhibited_by_a_source_that_is_down(tmp_path: Path) -> None:
    hsm, receiver = luna.hsm(tmp_path / "hsm"), free_port()
    hsm.set_audit(170000)
    alertmanager = Alertmanager(tmp_path / "alertmanager", receiver=receiver)
    sink = {"name": "alertmanager", "kind": "alertmanager", "to": alertmanager.url, "repeat_every": "2s"}
    agent = luna.agent(tmp_path / "agent", sources=[luna.watched(hsm)], rules=SOON, deliver=[sink])
    async with receiving(receiver) as pages, alertmanager, agent:
        await until(lambda: states(alertmanager.named("audit-fill")) == {("critical", "active")}, seconds=60)
        await break_source(hsm, agent)
        await until(lambda: states(alertmanager.named("source-down")) == {("critical", "active")}, seconds=30)
        await until(lambda: states(alertmanager.named("audit-fill")) == {("critical", "suppressed")}, seconds=30)
        await until(lambda: "source-down" in names(pages, "/pager"), seconds=30)


async def test_victoria_metrics_scrapes_the_agent_and_vmalert_evaluates_the_same_rules(tmp_path: Path) -> None:
    pki = make(tmp_path)
    hsm = luna.hsm(tmp_path / "hsm")
    hsm.set_audit(170000)
    agent = luna.agent(tmp_path / "agent", sources=[luna.watched(hsm)])
    agent.settings["serve"]["http"]["web_config"] = str(luna.web_config(tmp_path, pki))
    agent.configure()
    alertmanager = Alertmanager(tmp_path / "alertmanager", receiver=free_port())
    configuration = Prometheus(
        tmp_path / "configuration",
        targets=[f"127.0.0.1:{agent.http_port}"],
        ca=pki.ca,
        password=luna.password_file(tmp_path),
    )
    storage = VictoriaMetrics(tmp_path / "victoria-metrics", scrapes=configuration)
    vmalert = Vmalert(tmp_path / "vmalert", storage=storage, alertmanager=alertmanager, rule="alerts")
    async with alertmanager, agent, storage, vmalert:
        await until(lambda: alertmanager.named("audit-fill", severity="critical"), seconds=60)
        held = 'ALERTS{alertname="audit-fill",alertstate="firing",severity="critical"}'
        await until(lambda: storage.instant(held, at=time.time() + 1), seconds=30)
        hsm.set_audit(0)
        await until(lambda: not alertmanager.named("audit-fill"), seconds=60)


HERE = {"instance": "a:9717", "source": "luna", "resource": "keys"}
FULL = {"alertname": "HSMStorageHigh", "severity": "warning", **HERE}
FAN, SUPPLY = (
    {"alertname": "vendor-alarm", "source": "luna", "agent": "a", "alarm": each} for each in ("fan", "supply")
)


@pytest.mark.parametrize(
    ("cause", "effect", "held_back"),
    [
        pytest.param({"alertname": "LunaMonitorDown", "instance": "a:9717"}, FULL, True, id="luna-monitor's own"),
        pytest.param({"alertname": "LunaMonitorDown", "instance": "b:9717"}, FULL, False, id="another instance"),
        pytest.param({"alertname": "HSMStorageCritical", **HERE}, FULL, True, id="storage"),
        pytest.param({"alertname": "HSMStorageCritical", **HERE, "resource": "x"}, FULL, False, id="another token"),
        pytest.param({"alertname": "agent-gone", "instance": "a:9717"}, FULL, True, id="the agent is gone"),
        pytest.param({"alertname": "source-down", "agent": "a", "source": "luna"}, FAN, True, id="source-down"),
        pytest.param({"alertname": "source-down", "agent": "b", "source": "luna"}, FAN, False, id="of another agent"),
        pytest.param({**FAN, "severity": "critical"}, {**FAN, "severity": "warning"}, True, id="critical"),
        pytest.param({**FAN, "severity": "critical"}, {**SUPPLY, "severity": "warning"}, False, id="another alarm"),
    ],
)
async def test_what_holds_what_back(
    tmp_path: Path, cause: dict[str, str], effect: dict[str, str], held_back: bool
) -> None:
    async with Alertmanager(tmp_path, receiver=free_port()) as alertmanager:
        await asyncio.to_thread(alertmanager.post, cause, effect)
        await asyncio.sleep(1.5)
        (found,) = await asyncio.to_thread(alertmanager.named, effect["alertname"], **effect_only(effect))

    assert found["status"]["state"] == ("suppressed" if held_back else "active")


def effect_only(effect: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in effect.items() if name != "alertname"}


async def break_source(hsm: FakeHsm, agent: AgentProcess) -> None:
    hsm.fault("C_GetSlotList", rv=0x30)
    await agent.until(lambda status: "source-down" in {alarm["rule"] for alarm in status["alarms"]}, seconds=60)
