"""Rules of the configuration and how they meet the default rules."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.config.rules import RuleSettings, check_declared, effective_rules
from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.rules import (
    Above,
    Below,
    Changes,
    Falls,
    Grows,
    Match,
    NotFalling,
    RateChanges,
    Reaches,
    Rule,
    Sooner,
)
from hsm_agent.model import Severity

NEW = {"name": "mine", "metric": "token_sessions"}


def _effective(*trees: dict[str, Any], default_rules: bool = True) -> dict[str, Rule]:
    rules = [RuleSettings.model_validate(tree) for tree in trees]
    return {rule.name: rule for rule in effective_rules(rules, default_rules=default_rules)}


def test_without_rules_the_defaults_hold() -> None:
    assert tuple(_effective().values()) == DEFAULT_RULES
    assert _effective(default_rules=False) == {}


def test_an_entry_overrides_the_keys_it_gives_and_no_other() -> None:
    default = {rule.name: rule for rule in DEFAULT_RULES}["token-storage"]
    changed = _effective({"name": "token-storage", "for": "1m", "runbook": "https://wiki.example.net"})["token-storage"]

    assert changed.for_seconds == 60.0
    assert changed.runbook == "https://wiki.example.net"
    assert (changed.condition, changed.metrics, changed.text) == (default.condition, default.metrics, default.text)


def test_an_override_may_bring_another_condition() -> None:
    assert _effective({"name": "token-memory", "above": {"critical": 95}})["token-memory"].condition == Above(
        critical=95
    )
    assert _effective({"name": "token-memory", "below": {"warning": 5}})["token-memory"].condition == Below(warning=5)


def test_a_disabled_rule_is_gone() -> None:
    assert "pin" not in _effective({"name": "pin", "enabled": False})


def test_a_default_can_be_had_alone() -> None:
    assert list(_effective({"name": "pin"}, default_rules=False)) == ["pin"]


@pytest.mark.parametrize(
    ("tree", "condition"),
    [
        ({"above": {"warning": 1, "critical": 2, "absolute": True}}, Above(warning=1, critical=2, absolute=True)),
        ({"above": {"critical": "own"}}, Above(critical="own")),
        ({"above": {"critical": "5m"}}, Above(critical=300.0)),
        ({"below": {"warning": 2, "critical": 1}}, Below(warning=2, critical=1)),
        ({"grows": {"warning": "30m", "at_least": 5}}, Grows(warning=1800.0, at_least=5)),
        (
            {"grows": {"critical": "2h", "sooner": {"warning": "48m", "against": "14d"}}},
            Grows(critical=7200.0, sooner=Sooner(warning=2880.0, against=14 * 86400.0)),
        ),
        (
            {"rate_changes": {"against": "2h", "percent": 30, "at_least": 1, "severity": "critical"}},
            RateChanges(against=7200.0, percent=30, at_least=1, severity=Severity.CRITICAL),
        ),
        ({"reaches": {"level": 95, "critical": "14d"}}, Reaches(level=95, critical=14 * 86400.0)),
        ({"changes": {}}, Changes(severity=Severity.WARNING)),
        ({"falls": {"severity": "critical"}}, Falls(severity=Severity.CRITICAL)),
        ({"not_falling": {"above": 3, "warning": "15m"}}, NotFalling(above=3, warning=900.0)),
    ],
)
def test_each_condition_is_built(tree: dict[str, Any], condition: object) -> None:
    assert _effective({**NEW, **tree})["mine"].condition == condition


def test_a_new_rule_takes_all_its_keys() -> None:
    tree = {
        "name": "mine",
        "metric": ["token_sessions", "token_rw_sessions"],
        "match": {"source": "luna-*", "resource": "pay*", "labels": {"site": "a"}},
        "above": {"warning": 10},
        "hysteresis": 2,
        "for": "10m",
        "repeat_every": "1h",
        "inhibited_by": ["source-down", "token-missing"],
        "text": "{resource}",
    }

    assert _effective(tree)["mine"] == Rule(
        name="mine",
        metrics=("token_sessions", "token_rw_sessions"),
        condition=Above(warning=10),
        match=Match(source="luna-*", resource="pay*", labels=(("site", "a"),)),
        hysteresis=2,
        for_seconds=600.0,
        repeat_seconds=3600.0,
        inhibited_by=("source-down", "token-missing"),
        text="{resource}",
    )


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        pytest.param({"name": "tokn-memory"}, "did you mean 'token-memory'?", id="a default's name mistyped"),
        pytest.param({"name": "mine"}, "a new one needs one of above, below", id="no condition"),
        pytest.param({"name": "mine", "above": {"warning": 1}}, "a new one needs a metric", id="no metric"),
        pytest.param({**NEW, "above": {"warning": 1}, "changes": {}}, "one condition a rule", id="two conditions"),
        pytest.param({**NEW, "above": {}}, "give warning, critical or both", id="no level"),
        pytest.param({**NEW, "above": {"warning": 2, "critical": 1}}, "warning is above critical", id="order"),
        pytest.param({**NEW, "below": {"warning": 1, "critical": 2}}, "warning is below critical", id="order below"),
        pytest.param(
            {"name": "mine", "metric": "token_session", "changes": {}},
            "no kind of source produces 'token_session', did you mean 'token_sessions'?",
            id="a metric mistyped",
        ),
        pytest.param(
            {"name": "mine", "metric": "zzz", "changes": {}}, "no kind of source produces 'zzz'", id="no such metric"
        ),
    ],
)
def test_what_is_no_rule_is_refused(tree: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RuleSettings.model_validate(tree)

    assert said in str(caught.value)


def test_only_changes_are_cleared_by_time() -> None:
    assert (
        _effective({"name": "firmware-changed", "clear_after": "1h"})["firmware-changed"].clear_after_seconds == 3600.0
    )
    with pytest.raises(ValueError, match=r"rules\.0\.clear_after: only with `changes`"):
        _effective({"name": "token-memory", "clear_after": "1h"})


def test_a_rule_cannot_wait_for_one_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"rules\.0\.inhibited_by: there is no rule 'nope'"):
        _effective({**NEW, "changes": {}, "inhibited_by": ["nope"]})


def test_a_glob_that_is_too_long_is_refused_at_its_place() -> None:
    for match, place in (({"resource": "*a" * 200}, "resource"), ({"labels": {"site": "*" * 300}}, "labels.site")):
        with pytest.raises(ValidationError) as caught:
            RuleSettings.model_validate(
                {"name": "own", "metric": "token_objects", "above": {"warning": 1}, "match": match}
            )
        (error,) = caught.value.errors()
        assert ".".join(map(str, error["loc"])) == f"match.{place}"
        assert "longer than 256 characters" in error["msg"]


def test_a_metric_of_the_configurations_own_needs_a_source_that_declares_it() -> None:
    rules = [("custom_jobs",)]

    check_declared(rules, {"custom_jobs"})
    with pytest.raises(
        ValueError, match=r"rules\.0\.metric: no source declares 'custom_jobs', did you mean 'custom_job'\?"
    ):
        check_declared(rules, {"custom_job"})
    with pytest.raises(ValueError, match=r"rules\.0\.metric: .*custom_jobs.$"):
        check_declared(rules, ())
