"""Prometheus' rules on the recorded series of the default rules: promtool finds them firing when the agent raises."""

from __future__ import annotations

import asyncio
from functools import cache
from itertools import groupby
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.rules import HOUR, MINUTE
from hsm_agent.model import number_text
from hsm_agent.serve.http.exposition import exposed_name
from tests.peers.require import require
from tests.unit.evaluate import recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.unit.evaluate.recorded import Recorded

INTEGRATIONS = Path(__file__).parents[2] / "integrations"
FOLDER = INTEGRATIONS / "prometheus"
NEAR_SECONDS = {"operation-rate": 6 * MINUTE, "storage-forecast": 36 * HOUR, "session-leak": 12 * HOUR}
"""Conditions that look back along fixed windows in the agent, and from any moment in Prometheus: how far apart they are."""
EVALUATED_SECONDS = {"storage-forecast": 4 * HOUR, "session-leak": HOUR / 2}
"""How often long series are looked at; a day of each minute would take long."""
RULES = {rule.name: rule for rule in DEFAULT_RULES}


async def promtool(*arguments: str) -> str:
    """What it says, if it is content."""
    return await tool("promtool", *arguments)


async def tool(name: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        require(name), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(50):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


def step_of(series: Recorded) -> float:
    """How often it is scraped: what is forgotten after five minutes, ALERTS too, matters in short series."""
    if series.every <= MINUTE or series.rule in EVALUATED_SECONDS:
        return series.every
    return next(step for step in (HOUR, 3 * MINUTE, MINUTE) if series.every % step == 0)


def written(values: Iterable[float | None], times: int) -> str:
    """Values as promtool reads them, each that many times; where there is none, the series ends."""
    parts = []
    for value, run in groupby(values):
        more = len(list(run)) * times - 1
        if value is None:
            parts += ["stale", *([f"_x{more}"] if more else [])]
        else:
            parts.append(f"{'Inf' if value == inf else number_text(value)}+0x{more}")
    return " ".join(parts)


def labelled(name: str, series: Recorded, **labels: str) -> str:
    known = {"job": "hsm", "instance": "a:9717", "source": series.source, "resource": series.resource, **labels}
    listed = ",".join(f'{key}="{value}"' for key, value in known.items())
    return f"{name}{{{listed}}}"


def scraped(series: Recorded, step: float) -> Iterator[dict[str, str]]:
    """The series; the labels of an info metric end one and begin the next. And the agent's own verdict on it."""
    times, name, count = round(series.every / step), exposed_name(series.metric), len(series.values)
    contents = {series.labels_at(index) for index in range(count)}
    for labels in contents:
        values = [value if series.labels_at(index) == labels else None for index, value in enumerate(series.values)]
        yield {"series": labelled(name, series, **dict(labels)), "values": written(values, times)}
    for severity in ("warning", "critical"):
        verdict = {"metric": series.metric, "rule": series.rule, "severity": severity}
        active = [1.0 if raised(series, index * series.every) == severity else None for index in range(count)]
        known = {**dict(series.labels), **verdict}
        yield {"series": labelled("hsm_alarm_active", series, **known), "values": written(active, times)}


def changes(series: Recorded) -> list[tuple[str, float]]:
    """Severities and when the agent tells of them. Steady growth that is found `sooner` has no counterpart."""
    return [
        (severity, at)
        for rule, _, severity, at in series.expect
        if rule == series.rule and (rule, severity) != ("session-leak", "warning")
    ]


def raised(series: Recorded, at: float) -> str:
    """The severity that the agent shows then."""
    return next((severity for severity, since in reversed(changes(series)) if since <= at), "cleared")


def alerts(series: Recorded) -> list[dict[str, Any]]:
    """The alerting rules made from the default rule for this metric."""
    return [a for a in all_alerts() if a["alert"] == series.rule and a["labels"]["metric"] == series.metric]


@cache
def all_alerts() -> list[dict[str, Any]]:
    groups = yaml.load((FOLDER / "alerts.yml").read_text(), Loader=yaml.CSafeLoader)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def firing(series: Recorded, severity: str) -> list[dict[str, Any]]:
    """What fires when the agent shows that severity: the alert of its own, and of the milder one if the rule has it."""
    own = {each["labels"]["severity"] for each in alerts(series)}
    if RULES[series.rule].escalate is not None:
        own &= {severity}
    shown = {"cleared": set[str](), "warning": {"warning"}, "critical": {"warning", "critical"}}[severity]
    return [{"labels": f'{{severity="{each}"}}', "value": 1} for each in sorted(own & shown)]


def expectations(series: Recorded, evaluated: float) -> Iterator[dict[str, Any]]:
    """Right when the agent tells of a change the alerts are as it says, and a moment before as they were."""
    near = NEAR_SECONDS.get(series.rule, 0.0)
    end = len(series.values) * series.every
    before = "cleared"
    for severity, at in changes(series):
        earlier = (ceil((at - near) / evaluated) - 1) * evaluated
        for when, shown in ((earlier, before), (ceil((at + near) / evaluated) * evaluated, severity)):
            if 0 <= when < end:
                yield asked(series, when, shown)
        before = severity


def asked(series: Recorded, when: float, severity: str) -> dict[str, Any]:
    expression = f'count by (severity) (ALERTS{{alertname="{series.rule}",alertstate="firing"}})'
    return {"expr": expression, "eval_time": f"{when:.0f}s", "exp_samples": firing(series, severity)}


def written_test(series: Recorded, folder: Path) -> Path:
    """The test of one series, with the rules it is about."""
    step = step_of(series)
    evaluated = EVALUATED_SECONDS.get(series.rule, step)
    rules, tests = folder / f"{series.name}.rules.yml", folder / f"{series.name}.yml"
    rules.write_text(yaml.dump({"groups": [{"name": "one", "rules": alerts(series)}]}, Dumper=yaml.CSafeDumper))
    unit = {
        "interval": f"{step:.0f}s",
        "input_series": list(scraped(series, step)),
        "promql_expr_test": list(expectations(series, evaluated)),
    }
    whole = {"rule_files": [rules.name], "evaluation_interval": f"{evaluated:.0f}s", "tests": [unit]}
    tests.write_text(yaml.dump(whole, Dumper=yaml.CSafeDumper))
    return tests


async def test_every_recorded_series_fires_when_the_agent_raises(tmp_path: Path) -> None:
    paths = [str(written_test(series, tmp_path)) for series in recorded.ALL]
    halves = [promtool("test", "rules", *half) for half in (paths[::2], paths[1::2])]

    said = await asyncio.gather(*halves)

    assert sum(each.count("SUCCESS") for each in said) == len(recorded.ALL)


@pytest.mark.parametrize("series", recorded.ALL, ids=lambda series: series.name)
def test_a_recorded_series_is_asked_about_before_and_after_each_change(series: Recorded) -> None:
    evaluated = EVALUATED_SECONDS.get(series.rule, step_of(series))

    assert len(list(expectations(series, evaluated))) >= len(changes(series))


@pytest.mark.parametrize("name", ["luna-monitor", "agent", "aliases", "recording"])
async def test_the_tests_beside_the_rules_succeed(name: str) -> None:
    assert "SUCCESS" in await promtool("test", "rules", str(FOLDER / f"{name}.test.yml"))


async def test_promtool_finds_the_rules_correct() -> None:
    names = ["alerts", "alarms", "agent", "recording", "aliases", "luna-monitor"]

    said = await promtool(
        "check", "rules", "--lint=all", "--lint-fatal", *(str(FOLDER / f"{name}.yml") for name in names)
    )

    assert said.count("SUCCESS") == len(names)


async def test_promtool_finds_the_scrape_configuration_correct(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.yml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ("ca.pem", "hsm-agent.password"):
        (tmp_path / name).write_text("")

    assert "FAILED" not in await promtool("check", "config", str(tmp_path / "prometheus.yml"))


async def test_every_alarm_of_the_agent_is_passed_on_at_its_severity(tmp_path: Path) -> None:
    rules = [*RULES, "one-of-the-operator"]
    series = [
        {"series": f'hsm_alarm_active{{source="s",rule="{rule}",severity="warning",metric="m"}}', "values": "1"}
        for rule in rules
    ]
    names = [*RULES, "hsm-alarm"]
    samples = [{"labels": f'{{alertname="{name}",severity="warning"}}', "value": 1} for name in names]
    expression = "count by (alertname, severity) (ALERTS)"
    asked_once = [{"expr": expression, "eval_time": "0s", "exp_samples": samples}]
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": asked_once}]
    (tmp_path / "t.yml").write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "alarms.yml")], "tests": tests}))

    await promtool("test", "rules", str(tmp_path / "t.yml"))


async def test_alarms_of_an_agent_that_is_gone_do_not_end_before_that_is_told(tmp_path: Path) -> None:
    labels = '{job="hsm",instance="a:9717",source="s",rule="%s",metric="m",severity="critical"}'
    series = [
        {"series": 'up{job="hsm",instance="a:9717"}', "values": "1+0x4 0+0x20"},
        {"series": f"hsm_alarm_active{labels % 'pin'}", "values": "1 1 1 1 1 stale"},
        {"series": f"hsm_alarm_active{labels % 'tamper'}", "values": "1 1 1 stale"},  # cleared before that
    ]
    expression = 'count by (alertname) (ALERTS{alertstate="firing"})'

    def firing(minute: int, *names: str) -> dict[str, Any]:
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names]
        return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}

    asked = [
        firing(2, "pin", "tamper"), firing(3, "pin"), firing(5, "pin"), firing(9, "pin"),
        firing(10, "pin", "agent-gone"), firing(14, "pin", "agent-gone"), firing(15, "agent-gone"),
    ]  # fmt: skip
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]
    files = [str(FOLDER / name) for name in ("alarms.yml", "agent.yml")]
    (tmp_path / "t.yml").write_text(yaml.safe_dump({"rule_files": files, "tests": tests}))

    await promtool("test", "rules", str(tmp_path / "t.yml"))


async def test_a_reading_that_is_gone_is_told_once_the_agent_calls_it_unknown(tmp_path: Path) -> None:
    labels = '{source="s",resource="r",rule="token-storage",metric="token_storage_used_percent",severity="%s"}'
    series = [
        {"series": f"hsm_alarm_active{labels % 'warning'}", "values": "1 stale"},
        {"series": f"hsm_alarm_active{labels % 'indeterminate'}", "values": "_ 1"},
    ]
    expression = 'count by (alertname, severity) (ALERTS{alertname="reading-unknown"})'
    shown = [{"labels": '{alertname="reading-unknown",severity="indeterminate"}', "value": 1}]
    asked_twice = [
        {"expr": expression, "eval_time": "0s", "exp_samples": []},
        {"expr": expression, "eval_time": "1m", "exp_samples": shown},
    ]
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": asked_twice}]
    (tmp_path / "t.yml").write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "alerts.yml")], "tests": tests}))

    await promtool("test", "rules", str(tmp_path / "t.yml"))


async def test_amtool_finds_the_example_correct() -> None:
    assert "SUCCESS" in await tool("amtool", "check-config", str(INTEGRATIONS / "alertmanager" / "alertmanager.yml"))


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        pytest.param({"alertname": "token-storage", "severity": "critical"}, "pager", id="critical"),
        pytest.param({"alertname": "token-storage", "severity": "warning"}, "operators", id="warning"),
        pytest.param({"alertname": "token-storage", "severity": "indeterminate"}, "operators", id="unknown"),
        pytest.param({"alertname": "hsm-agent-heartbeat", "severity": "none"}, "dead-mans-switch", id="heartbeat"),
        pytest.param({"alertname": "hsm-agent-test", "severity": "test"}, "operators", id="test"),
    ],
)
async def test_amtool_routes_by_severity(labels: dict[str, str], receiver: str) -> None:
    file = str(INTEGRATIONS / "alertmanager" / "alertmanager.yml")
    words = [f"{name}={value}" for name, value in labels.items()]

    assert (await tool("amtool", "config", "routes", "test", f"--config.file={file}", *words)).split()[-1] == receiver
