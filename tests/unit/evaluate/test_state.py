"""The book: what is remembered, written down and read again."""

from __future__ import annotations

import pytest

from hsm_agent.evaluate.rules import DAY, HOUR, Above, Grows, Reaches, Rule
from hsm_agent.evaluate.state import Book, Layer, active
from hsm_agent.evaluate.step import step
from hsm_agent.model import Severity
from tests.unit.evaluate.judging import MEMORY, START, Judge, reading

LEVEL = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75, critical=90))
FORECAST = Rule(name="forecast", metrics=(MEMORY,), condition=Reaches(level=95, over=30 * DAY, warning=90 * DAY))


def test_a_layer_leaves_what_is_below_it_alone() -> None:
    base = {"a": 1, "b": 2}
    layer = Layer(base)
    layer.put("a", 1)
    layer.put("b", None)
    layer.put("c", 3)

    assert base == {"a": 1, "b": 2}
    assert (layer.get("a"), layer.get("b"), layer.get("c")) == (1, None, 3)
    assert layer.values() == [1, 3]
    assert layer.changed == {"b": None, "c": 3}

    layer.apply(base)
    assert base == {"a": 1, "c": 3}


def test_a_step_does_not_change_the_book_until_its_outcome_is_applied() -> None:
    judge = Judge(LEVEL)

    first = step(judge.book, [reading(0, 80)], judge.context(0))
    assert active(judge.book) == {}

    judge.book.apply(first)
    assert [alarm.severity for alarm in active(judge.book).values()] == [Severity.WARNING]


def test_active_alarms_come_oldest_first_and_say_since_when() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80, resource="b")
    judge.read(60, 95, resource="a")
    judge.read(120, 95, resource="b")

    found = list(active(judge.book).values())

    assert [(alarm.series[1], alarm.since - START, alarm.severity.value) for alarm in found] == [
        ("b", 0, "critical"),
        ("a", 60, "critical"),
    ]
    assert found[0].event.severity is Severity.CRITICAL
    assert found[0].alarm_id == found[0].event.alarm_id
    assert not found[0].silenced


def test_an_outcome_says_whether_the_alarms_changed() -> None:
    judge = Judge(LEVEL)

    assert not step(judge.book, [reading(0, 10)], judge.context(0)).alarms_changed
    raised = step(judge.book, [reading(0, 80)], judge.context(0))
    assert raised.alarms_changed
    judge.keep(raised)
    assert not step(judge.book, [reading(60, 81)], judge.context(60)).alarms_changed


def test_a_reading_that_says_nothing_new_writes_nothing() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80)

    assert dict(step(judge.book, [reading(60, 80)], judge.context(60)).writes) == {}


def test_what_was_written_is_read_again() -> None:
    growth = Rule(name="growth", metrics=(MEMORY,), condition=Grows(warning=1800))
    judge = Judge(LEVEL, FORECAST, growth)
    for hour in range(60):
        judge.read(hour * HOUR, 80)

    loaded, unreadable = Book.load(judge.rows)

    assert unreadable == ()
    assert loaded.watches == judge.book.watches
    assert loaded.tracks == judge.book.tracks
    assert loaded.windows == judge.book.windows
    assert loaded.points == judge.book.points
    assert active(loaded) == active(judge.book)


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
        pytest.param('["watch","luna","k","m",[],"r"]', "[1,2]", id="a list for a watch"),
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

    loaded, unreadable = Book.load({**judge.rows, key: text})

    assert unreadable == (key,)
    assert active(loaded) == active(judge.book)


def test_rows_of_hourly_points_go_with_the_points() -> None:
    judge = Judge(FORECAST)
    for hour in range(40 * 24):
        judge.read(hour * HOUR, 10)

    rows = [key for key in judge.rows if key.startswith('["points"')]

    assert 35 <= len(rows) <= 37
    assert [len(points.times) for points in judge.book.points.values()] == [35 * 24 + 1]
