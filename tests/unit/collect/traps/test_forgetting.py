"""What a sender invents, raises and clears leaves no trace in the memory of judging, and costs nobody an alarm."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from hsm_agent.collect.traps.held_alarms import MOST_ALARMS_EACH, TrapAlarms, TrapEvent
from hsm_agent.collect.traps.trap_maps import AlarmChange, AlarmLevel
from hsm_agent.evaluate.alarms import Context, withdraw
from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.rules import Ruleset
from hsm_agent.evaluate.state import AlarmState, active
from hsm_agent.evaluate.step import step

if TYPE_CHECKING:
    from hsm_agent.model import Series

NOW = 1_700_000_000.0
INVENTOR, APPLIANCE = "192.0.2.66", "192.0.2.1"


def said(address: str, component: str, level: AlarmLevel, at: float) -> TrapEvent:
    change = AlarmChange(alarm="fan", component=component, level=level, note="")
    return TrapEvent(address=address, change=change, time=at)


def alarms() -> TrapAlarms:
    return TrapAlarms({}, clear_after_seconds=3600.0, devices={APPLIANCE: "luna-a"})


def test_what_was_invented_and_cleared_is_gone_once_it_gave_way_and_told_once() -> None:
    one = alarms()
    for number in range(MOST_ALARMS_EACH + 2):
        for level in (AlarmLevel.WARNING, AlarmLevel.CLEARED):
            one.apply(said(INVENTOR, f"fan {number}", level, NOW + number))

    assert one.gone() == (f"{INVENTOR}/fan 0", f"{INVENTOR}/fan 1")
    assert one.gone() == ()


def test_what_is_known_again_or_was_pushed_out_while_it_stood_is_not_gone() -> None:
    one = alarms()
    for number in range(MOST_ALARMS_EACH + 1):
        for level in (AlarmLevel.WARNING, AlarmLevel.CLEARED):
            one.apply(said(INVENTOR, f"fan {number}", level, NOW + number))
    one.apply(said(INVENTOR, "fan 0", AlarmLevel.WARNING, NOW + 999))
    assert one.gone() == (f"{INVENTOR}/fan 1",)

    for number in range(MOST_ALARMS_EACH):
        one.apply(said(INVENTOR, f"psu {number}", AlarmLevel.WARNING, NOW + 1000))
    one.apply(said(INVENTOR, "psu critical", AlarmLevel.CRITICAL, NOW + 1001))
    assert len(one.evicted) > 0
    assert not {f"{INVENTOR}/{key.component}" for key in one.evicted} & {*one.gone()}


def test_the_alarm_state_does_not_grow_with_what_is_gone_and_keeps_what_is_raised() -> None:
    alarm_state, rules, one = AlarmState(), Ruleset(DEFAULT_RULES, {}), alarms()
    one.apply(said(APPLIANCE, "PSU 1", AlarmLevel.CRITICAL, NOW))
    sizes, ids = [], count()
    for turn in range(3):
        now = NOW + 60 * turn
        context = Context(now=now, agent="agent", rules=rules, new_id=lambda: f"alarm {next(ids)}")
        for level in (AlarmLevel.WARNING, AlarmLevel.CLEARED):
            for number in range(MOST_ALARMS_EACH):
                one.apply(said(INVENTOR, f"fan {turn}.{number}", level, now))
            step(alarm_state, one.readings("traps", now), context).apply_to(alarm_state)
        gone = {*one.gone()}

        def keeps(series: Series, gone: set[str] = gone) -> bool:
            return series[1] not in gone

        withdraw(alarm_state, keeps, context).apply_to(alarm_state)
        sizes.append((len(alarm_state.series_states), len(alarm_state.rule_states), len(alarm_state.missing)))

    assert max(sizes[1:]) == sizes[0]
    assert [alarm.series[1] for alarm in active(alarm_state).values()] == ["luna-a/PSU 1"]
