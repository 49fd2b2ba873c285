"""A clock that was ahead and is right again: nothing that it wrote waits for its future to come."""

from __future__ import annotations

from hsm_agent.evaluate.alarms import silence
from hsm_agent.evaluate.rules import DAY, Above, Changes, Falls, NotFalling, Rule
from hsm_agent.evaluate.state import Silence, active
from tests.unit.evaluate.judging import MEMORY, START, Judge, told

YEAR = 366 * DAY
HOURS = 3600.0
LEVEL = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75))


def silenced(judge: Judge, at: float, seconds: float) -> None:
    wanted = Silence(silence_id="s", until=START + at + seconds, reason="work", by_uid=0, created=START + at)
    judge.keep(silence(judge.alarm_state, wanted, judge.context(at)))


def test_a_silence_of_two_hours_lasts_two_hours_whatever_the_clock_was() -> None:
    judge = Judge(LEVEL)
    silenced(judge, YEAR, 2 * HOURS)

    (mended,) = judge.read(0, 80)
    assert mended.text == "Silence lasts until 2023-11-15 00:00:00Z, the clock was set back: rule * on */* (work)"
    judge.restart()
    assert judge.step(2 * HOURS - 1) == []
    assert told(judge.step(2 * HOURS)) == [("NOTICE", "cleared"), ("RAISED", "warning")]


def test_a_silence_is_never_made_longer() -> None:
    judge = Judge(LEVEL)
    silenced(judge, 30, 600)

    assert judge.step(0) == []
    assert [each.until - START for each in judge.alarm_state.silences.values()] == [600]
    assert told(judge.step(600)) == [("NOTICE", "cleared")]


def test_what_changed_while_the_clock_was_ahead_clears_in_its_time_and_not_at_once() -> None:
    rule = Rule(name="changes", metrics=("hsm_commands_total",), condition=Changes(), clear_after_seconds=HOURS)
    judge = Judge(rule)
    judge.read(YEAR, 1, "hsm_commands_total")
    assert told(judge.read(YEAR + 60, 2, "hsm_commands_total")) == [("RAISED", "warning")]

    assert judge.step(0) == []
    assert judge.step(HOURS - 1) == []
    assert told(judge.step(HOURS)) == [("CLEARED", "cleared")]


def test_what_fell_while_the_clock_was_ahead_clears_in_its_time() -> None:
    rule = Rule(name="falls", metrics=(MEMORY,), condition=Falls(), clear_after_seconds=HOURS)
    judge = Judge(rule)
    judge.read(YEAR, 10)
    judge.read(YEAR + 60, 9)

    assert judge.read(0, 9) == []
    assert told(judge.step(HOURS)) == [("CLEARED", "cleared")]


def test_a_repetition_comes_in_its_time_and_not_at_once() -> None:
    judge = Judge(Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75), repeat_seconds=HOURS))
    judge.read(YEAR, 80)

    assert judge.step(0) == []
    assert told(judge.step(HOURS)) == [("RAISED", "warning")]


def test_an_alarm_is_not_raised_in_the_future() -> None:
    judge = Judge(LEVEL)
    judge.read(YEAR, 80)
    judge.step(0)

    assert [alarm.since for alarm in active(judge.alarm_state).values()] == [START]


def test_a_hold_begins_anew() -> None:
    judge = Judge(Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75), for_seconds=300))
    judge.read(YEAR, 80)

    assert judge.read(0, 80) == []
    assert told(judge.read(300, 80)) == [("RAISED", "warning")]


def test_a_store_that_does_not_drain_is_told_in_its_time() -> None:
    judge = Judge(Rule(name="stuck", metrics=("audit_records",), condition=NotFalling(warning=900)))
    judge.read(YEAR, 5, "audit_records")

    assert judge.read(0, 5, "audit_records") == []
    assert told(judge.read(900, 5, "audit_records")) == [("RAISED", "warning")]
