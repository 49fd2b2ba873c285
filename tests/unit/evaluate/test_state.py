"""The alarm state: what is remembered, written down and read again."""

from __future__ import annotations

from array import array

import pytest

from hsm_agent.evaluate.rules import DAY, HOUR, Above, Grows, Reaches, Rule
from hsm_agent.evaluate.state import IDLE, AlarmState, RuleState, active, points_of
from hsm_agent.evaluate.step import step
from hsm_agent.evaluate.transaction import Overlay, newest_row
from hsm_agent.evaluate.trends import Points
from hsm_agent.model import Severity
from tests.unit.evaluate.judging import MEMORY, START, Judge, reading

LEVEL = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75, critical=90))
FORECAST = Rule(name="forecast", metrics=(MEMORY,), condition=Reaches(level=95, over=30 * DAY, warning=90 * DAY))


def test_a_layer_leaves_what_is_below_it_alone() -> None:
    base = {"a": 1, "b": 2}
    overlay = Overlay(base)
    overlay.put("a", 1)
    overlay.put("b", None)
    overlay.put("c", 3)

    assert base == {"a": 1, "b": 2}
    assert (overlay.get("a"), overlay.get("b"), overlay.get("c")) == (1, None, 3)
    assert overlay.values() == [1, 3]
    assert overlay.changed == {"b": None, "c": 3}

    overlay.apply_to(base)
    assert base == {"a": 1, "c": 3}


def test_a_step_does_not_change_the_book_until_its_outcome_is_applied() -> None:
    judge = Judge(LEVEL)

    first = step(judge.alarm_state, [reading(0, 80)], judge.context(0))
    assert active(judge.alarm_state) == {}

    first.apply_to(judge.alarm_state)
    assert [alarm.severity for alarm in active(judge.alarm_state).values()] == [Severity.WARNING]


def test_active_alarms_come_oldest_first_and_say_since_when() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80, resource="b")
    judge.read(60, 95, resource="a")
    judge.read(120, 95, resource="b")

    found = list(active(judge.alarm_state).values())

    assert [(alarm.series[1], alarm.since - START, alarm.severity.value) for alarm in found] == [
        ("b", 0, "critical"),
        ("a", 60, "critical"),
    ]
    assert found[0].event.severity is Severity.CRITICAL
    assert found[0].alarm_id == found[0].event.alarm_id
    assert not found[0].silenced


def test_an_outcome_says_whether_the_alarms_changed() -> None:
    judge = Judge(LEVEL)

    assert not step(judge.alarm_state, [reading(0, 10)], judge.context(0)).alarms_changed
    raised = step(judge.alarm_state, [reading(0, 80)], judge.context(0))
    assert raised.alarms_changed
    judge.keep(raised)
    assert not step(judge.alarm_state, [reading(60, 81)], judge.context(60)).alarms_changed


def test_a_reading_that_says_nothing_new_writes_nothing() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80)

    assert dict(step(judge.alarm_state, [reading(60, 80)], judge.context(60)).rows) == {}


def test_what_was_written_is_read_again() -> None:
    growth = Rule(name="growth", metrics=(MEMORY,), condition=Grows(warning=1800))
    judge = Judge(LEVEL, FORECAST, growth)
    for hour in range(60):
        judge.read(hour * HOUR, 80)

    loaded, unreadable = AlarmState.load(judge.rows)

    assert unreadable == ()
    assert loaded.rule_states == judge.alarm_state.rule_states
    assert loaded.series_states == judge.alarm_state.series_states
    assert loaded.windows == judge.alarm_state.windows
    assert loaded.points == judge.alarm_state.points
    assert active(loaded) == active(judge.alarm_state)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        pytest.param("no json", "{}", id="a key that is no JSON"),
        pytest.param('["watch","luna"]', "{}", id="a key that is too short"),
        pytest.param('["dream","luna","k","m",[]]', "{}", id="a kind from another version"),
        pytest.param('["track","luna","k","m",[]]', "{", id="a value that is no JSON"),
        pytest.param('["track","luna","k","m",[]]', '{"colour":1}', id="a field nobody knows"),
        pytest.param('["points","luna","k","m",[],3600.0,1]', "[[1]]", id="half a point"),
        pytest.param('["watch","luna","k","m",[],"r"]', '{"alarm":{}}', id="half an alarm"),
        pytest.param('["watch","luna","k","m",[],"r"]', "[1,2]", id="a list for the state of a rule"),
        pytest.param('["watch","luna","k","m",[],"r"]', '{"level":"warnimg"}', id="a severity one letter off"),
        pytest.param('["watch","luna","k","m",[],"r"]', '{"clock":"noon"}', id="text for a time"),
        pytest.param('["watch","luna","k","m",[],"r"]', '{"clock":Infinity}', id="a time without end"),
        pytest.param('["watch","luna","k","m",[],"r"]', '{"last":NaN}', id="no number"),
        pytest.param('["watch","luna","k","m",[],"r"]', '{"last":1' + 400 * "0" + "}", id="a huge number"),
        pytest.param('["watch","luna","k","m",[],"r"]', '{"unknown":1}', id="a number for a flag"),
        pytest.param('["watch","luna","k","m",[],"r"]', '{"seen":"[1"}', id="half of what was seen"),
        pytest.param('["watch","luna","k","m",[],"r"]', 9999 * "[" + 9999 * "]", id="deep"),
        pytest.param(9999 * "[" + 9999 * "]", "{}", id="a deep key"),
        pytest.param('["watch","luna",7,"m",[],"r"]', "{}", id="a number in a series"),
        pytest.param('["windows","luna","k","m",[],60]', '["x",1,[]]', id="text for a window's number"),
        pytest.param('["windows","luna","k","m",[],0]', "[1,1,[]]", id="windows of no length"),
        pytest.param('["points","luna","k","m",[],0,1]', "[[1,1]]", id="points with no space between"),
        pytest.param('["points","luna","k","m",[],3600.0,1]', "[[Infinity,1]]", id="a point at no time"),
        pytest.param('["silence","s"]', '{"silence_id":"s"}', id="half a silence"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_spoils_nothing(key: str, text: str) -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80)

    loaded, unreadable = AlarmState.load({**judge.rows, key: text})

    assert unreadable == (key,)
    assert active(loaded) == active(judge.alarm_state)


def test_a_new_point_rewrites_its_own_row_only() -> None:
    points = Points(array("d", [0.0, 10.0, 20.0, 30.0]), array("d", [1.0, 2.0, 3.0, 4.0]))

    assert newest_row(points, lambda time: int(time) // 20) == "[[20.0,3.0],[30.0,4.0]]"
    assert newest_row(points, lambda _: 0) == "[[0.0,1.0],[10.0,2.0],[20.0,3.0],[30.0,4.0]]"


def test_rows_of_points_come_together_in_any_order() -> None:
    assert points_of(["[[20,3]]", "[[0,1],[10,2]]"]) == Points(
        array("d", [0.0, 10.0, 20.0]), array("d", [1.0, 2.0, 3.0])
    )


def test_rows_of_hourly_points_go_with_the_points() -> None:
    judge = Judge(FORECAST)
    for hour in range(40 * 24):
        judge.read(hour * HOUR, 10)

    rows = [key for key in judge.rows if key.startswith('["points"')]

    assert 35 <= len(rows) <= 37
    assert [len(points.times) for points in judge.alarm_state.points.values()] == [35 * 24 + 1]


def test_unknown_overrides_the_level_and_keeps_it() -> None:
    state = RuleState(level=Severity.CRITICAL, unknown=True)

    assert state.severity is Severity.INDETERMINATE
    assert state.level is Severity.CRITICAL
    assert IDLE.severity is Severity.CLEARED


def test_rows_of_one_history_are_one_whatever_their_order() -> None:
    rows = {
        f'["points","luna","keys","metric",[],60,{number}]': f"[[{60 * number},{number}],[{60 * number + 30},0.5]]"
        for number in (2, 3, 1, 4)
    }

    loaded, unreadable = AlarmState.load(rows)

    ((times, values),) = [(list(each.times), list(each.values)) for each in loaded.points.values()]
    assert unreadable == ()
    assert times == [60, 90, 120, 150, 180, 210, 240, 270]
    assert values == [1, 0.5, 2, 0.5, 3, 0.5, 4, 0.5]
