"""What is made for Prometheus, Alertmanager and Grafana is what the code makes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.metrics import METRICS
from hsm_agent.serve.http.exposition import exposed_name
from hsm_agent.templates import alertmanager, prometheus
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
    made = {(rule["alert"], rule["labels"]["metric"]) for group in groups for rule in group["rules"]}

    assert made == {(rule.name, metric) for rule in DEFAULT_RULES for metric in rule.metrics}


@pytest.mark.parametrize("name", ["alerts", "alarms", "agent", "recording", "aliases", "luna-monitor"])
def test_rules_ask_for_metrics_that_there_are(name: str) -> None:
    groups = yaml.safe_load((RULES / f"{name}.yml").read_text())["groups"]

    assert {metric for group in groups for rule in group["rules"] for metric in asked(rule["expr"])} <= THERE


def asked(expression: str) -> set[str]:
    """The metrics of the agent that an expression names."""
    return set(re.findall(r"\bhsm_\w+", re.sub(r'"[^"]*"', "", expression)))
