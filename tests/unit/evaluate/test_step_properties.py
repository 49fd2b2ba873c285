"""Whole days made up at random: what must hold whatever is read, however time passes and whenever it restarts."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_agent.evaluate.alarms import silence
from hsm_agent.evaluate.state import Silence
from hsm_agent.evaluate.step import step
from hsm_agent.model import Event, Severity
from tests.fakes.examples import examples
from tests.unit.evaluate.days import LEVEL, MINUTE, RULES, Move, moves
from tests.unit.evaluate.judging import START, Judge


def live(found: list[Move], *, restart: frozenset[int] = frozenset(), twice: bool = False) -> list[Event]:
    judge, at, events = Judge(*RULES), 0.0, []
    quiet = False
    for index, move in enumerate(found):
        at += move.wait
        move = replace(move, tick=move.tick and not quiet)  # noqa: PLW2901
        quiet = move.tick
        judge.up = ("luna",) if move.up else ()
        if index in restart:
            judge.restart()
        if move.hush:
            wanted = Silence(
                silence_id=f"s-{index}", until=START + at + 200, reason="work", by_uid=0, created=START + at, rule="l*"
            )
            events += judge.keep(silence(judge.alarm_state, wanted, judge.context(at)))
        readings = list(move.readings(at))
        events += judge.step(at, *readings)
        if twice:
            again = step(judge.alarm_state, readings, judge.context(at))
            assert again.events == ()
            assert dict(again.rows) == {}
    return events


@settings(max_examples=examples(40, 10), deadline=None)
@given(moves, st.data())
def test_a_restart_at_any_point_changes_nothing(found: list[Move], data: st.DataObject) -> None:
    restart = data.draw(st.frozensets(st.integers(0, len(found) - 1), min_size=1))

    assert live(found, restart=restart) == live(found)


@settings(max_examples=examples(15, 5), deadline=None)
@given(moves)
def test_a_step_with_equal_readings_says_and_writes_nothing(found: list[Move]) -> None:
    live(found, twice=True)


@settings(max_examples=examples(15, 5), deadline=None)
@given(moves)
def test_every_alarm_is_told_in_order(found: list[Move]) -> None:
    open_alarms: dict[str, Severity] = {}
    for event in live(found):
        if event.kind.name == "NOTICE":
            continue
        if event.kind.name == "RAISED":
            open_alarms.setdefault(event.alarm_id, event.severity)
        elif event.kind.name == "CHANGED":
            assert open_alarms[event.alarm_id] is not event.severity
        else:
            assert open_alarms.pop(event.alarm_id) is not Severity.CLEARED
            continue
        open_alarms[event.alarm_id] = event.severity


@given(
    st.sampled_from((50.0, 75.0, 90.0)),
    st.lists(st.integers(0, 499).map(lambda hundredths: hundredths / 100), min_size=1, max_size=40),
)
def test_a_value_that_swings_inside_the_band_makes_no_event(start: float, swings: list[float]) -> None:
    judge = Judge(LEVEL)
    judge.read(0, start)

    for index, swing in enumerate(swings, start=1):
        assert judge.read(index * MINUTE, start - swing if start > 50 else 70 + swing) == []
