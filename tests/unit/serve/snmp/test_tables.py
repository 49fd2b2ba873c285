"""Views that follow the store: rows come, change and go; a refresh is all or nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.model import GroupRole, GroupStatus, Guarantee, MemberStatus, Severity, SinkStatus
from hsm_agent.state.row_indexes import FILE_NAME, FIRST_PROVISIONAL
from hsm_agent.wire.snmp.mib import BASE
from tests.fakes.snmp_listing import (
    EVERYTHING,
    MOMENT,
    SINK_QUEUED,
    TOKEN_LABEL,
    TOKEN_SESSIONS,
    TOKEN_STATUS,
    column,
    listed,
    tables,
)
from tests.fakes.snmp_present import alarm, payments, raise_alarms, reading, store

if TYPE_CHECKING:
    from pathlib import Path

MEMBER_ROLE, MEMBER_SEEN, AGENT_ROLE, AGENT_EPOCH = (1, 9, 1, 3), (1, 9, 1, 5), (1, 1, 9), (1, 1, 10)


async def test_rows_appear_in_the_order_of_their_first_sight(tmp_path: Path) -> None:
    made = await tables(tmp_path, store())

    assert column(made, TOKEN_STATUS) == {1: 2, 2: 3, 3: 2, 4: 4}
    assert column(made, TOKEN_LABEL)[1] == b"payments"


async def test_rows_keep_their_index_across_restarts(tmp_path: Path) -> None:
    await tables(tmp_path, store())
    present = store()
    present.forget_source("luna-a")
    present.update([reading("token_present", 1, resource="new"), *payments()])

    made = await tables(tmp_path, present)

    assert column(made, (1, 3, 1, 2)) == {1: b"luna-a", 3: b"soft", 4: b"soft", 5: b"luna-a"}
    assert column(made, TOKEN_LABEL)[1] == b"payments"


async def test_a_changed_value_is_seen_after_the_refresh_only(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    present.update([reading("token_sessions", 13)])

    before = column(made, TOKEN_SESSIONS)
    await made.refresh(["luna-a"], alarms=False)

    assert (before, column(made, TOKEN_SESSIONS)) == ({1: 12}, {1: 13})


async def test_a_view_that_is_held_does_not_change(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    held = made.view(EVERYTHING)
    before = held.run(held.after((0, 0)), 100_000, MOMENT)[0]
    present.update([reading("token_sessions", 13), reading("token_present", 0)])

    await made.refresh(["luna-a"], alarms=False)

    assert held.run(held.after((0, 0)), 100_000, MOMENT)[0] == before


async def test_what_is_gone_leaves_the_tables(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    present.forget_source("soft")
    present.forget(("luna-a", "backup", "token_present", ()))

    await made.refresh(["soft", "luna-a"], alarms=False)

    assert set(column(made, TOKEN_STATUS)) == {1}
    assert column(made, (1, 2, 1, 2)) == {1: b"luna-a"}


async def test_a_value_that_becomes_unavailable_leaves_its_column(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    present.update([reading("token_sessions", None)])

    await made.refresh(["luna-a"], alarms=False)

    assert column(made, TOKEN_SESSIONS) == {}


async def test_alarms_show_in_their_table_in_the_readings_and_in_the_scalars(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    assert column(made, (1, 6, 1, 3)) == {1: 6}
    assert max(map(str, column(made, (1, 5, 1, 7)).values())) == "6"

    raise_alarms(present, [alarm(severity=Severity.CRITICAL)])
    await made.refresh([], alarms=True)
    assert column(made, (1, 6, 1, 3)) == {1: 3}
    assert max(map(str, column(made, (1, 5, 1, 7)).values())) == "3"
    assert [listed(made)[*BASE, 1, 1, number, 0] for number in (5, 6)] == [1, 3]

    raise_alarms(present, [])
    await made.refresh([], alarms=True)
    assert column(made, (1, 6, 1, 3)) == {}
    assert set(column(made, (1, 5, 1, 7)).values()) == {1}
    assert [listed(made)[*BASE, 1, 1, number, 0] for number in (5, 6)] == [0, 1]


async def test_alarms_stay_while_only_sources_are_refreshed(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    raise_alarms(present, [])

    await made.refresh(["luna-a"], alarms=False)

    assert column(made, (1, 6, 1, 3)) == {1: 6}


async def test_an_alarm_that_comes_back_has_its_row_again(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    for alarms in ([alarm(rule="other", number=2)], [alarm(number=3)]):
        raise_alarms(present, alarms)
        await made.refresh([], alarms=True)

    assert column(made, (1, 6, 1, 12)) == {1: b"aaaaaaaa-0000-4000-8000-000000000003"}


async def test_sinks_are_true_at_the_moment_of_the_answer(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    assert column(made, SINK_QUEUED) == {1: 2, 2: 0}

    present.sinks = {**present.sinks, "siem": replace(present.sinks["siem"], queued=5)}

    assert column(made, SINK_QUEUED) == {1: 5, 2: 0}


async def test_members_of_the_group_come_change_and_go_with_their_rows(tmp_path: Path) -> None:
    present = store()
    a, b = (MemberStatus(name=name, role=GroupRole.STANDBY, is_up=True, seconds_since_seen=1.0) for name in "ab")
    present.group = GroupStatus(group="emea", name="a", role=GroupRole.STANDBY, epoch=7, members=(a, b))
    made = await tables(tmp_path, present)
    before = column(made, MEMBER_ROLE), column(made, MEMBER_SEEN), column(made, AGENT_ROLE), column(made, AGENT_EPOCH)

    leader = replace(a, role=GroupRole.LEADER, seconds_since_seen=None)
    present.group = replace(present.group, role=GroupRole.LEADER, epoch=8, members=(leader, b))
    during = column(made, MEMBER_ROLE), column(made, MEMBER_SEEN), column(made, AGENT_ROLE), column(made, AGENT_EPOCH)
    present.group = None

    assert before == ({1: 3, 2: 3}, {1: 1, 2: 1}, {0: 3}, {0: 7})
    assert during == ({1: 2, 2: 3}, {2: 1}, {0: 2}, {0: 8})
    assert (column(made, MEMBER_ROLE), column(made, AGENT_ROLE), column(made, AGENT_EPOCH)) == ({}, {0: 1}, {})


async def test_a_new_member_shows_with_the_next_refresh(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    one = MemberStatus(name="a", role=GroupRole.LEADER, is_up=True, seconds_since_seen=0.0)
    present.group = GroupStatus(group="emea", name="a", role=GroupRole.LEADER, members=(one,))

    before = column(made, MEMBER_ROLE)
    await made.refresh((), alarms=False)

    assert (before, column(made, MEMBER_ROLE)) == ({}, {1: 2})


async def test_a_new_sink_shows_with_the_next_refresh_and_an_old_one_goes_at_once(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    fresh = SinkStatus(name="fresh", kind="syslog udp", guarantee=Guarantee.BEST_EFFORT, queued=9)
    present.sinks = {"noc": present.sinks["noc"], "fresh": fresh}
    assert column(made, SINK_QUEUED) == {2: 0}

    await made.refresh([], alarms=False)

    assert column(made, SINK_QUEUED) == {2: 0, 3: 9}


async def test_the_tables_move_with_the_base(tmp_path: Path) -> None:
    base = (1, 3, 6, 1, 4, 1, 99999, 1)
    made = await tables(tmp_path, store(), base=base)

    assert column(made, TOKEN_LABEL, base=base)[1] == b"payments"
    assert all(name[: len(BASE)] != BASE for name in listed(made))


async def test_while_indexes_cannot_be_stored_rows_have_some_of_another_range_which_they_keep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    present = store()
    made = await tables(tmp_path, present, refresh=False)
    (tmp_path / FILE_NAME).mkdir()
    for _ in range(2):
        await made.refresh(["luna-a"], alarms=False)
    before = column(made, TOKEN_STATUS)
    assert before
    assert min(before) >= FIRST_PROVISIONAL
    (tmp_path / FILE_NAME).rmdir()

    caplog.set_level("INFO")
    await made.refresh(["luna-a"], alarms=False)

    assert column(made, TOKEN_STATUS) == before
    told = [record.message.partition(":")[0] for record in caplog.records if "index" in record.message]
    assert told == [
        "new rows of SNMP have indexes that a restart changes",
        "indexes of SNMP rows are stored again",
    ]


async def test_a_cancelled_refresh_changes_nothing_and_the_next_one_all(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    present.update([reading("token_sessions", 5, resource=f"token {number}") for number in range(600)])
    present.update([reading("token_present", 1, resource=f"token {number}") for number in range(600)])
    before = listed(made)

    refreshing = asyncio.create_task(made.refresh(["luna-a"], alarms=False))
    await asyncio.sleep(0)
    refreshing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await refreshing
    assert listed(made) == before

    await made.refresh(["luna-a"], alarms=False)
    assert len(column(made, TOKEN_SESSIONS)) == 601


async def test_severities_of_a_cancelled_refresh_are_shown_by_the_next_one(tmp_path: Path) -> None:
    present = store()
    present.update([reading("token_present", 1, resource=f"token {number}") for number in range(600)])
    made = await tables(tmp_path, present)
    raise_alarms(present, [])

    refreshing = asyncio.create_task(made.refresh([], alarms=True))
    await asyncio.sleep(0)
    refreshing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await refreshing
    assert column(made, (1, 6, 1, 3)) == {1: 6}

    await made.catch_up()
    assert column(made, (1, 6, 1, 3)) == {}
    assert set(column(made, (1, 5, 1, 7)).values()) == {1}


async def test_refreshes_at_once_are_done_one_after_the_other(tmp_path: Path) -> None:
    present = store()
    made = await tables(tmp_path, present)
    present.update([reading("token_sessions", 50)])

    await asyncio.gather(*(made.refresh([name], alarms=True) for name in ("luna-a", "soft", "agent")))

    assert column(made, TOKEN_SESSIONS) == {1: 50}
