"""What is made for Prometheus, Alertmanager and Grafana is what the code makes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
import yaml

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.metrics import METRICS
from hsm_agent.serve.http.exposition import exposed_name
from hsm_agent.templates import alertmanager, prometheus
from integrations.grafana import build
from tests.fakes.sample_configuration import ROOT

if TYPE_CHECKING:
    from types import ModuleType

INTEGRATIONS = ROOT / "integrations"
RULES = INTEGRATIONS / "prometheus"
THERE = {exposed_name(name) for name in METRICS} | {"hsm_alarm_active", "hsm_agent_build_info"}


@pytest.mark.parametrize(("folder", "module"), [("prometheus", prometheus), ("alertmanager", alertmanager)])
def test_the_folder_holds_what_is_made_from_the_default_rules(folder: str, module: ModuleType) -> None:
    written: dict[str, str] = module.write()

    held = {name: (INTEGRATIONS / folder / name).read_text(encoding="utf-8") for name in written}
    assert held == written


def test_every_default_rule_has_an_alert_for_each_metric() -> None:
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if rule["alert"] != "reading-unknown"]

    assert {(rule["alert"], rule["labels"]["metric"]) for rule in rules} == {
        (rule.name, metric) for rule in DEFAULT_RULES for metric in rule.metrics
    }


@pytest.mark.parametrize("name", ["alerts", "alarms", "agent", "recording", "aliases", "luna-monitor"])
def test_rules_ask_for_metrics_that_there_are(name: str) -> None:
    groups = yaml.safe_load((RULES / f"{name}.yml").read_text())["groups"]

    assert {metric for group in groups for rule in group["rules"] for metric in asked(rule["expr"])} <= THERE


def test_the_dashboard_is_what_its_script_makes() -> None:
    assert build.text() == build.FILE.read_text(encoding="utf-8"), "run: python -m integrations.grafana.build"


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(build.FILE.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


QUERIES = [target["expr"] for panel in panels() for target in panel["targets"]]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_dashboard_is_promql_about_metrics_that_there_are(query: str) -> None:
    promql_parser.parse(query)

    assert asked(query) <= THERE


def test_the_dashboard_has_luna_monitors_panels() -> None:
    titles = {panel["title"] for panel in panels()}
    theirs = {"Total commands", "Session usage", "Storage usage", "Storage trend", "Objects", "Sessions"}

    assert titles >= theirs | {"Session change an hour", "Operation rate", "Firmware"}


@pytest.mark.parametrize("title", ["Session usage", "Storage usage"])
def test_use_is_yellow_at_70_and_red_at_90(title: str) -> None:
    (panel,) = [each for each in panels() if each["title"] == title]

    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in steps[1:]] == [(70, "yellow"), (90, "red")]


def test_panels_do_not_overlap_and_stay_within_the_grid() -> None:
    cells = [
        (column, row)
        for place in (panel["gridPos"] for panel in panels())
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24


def asked(expression: str) -> set[str]:
    """The metrics of the agent that an expression names."""
    return set(re.findall(r"\bhsm_\w+", re.sub(r'"[^"]*"', "", expression)))
