"""Silences, forgetting and withdrawing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.evaluate.alarms import end_silence, forget, silence, withdraw
from hsm_agent.evaluate.rules import DAY, HOUR, Above, Changes, Grows, Reaches, Rule, Ruleset
from hsm_agent.evaluate.state import AlarmState, Silence, active
from tests.unit.evaluate.judging import MEMORY, START, Judge, told

if TYPE_CHECKING:
    from hsm_agent.model import Series

LEVEL = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75, critical=90))
WANTED = Silence(silence_id="s-1", until=START + 600, reason="firmware update", by_uid=1000, created=START)


def everything(series: Series) -> bool:
    return True


def test_a_silence_begins_and_ends_aloud() -> None:
    judge = Judge(LEVEL)

    begun = judge.keep(silence(judge.alarm_state, WANTED, judge.context(0)))
    judge.read(60, 80)
    judge.restart()
    assert list(judge.alarm_state.silences.values()) == [WANTED]
    ended = judge.keep(end_silence(judge.alarm_state, "s-1", 0, judge.context(120)))

    assert [event.text for event in begun] == [
        "Silence begun by uid 1000, until 2023-11-14 22:10:00Z: rule * on */* (firmware update)"
    ]
    assert told(ended) == [("NOTICE", "cleared"), ("RAISED", "warning")]
    assert ended[0].text == "Silence ended by uid 0: rule * on */* (firmware update)"
    assert judge.alarm_state.silences == {}
    assert not [key for key in judge.rows if "silence" in key]


def test_a_silence_that_is_not_there_cannot_end() -> None:
    with pytest.raises(LookupError, match="no silence s-9"):
        end_silence(AlarmState(), "s-9", 0, Judge().context(0))


def test_a_forgotten_alarm_is_cleared_and_stays_away() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80, resource="other")
    alarm_id = judge.read(0, 80)[0].alarm_id
    judge.read(60, None)
    judge.step(700)

    events = judge.keep(forget(judge.alarm_state, alarm_id, 0, judge.context(800)))

    assert told(events) == [("CLEARED", "cleared"), ("NOTICE", "cleared")]
    assert events[0].alarm_id == alarm_id
    assert events[0].text == "Cleared: level on luna/keys: forgotten by uid 0"
    assert judge.step(5000) == []
    assert [key[1][1] for key in active(judge.alarm_state)] == ["other"]
    assert not [key for key in judge.rows if '"keys"' in key]


def test_an_alarm_that_is_not_there_cannot_be_forgotten() -> None:
    judge = Judge(LEVEL)
    judge.read(0, 80)

    with pytest.raises(LookupError, match="no alarm a-9"):
        forget(judge.alarm_state, "a-9", 0, judge.context(0))


RULES = (
    LEVEL,
    Rule(name="grows", metrics=(MEMORY,), condition=Grows(warning=1800)),
    Rule(name="line", metrics=(MEMORY,), condition=Reaches(level=95, over=30 * DAY, warning=90 * DAY)),
    Rule(name="version", metrics=("hsm_firmware_info",), condition=Changes()),
)


def busy() -> Judge:
    judge = Judge(*RULES)
    for hour in range(40):
        judge.read(hour * HOUR, 80)
    judge.read(40 * HOUR, 1, "token_present")
    judge.read(40 * HOUR, 1, "hsm_firmware_info", resource="hsm", labels=(("version", "1"),))
    return judge


def test_nothing_is_withdrawn_while_nothing_left() -> None:
    judge = busy()
    before = dict(judge.rows)

    assert judge.keep(withdraw(judge.alarm_state, everything, judge.context(41 * HOUR))) == []
    assert judge.rows == before


def test_an_alarm_whose_rule_left_clears_as_withdrawn() -> None:
    judge = busy()
    judge.rules = Ruleset([replace(LEVEL, enabled=False), *RULES[1:]])

    events = judge.keep(withdraw(judge.alarm_state, everything, judge.context(41 * HOUR)))

    assert told(events) == [("CLEARED", "cleared")]
    assert events[0].text == "Cleared: level on luna/keys: withdrawn, no longer in the configuration"
    assert active(judge.alarm_state) == {}
    assert len(judge.alarm_state.points) == 1


def test_all_that_belonged_to_a_source_that_left_is_forgotten() -> None:
    judge = busy()

    events = judge.keep(withdraw(judge.alarm_state, lambda series: series[0] != "luna", judge.context(41 * HOUR)))

    assert told(events) == [("CLEARED", "cleared")]
    assert judge.rows == {}
    assert (
        judge.alarm_state.rule_states,
        judge.alarm_state.series_states,
        judge.alarm_state.windows,
        judge.alarm_state.points,
    ) == ({}, {}, {}, {})


def test_histories_that_no_rule_needs_any_more_are_forgotten() -> None:
    judge = busy()
    judge.rules = Ruleset([LEVEL])

    assert judge.keep(withdraw(judge.alarm_state, everything, judge.context(41 * HOUR))) == []
    assert not [key for key in judge.rows if "points" in key or "windows" in key or "firmware" in key]
    assert len(active(judge.alarm_state)) == 1


def test_an_alarm_withdrawn_in_silence_goes_unheard() -> None:
    judge = Judge(LEVEL)
    judge.keep(silence(judge.alarm_state, WANTED, judge.context(0)))
    judge.read(60, 80)

    assert judge.keep(withdraw(judge.alarm_state, lambda series: False, judge.context(120))) == []
    assert active(judge.alarm_state) == {}
