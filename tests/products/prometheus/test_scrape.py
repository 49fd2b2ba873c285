"""Prometheus scrapes a running agent over TLS with a password; VictoriaMetrics has it by remote write."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.pki import make
from tests.products.prometheus import luna
from tests.products.prometheus.servers import INTEGRATIONS, Prometheus, VictoriaMetrics, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)
DASHBOARD = json.loads((INTEGRATIONS / "grafana" / "dashboard.json").read_text())
LUNA_MONITORS_NAMES = (
    *("hsm_slot_hardware_version", "hsm_token_session_count", "hsm_token_max_session_count"),
    *('hsm_token_memory_total_bytes{type="private"}', 'hsm_token_memory_free_bytes{type="private"}'),
    *("hsm_firmware_version_info", "hsm_storage_total_bytes", "hsm_storage_used_bytes", "hsm_storage_free_bytes"),
    *('hsm_token_storage_total_bytes{label="payments"}', "hsm_token_object_count", "hsm_stats_total_commands"),
    *("hsm_capability",),
)


def queries() -> dict[str, str]:
    """Those of the dashboard, with everything chosen."""
    found = {}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            found[f"{panel['title']} {target['refId']}"] = chosen(target["expr"])
    return found


def chosen(query: str) -> str:
    """The query with everything chosen."""
    for name in ("instance", "source", "resource"):
        query = query.replace(f'"${name}"', '".*"')
    return query


def variables() -> dict[str, str]:
    """What the choices of the dashboard are made of: the series of `label_values(SERIES, LABEL)` that have the label."""
    found = {}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            series, _, label = (
                variable["query"]["query"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
            )
            found[variable["name"]] = f"count by ({label}) ({chosen(series)}) unless on ({label}) vector(1)"
    return found


async def test_every_query_and_rule_has_data_from_a_scrape_with_tls_and_a_password(tmp_path: Path) -> None:
    pki = make(tmp_path)
    agent = luna.agent(tmp_path / "agent", sources=[luna.watched(luna.hsm(tmp_path / "hsm"))])
    agent.settings["serve"]["http"]["web_config"] = str(luna.web_config(tmp_path, pki))
    agent.configure()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(agent)
        storage = await stack.enter_async_context(VictoriaMetrics(tmp_path / "victoria-metrics"))
        prometheus = Prometheus(
            tmp_path / "prometheus",
            targets=[f"127.0.0.1:{agent.http_port}"],
            ca=pki.ca,
            password=luna.password_file(tmp_path),
            storage=storage,
        )
        await stack.enter_async_context(prometheus)
        (target,) = await until(lambda: prometheus.targets("up"), seconds=30)
        await until(lambda: not missing(prometheus), seconds=30)
        rules = await until(lambda: evaluated(prometheus), seconds=30)
        await until(lambda: not missing(storage, at=time.time() + 1), seconds=30)

    assert target["scrapeUrl"].startswith("https://")
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["lastError"] for rule in rules if rule.get("lastError")] == []


def evaluated(prometheus: Prometheus) -> list[dict[str, Any]]:
    """All rules, once none of them is still to be evaluated for the first time."""
    rules = prometheus.rules()
    return [] if "unknown" in {rule["health"] for rule in rules} else rules


def missing(server: Prometheus | VictoriaMetrics, *, at: float | None = None) -> list[str]:
    """What returns nothing yet: queries of the dashboard, and luna-monitor's names."""
    asked = {**queries(), **variables(), **{name: name for name in LUNA_MONITORS_NAMES}}
    return [name for name, query in asked.items() if not server.instant(query, at=at)]


@pytest.mark.parametrize("fault", ["password", "authority"])
async def test_a_wrong_password_or_authority_leaves_the_target_down(tmp_path: Path, fault: str) -> None:
    pki = make(tmp_path)
    agent = luna.agent(tmp_path / "agent")
    agent.settings["serve"]["http"]["web_config"] = str(luna.web_config(tmp_path, pki))
    agent.configure()
    password = luna.password_file(tmp_path)
    if fault == "password":
        password.write_text("another one")
    prometheus = Prometheus(
        tmp_path / "prometheus",
        targets=[f"127.0.0.1:{agent.http_port}"],
        ca=pki.rogue_ca if fault == "authority" else pki.ca,
        password=password,
    )
    async with agent, prometheus:
        (target,) = await until(lambda: prometheus.targets("down"), seconds=30)

    assert ("401" if fault == "password" else "unknown authority") in target["lastError"]
