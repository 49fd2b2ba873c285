"""Steps: readings and time in, events out; what is unknown, and what must never change anything."""

from __future__ import annotations

from math import inf, nan

from hsm_agent.evaluate.rules import HOUR, Above, Below, RateChanges, Rule
from hsm_agent.evaluate.state import active
from hsm_agent.model import Severity
from tests.unit.evaluate.judging import MEMORY, Judge, reading, told

STORAGE = "token_storage_used_percent"
LEVEL = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75, critical=90))
MINUTE = 60.0


def test_a_reading_nobody_watches_leaves_no_trace() -> None:
    judge = Judge(LEVEL)

    assert judge.read(0, 99, "token_sessions") == []
    assert judge.rows == {}


def test_infinity_is_a_value_and_not_a_number_is_none() -> None:
    judge = Judge(Rule(name="full", metrics=("audit_seconds_to_full",), condition=Below(critical=3600)))

    assert told(judge.read(0, 60, "audit_seconds_to_full")) == [("RAISED", "critical")]
    assert judge.read(60, nan, "audit_seconds_to_full") == []
    assert told(judge.read(120, inf, "audit_seconds_to_full")) == [("CLEARED", "cleared")]


def test_no_value_for_ten_minutes_is_unknown_and_the_old_level_comes_back_with_the_value() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 95)

    assert judge.read(60, None, reason="slot vanished") == []
    assert judge.step(659) == []
    unknown = judge.step(660)
    assert told(unknown) == [("CHANGED", "indeterminate")]
    assert "(slot vanished)" in unknown[0].text
    assert unknown[0].value == ""
    assert judge.read(700, None, reason="slot vanished") == []
    # 86 is inside the band of critical, which had been reached before.
    assert told(judge.read(720, 86)) == [("CHANGED", "critical")]


def test_a_rule_at_rest_turns_unknown_and_well_again() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 10)
    judge.read(60, None)

    raised = judge.step(700)
    assert told(raised) == [("RAISED", "indeterminate")]
    assert [alarm.severity for alarm in active(judge.alarm_state).values()] == [Severity.INDETERMINATE]
    assert told(judge.read(760, 10)) == [("CLEARED", "cleared")]


def test_a_series_that_never_had_a_value_is_not_unknown() -> None:
    judge = Judge(LEVEL)
    judge.read(0, None, reason="not reported")

    assert judge.step(10000) == []
    assert judge.rows == {}


def test_a_short_failure_to_read_is_nothing() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 95)
    judge.read(60, None)

    assert judge.read(120, 95) == []
    assert judge.step(1000) == []


def test_the_ten_minutes_count_only_while_the_source_is_up() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 95)
    judge.read(60, None, reason="first")
    judge.up = ()
    assert judge.step(1000) == []
    judge.up = ("luna",)

    assert judge.step(1010) == []
    assert judge.read(1020, None, reason="second") == []
    assert judge.step(1609) == []
    assert told(judge.step(1610)) == [("CHANGED", "indeterminate")]


def test_a_value_that_goes_while_the_source_is_down_waits_for_it() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 95)
    judge.up = ()

    assert judge.read(60, None) == []
    assert judge.step(5000) == []


def test_a_clock_set_back_starts_the_ten_minutes_anew() -> None:
    judge = Judge(LEVEL)
    judge.read(50000, 95)
    judge.read(50060, None)

    assert judge.step(0) == []
    assert told(judge.step(600)) == [("CHANGED", "indeterminate")]


def test_the_agent_and_its_account_of_a_source_are_always_up() -> None:
    rules = (
        Rule(name="age", metrics=("source_age_seconds",), condition=Above(warning=5)),
        Rule(name="spool", metrics=("spool_used_percent",), condition=Above(warning=5)),
    )
    judge = Judge(*rules, up=())
    judge.read(0, 1, "source_age_seconds", resource="")
    judge.read(0, 1, "spool_used_percent", source="agent", resource="")
    judge.read(60, None, "source_age_seconds", resource="")
    judge.read(60, None, "spool_used_percent", source="agent", resource="")

    assert told(judge.step(700)) == [("RAISED", "indeterminate"), ("RAISED", "indeterminate")]


def test_a_token_that_is_gone_is_told_once_and_not_by_every_rule_on_it() -> None:
    missing = Rule(name="missing", metrics=("token_present",), condition=Below(warning=0))
    judge = Judge(LEVEL, missing)
    judge.step(0, reading(0, 1, "token_present"), reading(0, 10))

    gone = judge.step(60, reading(60, 0, "token_present"), reading(60, None))
    assert [event.rule for event in gone] == ["missing"]
    assert judge.step(1000) == []
    assert [key[0] for key in active(judge.alarm_state)] == ["missing"]

    back = judge.step(1060, reading(1060, 1, "token_present"), reading(1060, 10))
    assert [(event.rule, event.kind.name) for event in back] == [("missing", "CLEARED")]


def test_whether_a_token_is_there_is_as_it_was_while_that_is_not_known() -> None:
    judge = Judge(LEVEL, Rule(name="missing", metrics=("token_present",), condition=Below(warning=0)))
    judge.step(0, reading(0, 1, "token_present"), reading(0, 10))
    judge.step(60, reading(60, 0, "token_present"), reading(60, None))

    assert judge.step(120, reading(120, None, "token_present"), reading(120, None)) == []
    assert [event.rule for event in judge.step(720)] == ["missing"]


def test_an_alarm_of_a_token_that_is_gone_becomes_unknown() -> None:
    judge = Judge(LEVEL, Rule(name="missing", metrics=("token_present",), condition=Below(warning=0)))
    judge.step(0, reading(0, 1, "token_present"), reading(0, 80))
    judge.step(60, reading(60, 0, "token_present"), reading(60, None))

    assert told(judge.step(1000)) == [("CHANGED", "indeterminate")]


def test_an_alarm_nothing_reads_after_a_restart_becomes_unknown() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80)
    judge.restart()

    judge.up = ()
    assert judge.step(1000) == []
    judge.up = ("luna",)
    assert judge.step(1060) == []
    assert told(judge.step(1660)) == [("CHANGED", "indeterminate")]


def test_ten_minutes_without_a_value_go_on_over_a_restart_after_which_nothing_is_read() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80)
    judge.read(60, None, reason="the slot does not answer")
    judge.restart()

    assert judge.step(600) == []
    (unknown,) = judge.step(660)
    assert told([unknown]) == [("CHANGED", "indeterminate")]
    assert "the slot does not answer" in unknown.text


def test_the_first_answer_after_a_restart_begins_the_ten_minutes() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80)
    judge.restart()
    judge.step(60)
    judge.read(120, None, reason="slot vanished")

    assert judge.step(719) == []
    assert told(judge.step(720)) == [("CHANGED", "indeterminate")]


def test_an_alarm_that_is_read_after_a_restart_goes_on() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80)
    judge.restart()

    assert judge.read(60, 80) == []
    assert judge.step(5000) == []


OTHER = Rule(name="line", metrics=(MEMORY, STORAGE), condition=Above(warning=75), hysteresis=5)


def test_too_short_a_history_leaves_an_alarm_as_it_was() -> None:
    rate = Rule(name="rate", metrics=(MEMORY,), condition=RateChanges(against=600, percent=50))
    judge = Judge(rate)
    for minute in range(20):
        judge.read(minute * MINUTE, 80)
    assert told(judge.read(20 * MINUTE, 10)) == [("RAISED", "warning")]

    assert judge.read(5 * HOUR, 80) == []
    assert len(active(judge.alarm_state)) == 1


def test_an_alarm_of_a_rule_that_is_not_there_yet_is_left_alone() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80)
    other = Judge(OTHER)
    other.alarm_state = judge.alarm_state

    assert other.step(60) == []


def test_an_object_taken_over_by_no_rule_is_not_waited_for() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 10)
    judge.read(60, None)
    other = Judge(OTHER)
    other.alarm_state = judge.alarm_state

    assert [event.rule for event in other.step(1000)] == ["line"]
