"""What is the group's and what the agent's own; rows of another agent taken in one by one make the state that it has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_agent.evaluate.alarms import forget, merge, silence, withdraw
from hsm_agent.evaluate.rules import Above, RateChanges, Rule
from hsm_agent.evaluate.sharing import (
    adopt,
    is_own,
    is_shared,
    is_shared_row,
    rows_of,
    series_in,
    take_in_rows,
    view,
)
from hsm_agent.evaluate.state import (
    AlarmState,
    Silence,
    active,
    part_of,
    with_alarm,
)
from hsm_agent.evaluate.step import step
from hsm_agent.model import EventKind
from tests.fakes.examples import examples
from tests.unit.evaluate.days import RULES, Move, moves
from tests.unit.evaluate.judging import MEMORY, START, Judge, reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOUR = 3600.0
FULL = Rule(name="full", metrics=(MEMORY, "spool_used_percent"), condition=Above(warning=75))
RATE = Rule(name="rate", metrics=(MEMORY,), condition=RateChanges(against=24 * HOUR, percent=30))
MAPPINGS = ("rule_states", "series_states", "object_states", "windows", "points", "silences", "alarmed", "missing")


def hush(name: str, at: float, seconds: float = 200.0, rule: str = "l*") -> Silence:
    return Silence(silence_id=name, until=START + at + seconds, reason="work", by_uid=0, created=START + at, rule=rule)


def same(found: AlarmState, wanted: AlarmState) -> bool:
    """But for what a start adds (`unread`), and what is not stored (`latest`)."""
    return all(getattr(found, name) == getattr(wanted, name) for name in MAPPINGS)


def act(judge: Judge, move: Move, index: int, at: float) -> Mapping[str, str | None]:
    """What a move of a made-up day changes; the judge keeps it."""
    rows: dict[str, str | None] = {}
    readings = list(move.readings(at))
    if index == 0:
        readings.append(reading(at, 1, "token_present"))
    results = [step(judge.alarm_state, readings, judge.context(at))]
    judge.keep(results[0])
    if move.hush:
        results.append(silence(judge.alarm_state, hush(f"s-{index}", at), judge.context(at)))
        judge.keep(results[-1])
        alarm = next((each for _, _, each in with_alarm(judge.alarm_state)), None)
        if alarm is not None:
            results.append(forget(judge.alarm_state, alarm.alarm_id, 0, judge.context(at)))
            judge.keep(results[-1])
    for result in results:
        rows |= result.rows
    return rows


@settings(max_examples=examples(40, 10), deadline=None)
@given(moves, st.data())
def test_rows_taken_in_make_the_state_that_they_were_written_of(found: list[Move], data: st.DataObject) -> None:
    judge, follower, at = Judge(*RULES, RATE), AlarmState(), 0.0
    begins = data.draw(st.integers(0, len(found) - 1))
    ends = data.draw(st.integers(0, len(found) - 1))
    for index, move in enumerate(found):
        at += move.wait
        judge.up = ("luna",) if move.up else ()
        rows = act(judge, move, index, at)
        if index == ends:
            gone = withdraw(judge.alarm_state, lambda series: series[2] != MEMORY, judge.context(at))
            rows = {**rows, **gone.rows}
            judge.keep(gone)
        if index == begins:
            follower, unreadable = AlarmState.load(judge.rows)
            assert unreadable == ()
        elif index > begins:
            assert take_in_rows(follower, rows) == ()
    loaded, _ = AlarmState.load(judge.rows)
    assert same(follower, loaded)
    assert active(follower) == active(loaded)


@settings(max_examples=examples(15, 5), deadline=None)
@given(moves)
def test_every_row_of_a_state_is_written_anew_as_it_was(found: list[Move]) -> None:
    judge, at = Judge(*RULES, RATE), 0.0
    for index, move in enumerate(found):
        at += move.wait
        act(judge, move, index, at)
    loaded, _ = AlarmState.load(judge.rows)

    assert rows_of(loaded) == judge.rows


def test_a_history_longer_than_is_kept_is_followed_chunk_by_chunk() -> None:
    judge, follower = Judge(RATE), AlarmState()
    for hour in range(40 * 24):
        result = step(judge.alarm_state, [reading(hour * HOUR, hour % 7)], judge.context(hour * HOUR))
        judge.keep(result)
        assert take_in_rows(follower, result.rows) == ()

    loaded, _ = AlarmState.load(judge.rows)
    assert follower.points == loaded.points
    ((history, points),) = judge.alarm_state.points.items()
    assert follower.points[history].times[-len(points.times) :] == points.times


def test_a_row_that_cannot_be_read_is_named_and_leaves_nothing_behind() -> None:
    judge = Judge(FULL)
    judge.read(0, 80)
    key = next(key for key in judge.rows if key.startswith('["watch"'))
    broken = {key: '{"level":"odd"}', '["points","luna"]': "[]", "no row": "{}", '["newer","luna"]': None}

    assert take_in_rows(judge.alarm_state, broken) == tuple(broken)
    assert judge.alarm_state.rule_states == {}
    assert judge.alarm_state.alarmed == {}


def test_a_row_of_each_kind_is_erased() -> None:
    judge = Judge(*RULES, RATE)
    for minute in range(5):
        judge.step(60.0 * minute, reading(60.0 * minute, 80 + minute), reading(60.0 * minute, 1, "token_present"))
    judge.keep(silence(judge.alarm_state, hush("s", 300), judge.context(300)))
    state, unreadable = AlarmState.load(judge.rows)
    kinds = {key.split('"')[1] for key in judge.rows}

    assert kinds == {"watch", "track", "presence", "windows", "points", "silence"}
    assert (take_in_rows(state, dict.fromkeys(judge.rows)), unreadable) == ((), ())
    assert same(state, AlarmState())


def test_points_of_which_no_interval_can_be_counted_are_no_row() -> None:
    broken = {'["points","luna","r","m",[],1e-300,0]': "[[1e9,1]]"}
    state = AlarmState()

    assert take_in_rows(state, broken) == tuple(broken)
    assert AlarmState.load(broken)[1] == tuple(broken)
    assert rows_of(state) == {}


@pytest.mark.parametrize(
    ("key", "shared"),
    [
        ('["watch","luna","keys","metric",[],"full"]', True),
        ('["watch","agent","","spool_used_percent",[],"full"]', False),
        ('["points","agent","","spool_used_percent",[],3600,1]', False),
        ('["silence","agent"]', True),
        ('["silence","s-1"]', True),
        ("group/progress", False),
        ('{"watch":"luna"}', False),
        ("[]", False),
    ],
)
def test_a_row_is_the_groups_unless_it_is_about_the_agent(key: str, shared: bool) -> None:
    assert is_shared_row(key) is shared


def test_a_row_names_its_series_where_a_rule_looks_at_it() -> None:
    assert series_in('["watch","luna","keys","metric",[["cpu","1"]],"full"]') == (
        "luna",
        "keys",
        "metric",
        (("cpu", "1"),),
    )
    assert [series_in(key) for key in ('["silence","s-1"]', '["watch","luna","keys",1,[],"full"]', "x")] == [None] * 3


def judged(*, silences: Iterable[Silence] = ()) -> Judge:
    """An alarm of the group's and one of the agent's own, a series of each without a value, and silences."""
    judge = Judge(FULL)
    for each in silences:
        judge.keep(silence(judge.alarm_state, each, judge.context(0)))
    for source, metric in (("luna", MEMORY), ("agent", "spool_used_percent")):
        judge.read(0, 80, metric, source=source)
        judge.read(0, 70, metric, source=source, resource="other")
        judge.read(1, None, metric, source=source, resource="other")
    return judge


def test_a_scope_sees_its_own_indexes_and_changes_the_whole_state() -> None:
    judge = judged()
    state = judge.alarm_state
    own, shared = (view(state, own=own, now=START + 2) for own in (True, False))

    assert [series[0] for _, series in own.alarmed] == ["agent"]
    assert [series[0] for _, series in shared.alarmed] == ["luna"]
    assert [series[0] for series in own.missing] == ["agent"]
    result = step(own, [reading(2, 10, "spool_used_percent", source="agent")], judge.context(2))
    judge.keep(result)
    assert [event.kind for event in result.events] == [EventKind.CLEARED]
    assert [series[0] for _, series in state.alarmed] == ["luna"]


def test_only_the_group_ends_and_corrects_silences() -> None:
    past, ahead = hush("past", 0, 10, "none"), hush("ahead", 500, 1000, "none")
    judge = judged(silences=[past, ahead])
    judge.alarm_state.silences |= {"past": past, "ahead": ahead}

    own = step(view(judge.alarm_state, own=True, now=START + 20), [], judge.context(20))
    assert own.events == ()
    assert not [key for key in own.rows if "silence" in key]
    shared = step(view(judge.alarm_state, own=False, now=START + 20), [], judge.context(20))
    assert {event.kind for event in shared.events} == {EventKind.NOTICE}
    assert {key for key in shared.rows if "silence" in key} == {'["silence","past"]', '["silence","ahead"]'}


def test_a_silence_holds_back_the_agents_own_alarms_too() -> None:
    judge = Judge(FULL)
    judge.keep(silence(judge.alarm_state, hush("s", 0, 100, "full"), judge.context(0)))
    own = view(judge.alarm_state, own=True, now=START + 1)

    assert step(own, [reading(1, 80, "spool_used_percent", source="agent")], judge.context(1)).events == ()


def test_what_is_withdrawn_of_a_part_leaves_the_rest() -> None:
    judge = judged()
    part = part_of(judge.alarm_state, is_own)
    result = withdraw(part, lambda _: False, judge.context(2))
    judge.keep(result)

    assert [event.source for event in result.events] == ["agent"]
    assert {series[0] for series in judge.alarm_state.series_states} == {"luna"}
    assert same(part_of(judge.alarm_state, is_shared), judge.alarm_state)


def test_the_groups_part_is_replaced_in_place() -> None:
    held, other = judged(silences=[hush("old", 0)]), judged(silences=[hush("new", 0)])
    other.keep(step(other.alarm_state, [reading(5, 90, resource="third")], other.context(5)))
    own_before = part_of(held.alarm_state, is_own)
    kept = held.alarm_state.rule_states
    fresh, _ = AlarmState.load({key: text for key, text in other.rows.items() if is_shared_row(key)})

    adopt(held.alarm_state, fresh)

    assert held.alarm_state.rule_states is kept
    assert same(part_of(held.alarm_state, is_own), own_before)
    part = part_of(held.alarm_state, is_shared)
    part.silences = held.alarm_state.silences
    assert same(part, fresh)
    assert list(held.alarm_state.silences) == ["new"]
    assert held.alarm_state.unread == {}


def test_alarms_raised_alone_are_merged_or_were_not_seen() -> None:
    alone, leader = Judge(FULL), Judge(FULL)
    for resource in ("both", "mine", "before"):
        alone.read(0, 80, resource=resource)
    leader.read(0, 80, resource="both")
    ids = {key[1][1]: alarm.alarm_id for key, _, alarm in with_alarm(alone.alarm_state)}
    leader_state = replace(leader.alarm_state.rule_states["full", ("luna", "both", MEMORY, ())])
    assert leader_state.alarm is not None
    other = replace(leader_state.alarm, alarm_id="theirs")
    leader.alarm_state.rule_states["full", ("luna", "both", MEMORY, ())] = replace(leader_state, alarm=other)

    clears = merge(alone.alarm_state, leader.alarm_state, {ids["both"], ids["mine"]}, "b", alone.context(9))

    assert [(event.kind, event.resource, event.alarm_id) for event in clears] == [
        (EventKind.CLEARED, "both", ids["both"]),
        (EventKind.CLEARED, "mine", ids["mine"]),
    ]
    assert "merged into theirs" in clears[0].text
    assert "not seen by b" in clears[1].text
    assert len(with_alarm(alone.alarm_state)) == 3
