"""In a group an agent judges its own series always, and the group's where it leads: recorded first, then told."""

from __future__ import annotations

import asyncio

import pytest

from hsm_agent.evaluate.rules import Ruleset
from hsm_agent.evaluate.state import Silence
from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.pipeline import ActRefusedError
from tests.unit.membering import RULES, SINKS, WALL, House, kinds

RAISED, CLEARED, NOTICE = EventKind.RAISED, EventKind.CLEARED, EventKind.NOTICE
SILENCE = Silence(silence_id="s-1", until=WALL + 100, reason="work", by_uid=0, created=WALL)


def standby(house: House) -> House:
    house.journal.judges, house.journal.leader = False, "two"
    return house


async def test_the_leader_records_for_all_what_is_the_groups_and_nothing_of_its_own() -> None:
    house = House()

    await house.take(house.reading(12), house.own(12))

    (change,) = house.journal.changes
    assert [(each.event.source, each.sinks) for each in change.events] == [("a", SINKS)]
    assert any("full" in key for key in change.states)
    assert not [key for key in change.states if "agent" in key]
    assert [(each.event.source, shared) for each, shared in house.spool.addressed] == [("a", True)]
    assert [event.source for event in house.spool.own_events] == ["agent"]
    assert house.spool.rows["group/progress"] == "1"
    assert house.alarms() == [("a", "pay"), ("agent", "")]
    assert house.shown[-1] == (set(), True)


async def test_nothing_of_the_groups_is_in_the_spool_or_seen_before_it_is_recorded() -> None:
    house = House()
    house.journal.gate.clear()
    task = asyncio.ensure_future(house.take(house.reading(12)))
    for _ in range(5):
        await asyncio.sleep(0)

    assert not house.spool.addressed
    assert not house.store.alarms
    house.journal.gate.set()
    await task
    assert len(house.store.alarms) == len(house.spool.addressed) == 1


async def test_the_agents_own_alarms_do_not_wait_for_a_record_that_takes_long() -> None:
    house = House()
    house.journal.gate.clear()
    task = asyncio.ensure_future(house.take(house.reading(12)))
    await asyncio.sleep(0)
    await house.pipeline.evaluate_aside(house.own(11))
    await house.pipeline.tick()

    assert [event.source for event in house.spool.own_events] == ["agent"]
    house.journal.gate.set()
    await task


async def test_a_standby_stores_and_shows_what_it_polls_and_judges_its_own_alone() -> None:
    house = standby(House())

    await house.take(house.reading(12), house.own(12))
    assert house.store.reading("a", "pay", "token_objects") == house.reading(12)
    await house.pass_time(1)

    assert house.shown[0] == ({"a", "agent"}, True)
    assert house.alarms() == [("agent", "")]
    assert house.journal.changes == []


async def test_what_cannot_be_recorded_is_dropped_and_judged_again_with_the_next_poll() -> None:
    house = House()
    house.journal.refuses = True
    await house.take(house.reading(12), house.own(12))
    assert house.alarms() == [("agent", "")]
    assert house.spool.addressed == []

    house.journal.refuses = False
    await house.take(house.reading(12))
    assert kinds(house.journal.events) == [(RAISED, "pay")]


async def test_who_loses_the_lead_between_two_steps_of_a_poll_stops_there() -> None:
    house = House()
    many = [house.reading(12, f"t{number:03}") for number in range(301)]
    task = asyncio.ensure_future(house.take(*many))
    while not house.journal.changes:
        await asyncio.sleep(0)
    house.journal.judges = False
    await task

    assert len(house.journal.changes) == 1
    assert len(house.store.alarms) == 300


async def test_time_passes_for_both_scopes() -> None:
    house = House()
    await house.pipeline.silence(SILENCE)
    await house.take(house.reading(12), house.own(12))
    assert house.journal.events == []

    await house.pass_time(101)
    assert kinds(house.journal.events) == [(RAISED, "pay")]
    # The notices of the silence are the leader's own.
    assert kinds(house.spool.own_events) == [(NOTICE, ""), (RAISED, ""), (NOTICE, "")]


async def test_keeping_time_is_a_task_of_its_own(skipped_waits: None) -> None:
    del skipped_waits
    house = House()
    await house.pipeline.silence(SILENCE)
    await house.take(house.reading(12))
    task = asyncio.ensure_future(house.pipeline.keep_time())
    house.now += 101
    while not house.journal.events:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_pipeline_is_as_old_as_the_older_scope() -> None:
    house = House()
    house.ticks = 30.0
    await house.pipeline.tick()
    assert house.pipeline.age_seconds == 30.0
    await house.pipeline.tick_shared()
    assert house.pipeline.age_seconds == 0.0
    house.ticks = 40.0
    await house.pipeline.tick_shared()
    assert house.pipeline.age_seconds == 10.0


async def test_acts_of_an_operator_are_recorded_and_their_notices_the_leaders_own() -> None:
    house = House()
    await house.take(house.reading(12))
    (alarm,) = house.store.alarms.values()

    await house.pipeline.silence(SILENCE)
    await house.pipeline.end_silence("s-1", 0)
    series = await house.pipeline.forget(alarm.alarm_id, 0)

    assert series == alarm.series
    assert kinds(house.journal.events) == [(RAISED, "pay"), (CLEARED, "pay")]
    assert [event.kind for event in house.spool.own_events] == [NOTICE] * 3
    assert house.journal.changes[-2].states == {'["silence","s-1"]': None}
    with pytest.raises(LookupError):
        await house.pipeline.end_silence("s-1", 0)


async def test_a_standby_refuses_acts_and_names_the_leader() -> None:
    house = standby(House())

    for act in (
        house.pipeline.silence(SILENCE),
        house.pipeline.end_silence("s-1", 0),
        house.pipeline.forget("a-1", 0),
        house.pipeline.resend("noc"),
    ):
        with pytest.raises(ActRefusedError, match="two leads the group: ask it there"):
            await act
    for house.journal.leader in ("", "one"):
        assert "no member of the group is known to lead" in house.pipeline.refusal
    assert House().pipeline.refusal == ""


async def test_an_act_that_cannot_be_recorded_is_refused() -> None:
    house = House()
    house.journal.refuses = True

    with pytest.raises(ActRefusedError, match="not done: another agent leads"):
        await house.pipeline.silence(SILENCE)
    await house.take(house.own(12))
    house.journal.refuses = False
    await house.take(house.reading(12))
    house.journal.refuses = True
    with pytest.raises(ActRefusedError, match="not sent: another agent leads"):
        await house.pipeline.resend("noc")
    assert house.pipeline.alarm_state.silences == {}


async def test_an_alarm_of_its_own_is_forgotten_by_any_member() -> None:
    house = standby(House())
    await house.take(house.own(12))
    (alarm,) = house.store.alarms.values()

    await house.pipeline.forget(alarm.alarm_id, 0)

    assert house.store.alarms == {}
    assert [event.kind for event in house.spool.own_events] == [RAISED, CLEARED, NOTICE]


async def test_what_is_judged_alone_is_the_agents_and_says_so() -> None:
    house = House()
    house.journal.shares, house.journal.labels = False, (("coordination", "alone"),)

    await house.take(house.reading(12))

    ((each, shared),) = house.spool.addressed
    assert not shared
    assert each.event.labels == (("coordination", "alone"),)
    assert f"group/own/{each.event.alarm_id}" in house.spool.rows
    (alarm,) = house.store.alarms.values()
    assert alarm.event.labels == ()  # what is said of it later may be said by the group
    await house.take(house.reading(2))
    assert [key for key in house.spool.rows if key.startswith("group/own")] == []


async def test_what_left_the_configuration_is_withdrawn_once_all_members_have_the_same() -> None:
    house = House()
    await house.take(house.reading(12), house.own(12))
    none = Ruleset([], {})

    await house.pipeline.reconfigure(lambda _: True, none)
    assert kinds(house.spool.own_events) == [(RAISED, ""), (CLEARED, "")]
    assert kinds(house.journal.events) == [(RAISED, "pay")]

    house.journal.may_withdraw = True
    await house.pass_time(1)
    assert kinds(house.journal.events)[1:] == [(CLEARED, "pay")]
    assert house.journal.withdrawals == 0  # the source has not told of everything yet
    await house.take(house.reading(12), complete=True)
    await house.pass_time(1)
    assert house.journal.withdrawals == 1
    assert not [key for key in house.spool.shared_rows if "watch" in key]


async def test_a_source_that_is_down_does_not_hold_back_that_all_is_withdrawn() -> None:
    house = House()
    house.journal.may_withdraw = True
    await house.take(up=False)
    await house.pipeline.reconfigure(lambda _: True, RULES)
    assert house.journal.withdrawals == 0
    await house.pass_time(1)
    assert house.journal.withdrawals == 1


async def test_nor_does_one_that_never_tells_of_everything_for_longer_than_ten_minutes() -> None:
    house = House()
    house.journal.may_withdraw = True
    await house.pipeline.reconfigure(lambda _: True, RULES)
    await house.take(house.reading(1))
    await house.pass_time(1)
    house.journal.may_withdraw = False  # another member has another configuration for a while
    await house.pass_time(1)
    house.journal.may_withdraw = True
    await house.pass_time(1)
    await house.pass_time(599)
    assert house.journal.withdrawals == 0
    await house.pass_time(1)
    assert house.journal.withdrawals == 1


async def test_a_takeover_withdraws_nothing_and_the_next_complete_poll_tries_again() -> None:
    house = standby(House())
    await house.pipeline.reconfigure(lambda _: True, RULES)
    house.journal.judges = True
    await house.take(house.reading(12), house.reading(12, "old"))
    await house.take(house.reading(12), complete=True)
    await house.pass_time(1)
    assert kinds(house.journal.events) == [(RAISED, "old"), (RAISED, "pay")]

    house.journal.may_withdraw = True
    await house.pass_time(1)
    await house.take(house.reading(12), complete=True)
    assert kinds(house.journal.events)[2:] == [(CLEARED, "old")]


async def test_a_withdrawal_that_cannot_be_recorded_stays_due() -> None:
    house = House()
    await house.take(house.reading(12))
    house.journal.may_withdraw = house.journal.refuses = True
    await house.pipeline.reconfigure(lambda _: False, RULES)
    await house.pass_time(1)
    house.journal.refuses = False
    await house.pass_time(1)
    assert kinds(house.journal.events) == [(RAISED, "pay"), (CLEARED, "pay")]


async def test_an_object_that_is_gone_ends_and_no_other_rule_is_withdrawn_with_it() -> None:
    house = House()
    await house.take(house.reading(12), house.reading(12, "old"))
    house.pipeline.rules = Ruleset([], {})  # of another configuration, which not all members have yet

    await house.take(gone=("old",))
    assert kinds(house.journal.events)[2:] == [(CLEARED, "old")]
    assert house.alarms() == [("a", "pay")]


async def test_the_agents_own_objects_end_on_a_standby_too() -> None:
    house = standby(House())
    await house.take(house.reading(12, "cert", source="agent"), source="agent")
    await house.take(source="agent", gone=("cert",))
    assert kinds(house.spool.own_events) == [(RAISED, "cert"), (CLEARED, "cert")]


async def test_a_new_sink_is_told_its_own_at_once_and_the_groups_by_the_leader() -> None:
    house = standby(House())
    await house.take(house.own(12))
    house.journal.judges = True
    await house.take(house.reading(12))
    assert [event.source for event in house.pipeline.events_for_new_sinks()] == ["agent"]

    house.journal.judges = False
    await house.pipeline.bring_up_to_date(["siem", "left"])
    await house.pass_time(1)
    assert house.spool.asked[1:] == []
    house.journal.judges = house.journal.refuses = True
    await house.pass_time(1)
    house.journal.refuses = False
    for _ in range(2):
        await house.pass_time(1)

    assert house.spool.asked[1:] == [(["siem"], True)] * 2
    assert [(each.event.source, each.sinks) for each, _ in house.spool.addressed[1:]] == [("a", ("siem",))]


async def test_raised_alarms_are_sent_again_each_by_whose_it_is() -> None:
    house = House()
    await house.take(house.reading(12), house.own(12))

    assert await house.pipeline.resend("noc") == 2

    assert house.spool.asked[-1] == (["noc"], False)
    assert [each.event.source for each in house.journal.changes[-1].events] == ["a"]
    assert [(event.source, sink) for event, sink in house.spool.own[1:]] == [("agent", "noc")]


async def test_tests_and_notices_are_each_agents_own() -> None:
    house = standby(House())
    event = Event(event_id="e", kind=EventKind.TEST, severity=Severity.CLEARED, time=WALL, text="t", agent="one")
    await house.pipeline.notify([event], only_sink="noc")
    assert house.spool.own == [(event, "noc")]
