"""Of two rules that would tell of one fault, one speaks: when it gives way, and all that ends it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.config.rules import RuleSettings, effective_rules
from hsm_agent.evaluate.alarms import withdraw
from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.rules import DAY, HOUR, Above, GivesWay, Match, Rule, Ruleset
from tests.unit.evaluate.judging import MEMORY, Judge, reading, told

if TYPE_CHECKING:
    from hsm_agent.model import Event

STORAGE = "token_storage_used_percent"
SPEAKER = Rule(name="storage", metrics=(STORAGE,), condition=Above(warning=80, critical=95))
YIELDING = Rule(
    name="memory",
    metrics=(MEMORY,),
    condition=Above(warning=75, critical=90),
    gives_way=GivesWay(metric=MEMORY, rule="storage", to=STORAGE),
)
MINUTE = 60.0


def both(judge: Judge, at: float, memory: float | None, storage: float | None) -> list[tuple[str, str, str]]:
    """One poll with both readings; rule, kind and severity of its events."""
    events = judge.step(at, reading(at, memory), reading(at, storage, STORAGE))
    return [(event.rule, event.kind.name, event.severity.value) for event in events]


def configured(*trees: dict[str, Any], default_rules: bool = True) -> Judge:
    """A judge with the rules of a configuration."""
    return Judge(*effective_rules([RuleSettings.model_validate(tree) for tree in trees], default_rules=default_rules))


@pytest.mark.parametrize("storage", [71.0, 76.0, 79.0])
def test_a_rule_gives_way_to_one_that_reads_at_least_as_much_less_five_points(storage: float) -> None:
    judge = Judge(YIELDING, SPEAKER)

    assert both(judge, 0, 76, storage) == []
    assert both(judge, 60, 86, 86) == [("storage", "RAISED", "warning")]


@pytest.mark.parametrize("storage", [5.0, 70.9])
def test_a_token_whose_memory_is_full_is_in_trouble_whatever_its_storage_says(storage: float) -> None:
    assert both(Judge(YIELDING, SPEAKER), 0, 76, storage) == [("memory", "RAISED", "warning")]


def test_the_other_token_is_not_meant() -> None:
    judge = Judge(YIELDING, SPEAKER)

    events = judge.step(0, reading(0, 80), reading(0, 79, STORAGE, resource="other"))

    assert [(event.rule, event.resource) for event in events] == [("memory", "keys")]


@pytest.mark.parametrize(
    "speaker",
    [
        pytest.param((), id="not there"),
        pytest.param((replace(SPEAKER, enabled=False),), id="disabled"),
        pytest.param((replace(SPEAKER, match=Match(resource="other")),), id="narrowed to another token"),
        pytest.param((replace(SPEAKER, match=Match(source="other")),), id="narrowed to another source"),
        pytest.param((replace(SPEAKER, match=Match(labels=(("site", "b"),))),), id="narrowed to other labels"),
        pytest.param((replace(SPEAKER, metrics=("token_sessions",)),), id="on another metric"),
        pytest.param((replace(SPEAKER, condition=Above(warning="own")),), id="without a level to judge by"),
    ],
)
def test_nothing_gives_way_to_a_rule_that_does_not_judge(speaker: tuple[Rule, ...]) -> None:
    assert both(Judge(YIELDING, *speaker), 0, 80, 80)[0] == ("memory", "RAISED", "warning")


@pytest.mark.parametrize(
    "trees",
    [
        pytest.param(({"name": "token-storage", "enabled": False},), id="the other one is disabled"),
        pytest.param(({"name": "token-storage", "match": {"resource": "pay"}},), id="the other one is narrowed"),
        pytest.param(({"name": "token-storage", "runbook": "https://x"},), id="the other one is touched at all"),
        pytest.param(({"name": "token-memory", "above": {"warning": 50}},), id="the rule itself is touched"),
        pytest.param(({"name": "token-memory"},), id="the rule itself is named"),
    ],
)
def test_a_rule_the_user_has_touched_never_gives_way(trees: tuple[dict[str, Any], ...]) -> None:
    judge = configured(*trees)

    events = judge.step(0, reading(0, 76), reading(0, 76, STORAGE))

    assert ("token-memory", "RAISED") in [(event.rule, event.kind.name) for event in events]


@pytest.mark.parametrize(
    "trees",
    [
        pytest.param(({"name": "token-memory", "above": {"warning": 50}},), id="alone"),
        pytest.param(({"name": "token-memory"}, {"name": "token-storage"}), id="both"),
        pytest.param(({"name": "mine", "metric": MEMORY, "above": {"warning": 50}},), id="under a name of its own"),
    ],
)
def test_without_default_rules_nothing_gives_way(trees: tuple[dict[str, Any], ...]) -> None:
    judge = configured(*trees, default_rules=False)

    assert [event.rule for event in judge.step(0, reading(0, 80), reading(0, 79, STORAGE))] == [trees[0]["name"]]


def test_untouched_default_rules_tell_of_one_fault_once() -> None:
    judge = Judge(*DEFAULT_RULES)
    events = judge.step(0, reading(0, 85), reading(0, 85, STORAGE))
    events += judge.step(300, reading(300, 85), reading(300, 85, STORAGE))

    assert [(event.rule, event.kind.name) for event in events] == [("token-storage", "RAISED")]


def test_a_rule_speaks_at_once_when_the_other_reading_is_gone() -> None:
    judge = Judge(YIELDING, SPEAKER)
    both(judge, 0, 80, 79)

    assert both(judge, 60, 80, None) == [("memory", "RAISED", "warning")]


def test_a_rule_speaks_when_the_other_metric_is_no_longer_read() -> None:
    judge = Judge(YIELDING, SPEAKER)
    both(judge, 0, 80, 79)

    assert judge.read(600, 80) == []
    assert told(judge.read(660, 80)) == [("RAISED", "warning")]


def test_a_reading_from_a_clock_that_was_ahead_holds_nothing_back() -> None:
    judge = Judge(YIELDING, SPEAKER)
    both(judge, 7200, 80, 79)

    assert told(judge.read(0, 80)) == [("RAISED", "warning")]


def test_nothing_gives_way_to_what_was_read_before_a_restart() -> None:
    judge = Judge(YIELDING, SPEAKER)
    both(judge, 0, 80, 79)
    judge.restart()

    assert told(judge.read(60, 80)) == [("RAISED", "warning")]


def test_what_is_raised_is_judged_to_its_end() -> None:
    judge = Judge(YIELDING, SPEAKER)

    assert both(judge, 0, 80, 70) == [("memory", "RAISED", "warning")]
    assert both(judge, 60, 80, 79) == []
    assert both(judge, 120, 91, 90) == [("memory", "CHANGED", "critical"), ("storage", "RAISED", "warning")]
    assert both(judge, 180, 60, 60) == [("memory", "CLEARED", "cleared"), ("storage", "CLEARED", "cleared")]


@given(st.lists(st.floats(min_value=70.0, max_value=80.0), min_size=2, max_size=60))
def test_a_distance_that_hovers_round_five_points_raises_once(readings: list[float]) -> None:
    judge = Judge(YIELDING, SPEAKER)

    events = [event for minute, storage in enumerate(readings) for event in both(judge, minute * MINUTE, 79, storage)]

    assert [event for event in events if event[0] == "memory"] in ([], [("memory", "RAISED", "warning")])


def test_a_level_that_still_had_to_hold_is_given_up() -> None:
    judge = Judge(replace(YIELDING, for_seconds=60), SPEAKER)
    both(judge, 0, 80, 10)
    assert both(judge, 30, 80, 79) == []
    assert judge.alarm_state.rule_states == {}

    assert both(judge, 60, 80, 10) == []


def test_a_rule_whose_own_reading_is_lost_turns_unknown_and_gives_way_with_it() -> None:
    judge = Judge(YIELDING, SPEAKER)
    both(judge, 0, 78, 78)
    both(judge, 60, None, 78)

    assert both(judge, 660, None, 78) == [("memory", "RAISED", "indeterminate")]
    events = judge.step(720, reading(720, 78), reading(720, 78, STORAGE))
    assert [event.text for event in events] == ["Cleared: memory on luna/keys: storage speaks for it now"]


def is_forecast(event: Event) -> bool:
    return event.rule == "storage-forecast" and event.kind.name == "RAISED"


def test_a_forecast_gives_way_to_itself_only_once_the_other_history_is_long_enough() -> None:
    judge = Judge(*DEFAULT_RULES)
    found = []
    for hour in range(12 * 24):
        at, value = hour * HOUR, 30 + hour * HOUR / DAY * 3
        readings = [reading(at, value)]
        if hour >= 2 * 24:
            readings.append(reading(at, value, STORAGE))
        events = judge.step(at, *readings)
        found += [(hour, event.metric) for event in events if is_forecast(event)]

    # Memory is raised after 7.5 days, when the storage's history is still two days too short, and stays.
    assert found == [(180, MEMORY), (228, STORAGE)]


def test_a_forecast_of_both_is_told_once() -> None:
    judge = Judge(*DEFAULT_RULES)
    found = []
    for hour in range(9 * 24):
        at, value = hour * HOUR, 30 + hour * HOUR / DAY * 3
        events = judge.step(at, reading(at, value, STORAGE), reading(at, value))
        found += [event.metric for event in events if is_forecast(event)]

    assert found == [STORAGE]


def test_what_was_only_kept_to_give_way_goes_with_its_rule() -> None:
    judge = Judge(YIELDING, SPEAKER)
    both(judge, 0, 10, 10)
    judge.keep(withdraw(judge.alarm_state, lambda series: True, judge.context(1)))
    assert len(judge.alarm_state.latest) == 1
    judge.rules = Ruleset((SPEAKER,))

    judge.keep(withdraw(judge.alarm_state, lambda series: True, judge.context(60)))

    assert judge.alarm_state.latest == {}
