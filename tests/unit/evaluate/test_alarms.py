"""The life of an alarm: raised, changed, cleared, told again, held back."""

from __future__ import annotations

from hsm_agent.evaluate.acts import silence
from hsm_agent.evaluate.alarms import notice
from hsm_agent.evaluate.book import active
from hsm_agent.evaluate.rules import Above, Changes, Match, Rule
from hsm_agent.evaluate.silences import Silence
from hsm_agent.metrics import STORAGE
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
VERSION = Rule(name="version", metrics=("hsm_firmware_info",), condition=Changes(), clear_after=3600)
LABELS = {"luna": (("site", "a"),), "agent": (("site", "b"),)}


def judge(*rules: Rule) -> Judge:
    return Judge(*(rules or (LEVEL, DOWN)), labels=LABELS)


def hush(desk: Judge, until: float, *, at: float = 0.0, rule: str = "*") -> None:
    desk.keep(
        silence(
            desk.book,
            Silence(silence_id="s-1", until=START + until, reason="work", by_uid=1, created=START, rule=rule),
            desk.context(at),
        )
    )


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


def test_a_rule_without_a_text_says_the_plain_facts() -> None:
    plain = Rule(name="plain", metrics=("my_own_metric",), condition=Above(warning=5))

    event = judge(plain).read(0, 7, "my_own_metric")[0]

    assert event.text == "plain: my_own_metric of luna/keys is 7 (limit 5)"
    assert event.cause == "thresholdCrossed"


def test_an_alarm_is_told_again_while_it_lasts() -> None:
    repeating = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75), repeat_every=600)
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


def test_a_repetition_that_has_to_wait_leaves_the_alarm_as_it_was_told() -> None:
    desk = judge(Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75), repeat_every=600))
    first = desk.read(0, 80)[0]
    hush(desk, 2000)

    assert desk.read(700, 85) == []
    assert [alarm.event for alarm in active(desk.book).values()] == [first]
    assert told(desk.step(2000)) == [("NOTICE", "cleared"), ("RAISED", "warning")]


def test_a_clock_set_back_repeats_rather_than_falls_silent() -> None:
    repeating = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75), repeat_every=600)
    desk = judge(repeating)
    desk.read(50000, 80)

    assert told(desk.read(0, 80)) == [("RAISED", "warning")]


def test_a_silence_holds_back_raises_and_they_are_told_when_it_ends() -> None:
    desk = judge()
    hush(desk, 600)

    assert desk.read(60, 80) == []
    assert [alarm.silenced for alarm in active(desk.book).values()] == [True]
    assert desk.read(120, 85) == []
    assert [alarm.event.value for alarm in active(desk.book).values()] == ["85"]

    events = desk.step(600)
    assert told(events) == [("NOTICE", "cleared"), ("RAISED", "warning")]
    assert events[1].value == "85"
    assert [(alarm.silenced, alarm.since) for alarm in active(desk.book).values()] == [(False, START + 60)]


def test_a_silence_holds_back_changes_and_never_a_clear() -> None:
    desk = judge()
    desk.read(0, 80)
    hush(desk, 600)

    assert desk.read(60, 95) == []
    shown = next(iter(active(desk.book).values()))
    assert (shown.severity, shown.event.severity) == (Severity.CRITICAL, Severity.CRITICAL)
    assert desk.read(90, 96) == []
    later = next(iter(active(desk.book).values()))
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
    assert active(desk.book) == {}


def test_a_silence_of_another_rule_holds_nothing_back() -> None:
    desk = judge()
    hush(desk, 600, rule="other")

    assert told(desk.read(60, 80)) == [("RAISED", "warning")]


def test_what_waits_for_a_source_is_raised_afterwards_and_a_clear_does_not_wait() -> None:
    desk = judge()
    desk.read(0, 80, resource="told")

    events = desk.step(60, reading(60, 95), reading(60, 200, "source_age_seconds", resource=""))
    assert [event.rule for event in events] == ["down"]
    assert [key[0] for key in active(desk.book)] == ["level", "down"]
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


def test_a_further_change_in_silence_is_owed() -> None:
    desk = judge(VERSION)
    version(desk, 0, "1")
    first = version(desk, 60, "2")[0]
    hush(desk, 600, at=60)

    assert version(desk, 120, "3") == []
    assert version(desk, 180, "3") == []
    shown = next(iter(active(desk.book).values())).event
    assert shown.event_id != first.event_id
    assert shown.time == START + 120
    desk.restart()
    events = desk.step(600)
    assert told(events) == [("NOTICE", "cleared"), ("RAISED", "warning")]
    assert dict(events[1].labels)["version"] == "3"
    assert desk.step(660) == []


def test_what_cannot_clear_by_itself_clears_in_time() -> None:
    desk = judge(VERSION)
    version(desk, 0, "1")
    version(desk, 60, "2")

    assert desk.step(3659) == []
    events = desk.step(3660)
    assert told(events) == [("CLEARED", "cleared")]
    assert events[0].text == "Cleared: version on luna/keys: no further change"
    assert version(desk, 3720, "2") == []


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
