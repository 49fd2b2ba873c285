"""The life of an alarm: raised, changed, cleared, told again, held back."""

from __future__ import annotations

from dataclasses import replace

from hsm_agent.evaluate.alarms import notice
from hsm_agent.evaluate.rules import Above, Changes, Match, Rule
from hsm_agent.metrics.tables import STORAGE
from hsm_agent.model import Event, EventKind, Severity
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


def test_an_event_says_all_there_is_to_say() -> None:
    events = judge().read(60, 80.5, labels=(("role", "so"),))

    assert events == [
        Event(
            event_id="id-1",
            alarm_id="id-2",
            kind=EventKind.RAISED,
            severity=Severity.WARNING,
            time=START + 60,
            text=f"luna/keys 80.5 % of 75 % at a level warning {MEMORY} 80.5 percent 75",
            agent="monitor",
            source="luna",
            resource="keys",
            metric=MEMORY,
            value="80.5",
            unit="percent",
            threshold="75",
            rule="level",
            runbook="https://wiki.example.net/level",
            cause=STORAGE,
            labels=(("role", "so"), ("site", "a")),
        )
    ]


def test_one_alarm_from_raise_to_clear_and_an_id_for_each_event() -> None:
    desk = judge()
    events = [*desk.read(0, 80), *desk.read(60, 95), *desk.read(120, 80), *desk.read(180, 10), *desk.read(240, 80)]

    assert told(events) == [
        ("RAISED", "warning"),
        ("CHANGED", "critical"),
        ("CHANGED", "warning"),
        ("CLEARED", "cleared"),
        ("RAISED", "warning"),
    ]
    assert len({event.event_id for event in events}) == 5
    assert [event.alarm_id for event in events[:4]] == [events[0].alarm_id] * 4
    assert events[4].alarm_id != events[0].alarm_id
    assert (events[3].value, events[3].threshold) == ("10", "75")
    assert events[3].text == f"Cleared: level on luna/keys: {MEMORY} is 10 %"


def test_what_a_source_says_besides_the_number_travels_and_is_no_template() -> None:
    desk = Judge(Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75.0), text="{where}: {note}."))
    raised = replace(reading(0, 80), note="fan {where}")
    over = replace(reading(60, 10), note="fan over")

    events = [*desk.step(0, raised), *desk.step(30, replace(raised, note="other words")), *desk.step(60, over)]

    assert [event.text for event in events] == [
        "luna/keys: fan {where}.",
        f"Cleared: level on luna/keys: {MEMORY} is 10 %: fan over",
    ]


def test_a_rule_without_a_text_says_the_plain_facts() -> None:
    plain = Rule(name="plain", metrics=("my_own_metric",), condition=Above(warning=5))

    event = judge(plain).read(0, 7, "my_own_metric")[0]

    assert event.text == "plain: my_own_metric of luna/keys is 7 (limit 5)"
    assert event.cause == "thresholdCrossed"


def test_an_alarm_is_told_again_while_it_lasts() -> None:
    repeating = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75), repeat_seconds=600)
    desk = judge(repeating)
    first = desk.read(0, 80)

    assert desk.read(599, 81) == []
    again = desk.read(600, 82)
    assert told(again) == [("RAISED", "warning")]
    assert again[0].alarm_id == first[0].alarm_id
    assert again[0].event_id != first[0].event_id
    assert again[0].value == "82"
    assert desk.step(1199) == []
    assert [event.value for event in desk.step(1200)] == ["82"]

    desk.up = ()
    assert desk.step(1900) == []


def test_a_clock_set_back_repeats_in_its_time_and_never_falls_silent() -> None:
    repeating = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75), repeat_seconds=600)
    desk = judge(repeating)
    desk.read(50000, 80)

    assert desk.read(0, 80) == []
    assert told(desk.read(600, 80)) == [("RAISED", "warning")]


def version(desk: Judge, at: float, name: str) -> list[Event]:
    return desk.read(at, 1, "hsm_firmware_info", labels=(("version", name),))


def test_a_further_change_of_labels_is_told_under_the_same_alarm() -> None:
    desk = judge(VERSION)
    version(desk, 0, "1")
    first, second = version(desk, 60, "2")[0], version(desk, 120, "3")[0]

    assert second.kind is EventKind.RAISED
    assert second.alarm_id == first.alarm_id
    assert second.threshold == "version=2"
    assert version(desk, 180, "3") == []


def test_what_cannot_clear_by_itself_clears_in_time() -> None:
    desk = judge(VERSION)
    version(desk, 0, "1")
    version(desk, 60, "2")

    assert desk.step(3659) == []
    events = desk.step(3660)
    assert told(events) == [("CLEARED", "cleared")]
    assert events[0].text == "Cleared: version on luna/keys: no further change"
    assert version(desk, 3720, "2") == []


def test_a_level_does_not_lapse() -> None:
    patient = replace(LEVEL, clear_after_seconds=60)
    made = judge(patient)

    assert [event.kind for event in made.read(0, 80)] == [EventKind.RAISED]
    assert made.step(3600) == []


def test_what_cannot_clear_by_itself_does_not_clear_while_its_source_is_down() -> None:
    desk = judge(VERSION)
    version(desk, 0, "1")
    version(desk, 60, "2")
    desk.up = ()

    assert desk.step(9000) == []


def test_a_change_without_an_end_stays() -> None:
    desk = judge(Rule(name="version", metrics=("hsm_firmware_info",), condition=Changes()))
    version(desk, 0, "1")
    version(desk, 60, "2")

    assert desk.step(1e7) == []
    assert version(desk, 1e7, "2") == []


def test_a_warning_is_critical_where_it_escalates() -> None:
    rule = Rule(
        name="level",
        metrics=(MEMORY,),
        condition=Above(warning=75),
        escalate=Match(labels=(("site", "a"),)),
    )
    desk = judge(rule)

    assert told(desk.read(0, 80)) == [("RAISED", "critical")]
    assert told(desk.read(0, 80, source="other")) == [("RAISED", "warning")]
    assert told(desk.read(60, 10)) == [("CLEARED", "cleared")]


def test_a_notice_is_of_the_agent() -> None:
    event = notice("A word", judge().context(0))

    assert (event.kind, event.source, event.text, event.alarm_id) == (EventKind.NOTICE, "agent", "A word", "")
    assert event.labels == (("site", "b"),)
