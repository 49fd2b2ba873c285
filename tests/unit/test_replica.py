"""A member follows what the leader does, row by row, and judges for the group from there when it leads."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_agent.evaluate.hsms import Hsms
from hsm_agent.evaluate.rules import Ruleset
from hsm_agent.evaluate.sharing import is_shared, rows_of
from hsm_agent.evaluate.state import (
    HAS_VALUE,
    AlarmState,
    Silence,
    part_of,
)
from hsm_agent.evaluate.trends import Points
from hsm_agent.model import EventKind
from hsm_agent.replica import CORRECTS_AFTER_SECONDS
from hsm_agent.spool.shared import SharedChange, SharedContent
from tests.fakes.examples import examples
from tests.unit.evaluate import days
from tests.unit.evaluate.judging import START
from tests.unit.membering import PROGRESS, RULES, WALL, House, kinds

if TYPE_CHECKING:
    import pytest

    from tests.unit.evaluate.days import Move

RAISED, CLEARED, NOTICE = EventKind.RAISED, EventKind.CLEARED, EventKind.NOTICE
SILENCE = Silence(silence_id="s-1", until=WALL + 100, reason="work", by_uid=0, created=WALL)


def follower(name: str = "two") -> House:
    house = House(name=name)
    house.journal.judges = False
    return house


async def follow(leader: House, house: House) -> None:
    """Take in what the leader has recorded since."""
    for change in leader.journal.changes[len(house.spool.taken) :]:
        await house.pipeline.take_in(change, {"group/progress": "taken"})


def content_of(leader: House) -> SharedContent:
    return SharedContent(states=leader.spool.shared_rows)


def ids_of(house: House) -> dict[str, str]:
    """The alarms that are shown, by resource."""
    return {series[1]: alarm.alarm_id for (_, series), alarm in house.store.alarms.items()}


async def test_a_follower_shows_what_the_leader_raised_and_has_it_on_disk() -> None:
    leader, house = House(), follower()
    await leader.take(leader.reading(12))
    await leader.pipeline.silence(SILENCE)

    await follow(leader, house)

    assert house.alarms() == [("a", "pay")]
    assert all(alarm.silenced for alarm in house.store.alarms.values())
    assert house.spool.shared_rows == leader.spool.shared_rows
    assert house.spool.rows["group/progress"] == "taken"
    assert house.shown[-1] == (set(), True)
    await leader.take(leader.reading(2))
    await follow(leader, house)
    assert house.store.alarms == {}
    assert house.journal.changes == []
    assert house.spool.own == []


async def test_no_leader_writes_what_is_this_agents_own(caplog: pytest.LogCaptureFixture) -> None:
    house = follower()
    await house.take(house.own(12))
    key = '["watch","agent","","spool_entries",[],"full"]'
    foreign = {key: None, '["watch","agent","x","spool_entries",[],"full"]': "{}", "group/progress": "theirs"}

    await house.pipeline.take_in(SharedChange(states=foreign), {"group/progress": "mine"})

    assert house.alarms() == [("agent", "")]
    assert key in house.spool.rows
    assert house.spool.rows["group/progress"] == "mine"
    await house.pipeline.take_in(SharedChange(states={'["watch","a"]': "{}"}), {})
    assert "can't be read" in caplog.text


async def test_what_is_held_is_replaced_but_for_what_is_the_agents_own() -> None:
    leader, house = House(), follower()
    await leader.take(leader.reading(12, "new"))
    house.journal.judges = True
    await house.take(house.reading(12, "old"), house.own(12))
    house.journal.judges = False

    await house.pipeline.replace(content_of(leader), {"group/progress": "snapshot"})

    assert house.alarms() == [("a", "new"), ("agent", "")]
    assert house.spool.shared_rows == leader.spool.shared_rows
    assert house.spool.rows["group/progress"] == "snapshot"
    assert kinds(house.spool.own_events) == [(RAISED, "")]  # nothing is said of what was the group's before


async def test_who_judged_alone_clears_what_it_raised_and_the_group_lacks() -> None:
    leader, house = House(), follower()
    house.journal.judges = True
    await house.take(house.reading(12, "before"))
    house.journal.shares = False
    await house.take(house.reading(12, "both"), house.reading(12, "mine"), house.reading(12, "over"))
    await house.take(house.reading(1, "over"))
    ids = ids_of(house)
    await leader.take(leader.reading(12, "both"))
    ((_, theirs),) = leader.store.alarms.items()

    house.journal.judges = False
    await house.pipeline.replace(content_of(leader), PROGRESS, merged_by="two")

    assert [(event.resource, event.alarm_id) for event in house.spool.own_events] == [
        ("both", ids["both"]),
        ("mine", ids["mine"]),
    ]
    assert {event.kind for event in house.spool.own_events} == {CLEARED}
    assert f"merged into {theirs.alarm_id}" in house.spool.own_events[0].text
    assert "not seen by two" in house.spool.own_events[1].text
    assert house.spool.rows == leader.spool.shared_rows | PROGRESS
    await house.pipeline.replace(content_of(leader), PROGRESS, merged_by="two")
    assert len(house.spool.own) == 2


async def test_who_judged_alone_says_which_silences_end_as_the_group_has_them_not() -> None:
    leader, house = House(), follower()
    await leader.pipeline.silence(SILENCE)
    await follow(leader, house)
    house.journal.judges, house.journal.shares = True, False
    for name, until in (("s-2", WALL + 50), ("s-3", WALL - 1)):
        await house.pipeline.silence(replace(SILENCE, silence_id=name, until=until, resource="p*"))
    told = len(house.spool.own)
    house.journal.judges = False
    for _ in range(2):
        await house.pipeline.replace(content_of(leader), PROGRESS, merged_by="two")

    assert [event.text for event in house.spool.own_events[told:]] == [
        "Silence ended, two has none such: rule * on */p* (work)"
    ]
    assert [*house.pipeline.alarm_state.silences] == ["s-1"]


async def test_what_it_cleared_alone_and_the_group_has_as_raised_is_raised_once_more_after_a_while() -> None:
    leader = House()
    await leader.take(leader.reading(12, "on"), leader.reading(12, "off"))
    content = replace(content_of(leader), sequences=frozenset({("noc", alarm) for alarm in ids_of(leader).values()}))
    house = follower()
    await house.pipeline.replace(content, PROGRESS)
    house.journal.judges, house.journal.shares = True, False
    await house.take(house.reading(1, "on"), house.reading(1, "off"))
    house = House(house.spool.rows, name="two")
    house.journal.judges = False
    await house.pipeline.replace(content, PROGRESS, merged_by="one")
    house.spool.content = content
    await house.pass_time(CORRECTS_AFTER_SECONDS - 1)
    await leader.take(leader.reading(1, "off"))
    await house.pipeline.take_in(leader.journal.changes[-1], {})
    assert kinds(house.spool.own_events) == []
    before = len(house.spool.addressed)

    for _ in range(2):
        await house.pass_time(1)

    ((told, shared),) = house.spool.addressed[before:]
    assert (told.event.kind, told.event.alarm_id, told.sinks, shared) == (RAISED, ids_of(leader)["on"], ("noc",), False)
    assert not [key for key in house.spool.rows if key.startswith("group/own/")]


async def test_who_was_alone_still_knows_its_alarms_after_a_restart() -> None:
    alone = House()
    alone.journal.shares = False
    await alone.take(alone.reading(12))

    house = House(alone.spool.rows)
    await house.pipeline.replace(SharedContent(), PROGRESS, merged_by="two")
    assert kinds(house.spool.own_events) == [(CLEARED, "pay")]


async def test_who_was_in_no_group_before_raised_all_for_itself() -> None:
    single = House()
    await single.take(single.reading(12), single.own(12))
    rows = {key: text for key, text in single.spool.rows.items() if key.startswith("[")}

    house = House(rows)
    house.journal.shares = False
    await house.take(house.reading(12, "second"))
    assert len([key for key in house.spool.rows if key.startswith("group/own/")]) == 2
    for member in (house, House(house.spool.rows)):
        await member.pipeline.replace(SharedContent(), PROGRESS, merged_by="two")
        assert {event.resource for event in member.spool.own_events} == {"pay", "second"}
        assert member.alarms() == [("agent", "")]


async def test_who_was_in_no_group_before_knows_so_after_a_restart_while_alone() -> None:
    single = House()
    await single.take(single.reading(12))
    house = House({key: text for key, text in single.spool.rows.items() if key.startswith("[")})
    house.journal.shares = False
    await house.pipeline.judge_present()

    house = House(house.spool.rows | PROGRESS)
    await house.pipeline.replace(SharedContent(), PROGRESS, merged_by="two")
    assert kinds(house.spool.own_events) == [(CLEARED, "pay")]


async def test_what_was_judged_alone_is_shared_and_is_then_the_groups() -> None:
    house = House()
    house.journal.shares = False
    await house.take(house.reading(12), house.own(12))
    own = next(alarm.alarm_id for (_, series), alarm in house.store.alarms.items() if series[0] == "agent")

    await house.pipeline.share()
    alone = dict(house.spool.rows)
    house.journal.shares = True
    await house.pipeline.judge_present()

    assert house.spool.shared_but == [{own}]
    assert [key for key in alone if key.startswith("group/own/")]
    assert not [key for key in house.spool.rows if key.startswith("group/own/")]
    await house.pipeline.replace(SharedContent(), PROGRESS, merged_by="two")
    assert kinds(house.spool.own_events) == [(RAISED, "")]


async def test_the_content_is_what_memory_holds_of_the_groups() -> None:
    house = House()
    await house.pipeline.silence(SILENCE)
    await house.take(house.reading(12), house.own(12))
    rows = dict(house.spool.shared_rows)

    content = await house.pipeline.content()
    assert content == SharedContent(states=rows, sequences=frozenset({("noc", "a-1")}))
    house.spool.rows.clear()  # a disk that can't be read gives nothing
    assert (await house.pipeline.content()).states == rows


async def test_who_leads_judges_what_it_read_last() -> None:
    leader, house = House(), follower()
    await leader.take(leader.reading(12, "known"))
    await follow(leader, house)
    for each in (house, leader):
        await each.take(each.reading(12, "known"), each.reading(12, "new"), each.reading(12, "", source="agent"))
    await house.take(house.reading(12, "dark", source="b"), source="b", up=False)

    house.journal.judges = True
    await house.pipeline.judge_present()

    assert kinds(house.journal.events) == [(RAISED, "new")]


async def test_who_leads_does_not_judge_by_what_is_older_than_the_leaders_word() -> None:
    leader, house = House(), follower()
    await house.take(house.reading(2, "full"), house.reading(12, "empty"))
    await leader.take(leader.reading(12, "full"), leader.reading(12, "empty"))
    await leader.take(leader.reading(2, "empty"))
    await follow(leader, house)

    house.journal.judges = True
    await house.pipeline.judge_present()
    assert house.journal.events == []
    await house.take(house.reading(2, "full"), house.reading(12, "empty"))
    assert kinds(house.journal.events) == [(RAISED, "empty"), (CLEARED, "full")]


async def test_nor_by_what_is_older_than_what_it_replaced() -> None:
    leader, house = House(), follower()
    await house.take(house.reading(2, "full"), house.reading(12, "new"))
    await leader.take(leader.reading(12, "full"))
    await house.pipeline.replace(content_of(leader), PROGRESS)

    house.journal.judges = True
    await house.pipeline.judge_present()
    assert kinds(house.journal.events) == [(RAISED, "new")]


async def test_an_alarm_that_nobody_reads_any_more_becomes_unknown_ten_minutes_after_a_takeover() -> None:
    leader, house = House(), follower()
    await leader.take(leader.reading(12, "left"))
    await follow(leader, house)
    await house.take(house.reading(1, "pay"))

    house.journal.judges = True
    await house.pipeline.judge_present()
    await house.pass_time(1)
    await house.take(house.reading(1, "pay"))
    await house.pass_time(601)

    assert [(event.kind, event.severity.value) for event in house.journal.events] == [
        (EventKind.CHANGED, "indeterminate")
    ]


async def test_what_another_leader_raised_by_another_configuration_is_withdrawn_once_that_may_be() -> None:
    leader, house = House(), follower()
    house.journal.judges = house.journal.may_withdraw = True
    await house.pipeline.reconfigure(lambda series: series[1] != "left", RULES)
    await house.pass_time(1)
    await house.take(house.reading(1), complete=True)
    await house.pass_time(1)
    assert house.journal.withdrawals == 1
    house.journal.judges = False
    await leader.take(leader.reading(12, "left"), leader.reading(12, "old"))
    await follow(leader, house)

    house.journal.judges = True
    await house.pipeline.judge_present()
    await house.pass_time(1)
    assert house.journal.events == []
    house.journal.may_withdraw = True
    await house.pass_time(1)
    assert (kinds(house.journal.events), house.journal.withdrawals) == ([(CLEARED, "left")], 1)
    await house.take(house.reading(1), complete=True)
    await house.pass_time(1)
    assert (kinds(house.journal.events)[1:], house.journal.withdrawals) == ([(CLEARED, "old")], 2)


async def test_what_went_while_another_led_ends_with_the_takeover_unless_it_is_back() -> None:
    leader, house = House(), follower()
    await leader.take(leader.reading(12, "gone"), leader.reading(12, "back"))
    await follow(leader, house)
    await house.take(house.reading(12, "back"), gone=("gone", "back"))
    await house.take(house.reading(12, "back"))

    house.journal.judges = True
    await house.pipeline.judge_present()

    assert kinds(house.journal.events) == [(CLEARED, "gone")]
    assert "no longer read under this name" in house.journal.events[0].text


async def test_so_does_what_is_told_of_the_whole_hsm_now() -> None:
    leader, house = House(), follower()
    house.pipeline._hsms = Hsms({"hsm": ["a/*"]})
    metric = "hsm_commands_total"
    for value in (1, 2):
        await leader.take(leader.reading(value, metric=metric))
    assert leader.alarms() == [("a", "pay")]
    await follow(leader, house)
    await house.take(house.reading(2, metric=metric))

    house.journal.judges = True
    await house.pipeline.judge_present()

    assert kinds(house.journal.events) == [(CLEARED, "pay")]
    assert "told of the whole HSM now" in house.journal.events[0].text


async def test_a_takeover_that_cannot_record_leaves_it_to_the_next_polls() -> None:
    leader, house = House(), follower()
    await leader.take(leader.reading(12, "left"))
    await follow(leader, house)
    await house.take(house.reading(12), gone=("left",))
    house.journal.judges = house.journal.refuses = True

    await house.pipeline.judge_present()
    assert house.alarms() == [("a", "left")]
    house.journal.refuses = False
    await house.pipeline.judge_present()
    assert kinds(house.journal.events) == [(CLEARED, "left"), (RAISED, "pay")]


@settings(max_examples=examples(25, 8), deadline=None)
@given(days.moves, st.data())
async def test_followers_of_any_day_hold_what_the_leader_holds(found: list[Move], data: st.DataObject) -> None:
    rules = Ruleset([*days.RULES], {})
    members = [House(name=name, rules=rules) for name in ("one", "two")]
    seen = [0, 0]
    at = leading = 0
    for index, move in enumerate(found):
        at += int(move.wait)
        if data.draw(st.sampled_from((False, False, False, True))):
            leading = 1 - leading
        for number, house in enumerate(members):
            house.now = START + at
            house.journal.judges = number == leading
        leader, other = members[leading], members[1 - leading]
        if move.hush:
            await leader.pipeline.silence(
                Silence(silence_id=f"s-{index}", until=leader.now + 200, reason="w", by_uid=0, created=leader.now)
            )
        for house in members:
            await house.take(*move.readings(at), source="luna", up=move.up)
        if data.draw(st.booleans()):
            await leader.pass_time(0)
        for change in leader.journal.changes[seen[leading] :]:
            await other.pipeline.take_in(change, {})
        seen[leading] = len(leader.journal.changes)

    one, two = (house.pipeline for house in members)
    assert members[0].spool.shared_rows == members[1].spool.shared_rows
    loaded, _ = AlarmState.load(members[0].spool.shared_rows)
    for pipeline in (one, two):
        state = part_of(pipeline.alarm_state, is_shared)
        assert state.rule_states == loaded.rule_states
        assert state.series_states == loaded.series_states
        assert state.windows == loaded.windows
        assert state.alarmed == loaded.alarmed
        assert pipeline.alarm_state.silences == loaded.silences
    assert members[0].store.alarms == members[1].store.alarms


def rows_of_tokens(count: int) -> dict[str, str]:
    """For each of so many tokens a row that says that it has a value, and one of its history."""
    state = AlarmState()
    for number in range(count):
        series = ("a", f"token-{number}", "token_objects", ())
        state.series_states[series] = HAS_VALUE
        state.points[series, 3600.0] = Points(array("d", [WALL]), array("d", [number]))
    return rows_of(state)


async def test_others_run_while_many_rows_are_read_and_written_and_a_disk_gets_histories_in_portions() -> None:
    rows, turns = rows_of_tokens(10_000), 0
    house = House({**PROGRESS, **{key: rows[key] for key in sorted(rows)[:1000]}}, name="two")

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await house.pipeline.replace(SharedContent(states=rows), {"group/progress": "all"})
    while_read, turns = turns, 0
    content = await house.pipeline.content()
    counting.cancel()

    assert min(while_read, turns) > 5
    assert content.states == rows
    assert [len(states) for states in house.spool.stored] == [5000, 4000, 10_000 + 1]
    assert house.spool.shared_rows == rows
