"""Silences and inhibitions: what is held back, what is not, and what is told afterwards."""

from __future__ import annotations

from hsm_agent.evaluate.alarms import silence
from hsm_agent.evaluate.rules import Above, Changes, Rule
from hsm_agent.evaluate.state import Silence, active
from hsm_agent.model import Event, Severity
from tests.unit.evaluate.judging import MEMORY, START, Judge, reading, told

LEVEL = Rule(
    name="level",
    metrics=(MEMORY,),
    condition=Above(warning=75, critical=90),
    inhibited_by=("down",),
    text="{where} {amount} of {limit} at {site} {rule} {severity} {metric} {value} {unit} {threshold}",
    runbook="https://wiki.example.net/level",
)
DOWN = Rule(name="down", metrics=("source_age_seconds",), condition=Above(critical=180))
VERSION = Rule(name="version", metrics=("hsm_firmware_info",), condition=Changes(), clear_after_seconds=3600)
LABELS = {"luna": (("site", "a"),), "agent": (("site", "b"),)}


def judge(*rules: Rule) -> Judge:
    return Judge(*(rules or (LEVEL, DOWN)), labels=LABELS)


def hush(desk: Judge, until: float, *, at: float = 0.0, rule: str = "*") -> None:
    desk.keep(
        silence(
            desk.alarm_state,
            Silence(silence_id="s-1", until=START + until, reason="work", by_uid=1, created=START, rule=rule),
            desk.context(at),
        )
    )


def version(desk: Judge, at: float, name: str) -> list[Event]:
    return desk.read(at, 1, "hsm_firmware_info", labels=(("version", name),))


def test_a_silence_holds_back_raises_and_they_are_told_when_it_ends() -> None:
    desk = judge()
    hush(desk, 600)

    assert desk.read(60, 80) == []
    assert [alarm.silenced for alarm in active(desk.alarm_state).values()] == [True]
    assert desk.read(120, 85) == []
    assert [alarm.event.value for alarm in active(desk.alarm_state).values()] == ["85"]

    events = desk.step(600)
    assert told(events) == [("NOTICE", "cleared"), ("RAISED", "warning")]
    assert events[1].value == "85"
    assert [(alarm.silenced, alarm.since) for alarm in active(desk.alarm_state).values()] == [(False, START + 60)]


def test_a_silence_holds_back_changes_and_never_a_clear() -> None:
    desk = judge()
    desk.read(0, 80)
    hush(desk, 600)

    assert desk.read(60, 95) == []
    shown = next(iter(active(desk.alarm_state).values()))
    assert (shown.severity, shown.event.severity) == (Severity.CRITICAL, Severity.CRITICAL)
    assert desk.read(90, 96) == []
    later = next(iter(active(desk.alarm_state).values()))
    assert (later.event.event_id, later.event.time) == (shown.event.event_id, START + 60)
    assert later.event.value == "96"
    assert told(desk.read(120, 10)) == [("CLEARED", "cleared")]


def test_a_held_change_is_told_afterwards_and_one_that_went_back_is_not() -> None:
    lasting, passing = judge(), judge()
    for desk in (lasting, passing):
        desk.read(0, 80)
        hush(desk, 600)
        desk.read(60, 95)
    passing.read(120, 80)

    assert told(lasting.step(600)) == [("NOTICE", "cleared"), ("CHANGED", "critical")]
    assert told(passing.step(600)) == [("NOTICE", "cleared")]


def test_what_was_raised_and_cleared_in_silence_is_never_told() -> None:
    desk = judge()
    hush(desk, 600)

    assert desk.read(60, 80) == []
    assert desk.read(120, 10) == []
    assert told(desk.step(600)) == [("NOTICE", "cleared")]
    assert active(desk.alarm_state) == {}


def test_a_silence_of_another_rule_holds_nothing_back() -> None:
    desk = judge()
    hush(desk, 600, rule="other")

    assert told(desk.read(60, 80)) == [("RAISED", "warning")]


def test_what_waits_for_a_source_is_raised_afterwards_and_a_clear_does_not_wait() -> None:
    desk = judge()
    desk.read(0, 80, resource="told")

    events = desk.step(60, reading(60, 95), reading(60, 200, "source_age_seconds", resource=""))
    assert [event.rule for event in events] == ["down"]
    assert [key[0] for key in active(desk.alarm_state)] == ["level", "down"]
    assert told(desk.read(120, 10, resource="told")) == [("CLEARED", "cleared")]

    events = desk.step(180, reading(180, 95), reading(180, 0, "source_age_seconds", resource=""))
    assert [(event.rule, event.kind.name) for event in events] == [("level", "RAISED"), ("down", "CLEARED")]


def test_an_inhibition_is_of_one_source() -> None:
    desk = judge()
    desk.read(0, 200, "source_age_seconds", resource="")

    assert desk.read(60, 80) == []
    assert told(desk.read(60, 80, source="other")) == [("RAISED", "warning")]


def test_a_source_that_is_down_raises_nothing_when_a_silence_ends() -> None:
    desk = judge()
    hush(desk, 600)
    desk.read(60, 80)
    desk.up = ()

    assert told(desk.step(600)) == [("NOTICE", "cleared")]
    desk.up = ("luna",)
    assert told(desk.step(660)) == [("RAISED", "warning")]


def test_a_repetition_that_has_to_wait_leaves_the_alarm_as_it_was_told() -> None:
    desk = judge(Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75), repeat_seconds=600))
    first = desk.read(0, 80)[0]
    hush(desk, 2000)

    assert desk.read(700, 85) == []
    assert [alarm.event for alarm in active(desk.alarm_state).values()] == [first]
    assert told(desk.step(2000)) == [("NOTICE", "cleared"), ("RAISED", "warning")]


def test_a_further_change_in_silence_is_owed() -> None:
    desk = judge(VERSION)
    version(desk, 0, "1")
    first = version(desk, 60, "2")[0]
    hush(desk, 600, at=60)

    assert version(desk, 120, "3") == []
    assert version(desk, 180, "3") == []
    shown = next(iter(active(desk.alarm_state).values())).event
    assert shown.event_id != first.event_id
    assert shown.time == START + 120
    desk.restart()
    events = desk.step(600)
    assert told(events) == [("NOTICE", "cleared"), ("RAISED", "warning")]
    assert dict(events[1].labels)["version"] == "3"
    assert desk.step(660) == []
