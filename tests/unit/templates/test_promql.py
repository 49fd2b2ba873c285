"""Conditions as PromQL, and what of rules Prometheus and Alertmanager cannot be told."""

from __future__ import annotations

import pytest

from hsm_agent.evaluate.rules import Above, Below, Falls, Match, NotFalling, RateChanges, Rule
from hsm_agent.templates.alertmanager import inhibitors
from hsm_agent.templates.prometheus import alert
from hsm_agent.templates.promql import expressions

LEVEL = Above(critical=5)


def texts(rule: Rule) -> list[tuple[str, str]]:
    return [(each.severity.value, each.text) for each in expressions(rule)]


def test_a_level_without_hysteresis_is_a_comparison() -> None:
    rule = Rule(name="objects", metrics=("token_objects",), condition=Above(warning=10, critical=20))

    assert texts(rule) == [("warning", "hsm_token_objects >= 10"), ("critical", "hsm_token_objects >= 20")]


def test_hysteresis_holds_while_the_alert_fires() -> None:
    rule = Rule(name="date", metrics=("declared_seconds_left",), condition=Below(warning=60), hysteresis=5)

    firing = 'ALERTS{alertname="date",alertstate="firing",metric="declared_seconds_left",severity="warning"}'
    held = f"hsm_declared_seconds_left <= 65\n  and ignoring (alertname, alertstate, metric, severity) {firing}"
    assert texts(rule) == [("warning", f"hsm_declared_seconds_left <= 60\nor {held}")]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(
            Rule(name="r", metrics=("token_objects",), condition=LEVEL, match=Match(source="a", labels=(("b", "c"),))),
            'hsm_token_objects{source="a",b="c"} >= 5',
            id="match",
        ),
        pytest.param(
            Rule(name="r", metrics=("token_clock_offset_seconds",), condition=Above(critical=5, absolute=True)),
            "abs(hsm_token_clock_offset_seconds) >= 5",
            id="absolute",
        ),
        pytest.param(
            Rule(name="r", metrics=("token_login_attempts_left",), condition=Falls(), clear_after_seconds=86400),
            "hsm_token_login_attempts_left < max_over_time(hsm_token_login_attempts_left[1d])",
            id="falls",
        ),
        pytest.param(
            Rule(name="r", metrics=("audit_records",), condition=NotFalling(critical=60)),
            "hsm_audit_records > 0\nand min_over_time(hsm_audit_records[1m]) > 0\nand resets(hsm_audit_records[1m]) == 0"
            "\nand hsm_audit_records offset 1m > 0",
            id="not falling",
        ),
        pytest.param(
            Rule(name="r", metrics=("token_objects",), condition=RateChanges(percent=20, at_least=3)),
            "hsm_token_objects\nand abs(hsm_token_objects - hsm_token_objects offset 1h)"
            " >= 0.2 * abs(hsm_token_objects offset 1h)"
            "\nand abs(hsm_token_objects - hsm_token_objects offset 1h) >= 3",
            id="a gauge is compared as it is",
        ),
    ],
)
def test_a_condition_as_promql(rule: Rule, expected: str) -> None:
    assert [text for _, text in texts(rule)] == [expected]


def test_a_glob_is_refused() -> None:
    rule = Rule(name="r", metrics=("token_objects",), condition=LEVEL, match=Match(resource="pay*"))

    with pytest.raises(ValueError, match="no counterpart"):
        texts(rule)


def test_a_runbook_travels_as_annotation() -> None:
    rule = Rule(name="r", metrics=("token_objects",), condition=LEVEL, text="{amount}", runbook="https://x.example/r")
    (expression,) = expressions(rule)

    annotations = alert(expression)["annotations"]
    assert annotations["runbook_url"] == "https://x.example/r"
    assert annotations["description"] == '{{ printf "%.4g" $value }} objects'


def test_rules_that_are_not_inhibited_alike_are_refused() -> None:
    down = Rule(name="down", metrics=("source_up",), condition=LEVEL)
    held = Rule(name="held", metrics=("token_objects",), condition=LEVEL, inhibited_by=("down",))
    free = Rule(name="free", metrics=("token_objects",), condition=LEVEL)

    assert inhibitors([down, held]) == {"down"}
    with pytest.raises(ValueError, match="free"):
        inhibitors([down, held, free])
