"""What members do when they are told to, and when they do not fit: in simulated time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.group.base import MemberConfig, NotCommittedError
from hsm_agent.group.keys import ConfigRecord, GroupKeys, read_record
from hsm_agent.group.member import NotLeadingError
from hsm_agent.net.etcd_settings import EtcdSettings
from tests.fakes.simulated_member import DiskOfMember, Settings, SimulatedMember
from tests.unit.group.test_member import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = GroupKeys("pair")


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair("a", "b")
    pair.run(8)
    yield pair
    pair.world.close()


def test_a_leader_yields_to_the_other(pair: Pair) -> None:
    leader = pair.leader
    other = pair.other(leader)
    task = leader.host.start(leader.member.yield_lead(other.host.name))
    pair.run(0.5)

    assert task.result() == f"the lead is left to {other.host.name}"
    assert other.leads
    assert not leader.leads
    pair.run(10)
    assert pair.leader is other


def test_who_has_yielded_goes_on_at_once_where_the_other_fails(pair: Pair) -> None:
    leader = pair.leader
    other = pair.other(leader)
    leader.host.start(leader.member.yield_lead())
    pair.run(0.5)
    assert other.leads
    other.host.kill()
    assert pair.takeover_seconds(3.0) < 3.0  # a lease and a second; the hold-off are three leases
    assert leader.leads


def test_a_sink_that_is_removed_at_all_members_is_missed_by_none(pair: Pair) -> None:
    leader = pair.leader
    other = pair.other(leader)
    config = MemberConfig(digest="e", sinks=("siem",))
    other.member.reload(config, Settings())
    pair.run(2)
    assert other.status is not None
    assert other.status.problem == f"this agent stands back: no sink nms here, which {leader.host.name} has"
    leader.member.reload(config, Settings())
    pair.run(2)
    assert other.status.problem == ""
    leader.host.kill()
    assert pair.takeover_seconds(3.0) < 3.0


def test_a_standby_yields_nothing_and_names_the_leader(pair: Pair) -> None:
    leader = pair.leader
    other = pair.other(leader)
    task = other.host.start(other.member.yield_lead())
    pair.world.run(1)

    error = task.exception()
    assert isinstance(error, NotLeadingError)
    assert str(error) == f"this agent does not lead: {leader.host.name} does"


def test_the_lead_is_yielded_only_to_who_is_there(pair: Pair) -> None:
    leader = pair.leader
    task = leader.host.start(leader.member.yield_lead("c"))
    pair.world.run(1)

    error = task.exception()
    assert isinstance(error, NotLeadingError)
    assert str(error) == f"no member c is there, but {pair.other(leader).host.name}"
    assert pair.leader is leader


def test_the_lead_goes_to_who_reads_more_sources_for_long() -> None:
    pair = Pair(settings=Settings(hand_over_after=20.0))
    try:
        for name in ("a", "b"):
            pair.start(name)
        pair.run(8)
        leader = pair.leader
        other = pair.other(leader)
        other.sources = 3
        pair.run(15)
        assert pair.leader is leader
        pair.run(15)
        assert pair.leader is other
        leader.sources = 4
        pair.run(60)
        assert pair.leader is other
    finally:
        pair.world.close()


def test_a_standby_judges_and_commits_nothing(pair: Pair) -> None:
    other = pair.other(pair.leader)
    journal = other.member.journal
    assert (journal.judges, journal.shares, journal.labels, journal.may_withdraw) == (False, True, (), False)
    assert journal.leader == pair.leader.host.name
    task = other.host.start(_commit_nothing(other))
    pair.world.run(1)

    assert isinstance(task.exception(), NotCommittedError)


async def _commit_nothing(member: SimulatedMember) -> None:
    await member.member.journal.commit([], {})


def test_while_alone_events_say_so_and_are_not_the_groups(pair: Pair) -> None:
    pair.etcd.is_down = True
    pair.run(16)
    for member in pair.members.values():
        journal = member.member.journal
        assert (journal.judges, journal.shares) == (True, False)
        assert journal.labels == (("coordination", "alone"),)
        assert member.replica.judged > 0
        assert member.status is not None
        assert member.status.role.value == "alone"
        assert member.status.problem.startswith("no quorum of etcd can exist, it tells for itself: http")


def test_an_etcd_without_space_serves_nobody_although_it_can_be_read(pair: Pair) -> None:
    pair.etcd.is_full = True
    pair.run(16)
    assert {member.status.role.value for member in pair.members.values() if member.status} == {"alone"}
    pair.etcd.is_full = False
    pair.run(6)
    assert pair.leader.member.journal.shares


def test_who_is_to_hold_while_alone_holds() -> None:
    pair = Pair("a", "b", settings=Settings(alone="hold"))
    try:
        pair.run(8)
        pair.etcd.is_down = True
        pair.run(16)
        pair.cross("e1")
        pair.run(3)
        assert pair.stored("event") == []
        assert [member.leads for member in pair.members.values()] == [False, False]
        assert pair.told == []
        assert {member.status.role.value for member in pair.members.values() if member.status} == {"alone"}
        pair.etcd.is_down = False
        pair.run(6)
        assert {each.sink for each in pair.told} == {"siem", "nms"}
    finally:
        pair.world.close()


def test_who_is_to_tell_while_isolated_tells() -> None:
    pair = Pair("a", "b", settings=Settings(isolated="tell"))
    try:
        pair.run(8)
        pair.network.cut = {"a"}
        pair.run(16)
        member = pair.members["a"]
        assert member.leads
        assert not member.member.journal.shares
        pair.network.cut = set()
        pair.run(6)
        assert pair.leader.host.name == "b"
        assert member.replica.merged_by == ["b"]
    finally:
        pair.world.close()


def test_a_reload_asks_etcd_anew_where_that_is_another_one_or_asked_in_another_way(pair: Pair) -> None:
    leader = pair.leader
    config = MemberConfig(digest="d", sinks=("siem", "nms"))
    leader.member.reload(config, Settings())
    assert [client.used for client in leader.clients] == [[]] * 6
    fresh = Settings(etcd=EtcdSettings(endpoints=("http://other:2379",)))
    leader.member.reload(config, fresh)
    quick = [fresh.quick_etcd]
    assert [client.used for client in leader.clients] == [*[quick] * 4, [fresh.etcd], quick]


def may_withdraw(member: SimulatedMember) -> bool:
    return member.member.journal.may_withdraw


def test_alarms_are_withdrawn_once_all_have_the_new_configuration(pair: Pair) -> None:
    leader = pair.leader
    other = pair.other(leader)
    assert may_withdraw(leader)  # of the first configuration there is
    leader.member.journal.withdrawn()
    pair.run(6)
    assert not may_withdraw(leader)
    assert read_record(ConfigRecord, pair.etcd.entries[KEYS.config]).digest == "d"

    config = MemberConfig(digest="e", sinks=("siem", "nms"))
    leader.member.reload(config, Settings())
    pair.run(8)
    assert not may_withdraw(leader)
    assert leader.status is not None
    assert leader.status.differs
    other.member.reload(config, Settings())
    pair.run(11)
    assert may_withdraw(leader)
    assert not may_withdraw(other)
    leader.host.kill()
    pair.run(8)
    assert other.leads


def test_what_a_configuration_raised_is_withdrawn_when_all_have_the_one_before_again(pair: Pair) -> None:
    leader = pair.leader
    other = pair.other(leader)
    leader.member.journal.withdrawn()
    pair.run(6)
    config = MemberConfig(digest="e", sinks=("siem", "nms"))
    leader.member.reload(config, Settings())
    pair.run(2)
    assert read_record(ConfigRecord, pair.etcd.entries[KEYS.config]).digest == "d"
    leader.host.start(leader.member.journal.commit([], {'["watch","a","","m",[]]': "by e"}))
    pair.run(1)
    assert read_record(ConfigRecord, pair.etcd.entries[KEYS.config]).digest == ""

    leader.member.reload(replace(config, digest="d"), Settings())
    pair.run(8)
    assert may_withdraw(leader)
    leader.host.kill()
    pair.run(40)  # etcd's lease on what it said of itself is over
    assert not may_withdraw(other)  # it may be the only one that has this configuration
    pair.start(leader.host.name)
    pair.run(11)
    assert other.leads
    assert may_withdraw(other)


def test_who_lacks_a_sink_leads_late() -> None:
    pair = Pair("a")
    try:
        pair.run(4)
        member = pair.start("b", sinks=("siem",), digest="e")
        pair.run(6)
        assert member.status is not None
        assert member.status.problem == "this agent stands back: no sink nms here, which a has"
        pair.members["a"].host.kill()
        pair.run(6)
        assert not member.leads
        pair.run(4)
        unfit = "this agent leads although it does not fit: no sink nms here, which a has"
        assert (member.status.role.value, member.status.problem) == ("leader", unfit)
    finally:
        pair.world.close()


def test_the_lead_is_yielded_to_nobody_who_would_stand_back() -> None:
    pair = Pair("a")
    try:
        pair.run(4)
        pair.start("b", sinks=("siem",), digest="e")
        pair.run(4)
        task = pair.leader.host.start(pair.leader.member.yield_lead())
        pair.world.run(1)
        assert str(task.exception()) == "nobody would lead for a while: no sink nms at b"
        assert pair.leader.host.name == "a"
    finally:
        pair.world.close()


def test_who_begins_a_group_warns_of_nothing_that_etcd_lacks(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair("a")
    try:
        pair.run(4)
        assert pair.leader.leads
        assert [record for record in caplog.records if "puts" in record.getMessage()] == []
    finally:
        pair.world.close()


def test_a_third_member_joins_with_what_it_has_and_is_told_the_rest(pair: Pair) -> None:
    pair.cross("e1")
    pair.run(3)
    disk = DiskOfMember(states={'["watch","s","r","m",[],"old"]': "c"})
    member = SimulatedMember(
        pair.world.host("c"), pair.etcd, pair.network, pair.random, disk=disk, settings=pair.settings, told=pair.told
    )
    member.start()
    pair.run(4)

    assert disk.states == pair.leader.disk.states
    assert member.replica.merged_by == [pair.leader.host.name]


def test_the_first_member_brings_what_it_had_before_there_was_a_group() -> None:
    pair = Pair()
    try:
        disk = DiskOfMember(states={'["watch","s","r","m",[],"old"]': "a"})
        member = SimulatedMember(
            pair.world.host("a"), pair.etcd, pair.network, pair.random, disk=disk, settings=pair.settings
        )
        pair.members["a"] = member
        member.start()
        pair.run(3)

        assert member.leads
        assert pair.stored("state") == ['["watch","s","r","m",[],"old"]']
        assert member.replica.merged_by == []
    finally:
        pair.world.close()


@pytest.mark.parametrize("seconds", [0.05, 0.3, 3.0])  # until after no beat, one, and many
def test_an_etcd_that_was_put_back_gets_what_is_newer(pair: Pair, seconds: float) -> None:
    leader = pair.leader
    pair.cross("e1")
    pair.run(3)
    revision = pair.etcd.revision
    pair.cross("e2")
    pair.run(seconds)
    for member in pair.members.values():
        member.replica.replaced_by.clear()
    pair.etcd.put_back(revision)
    pair.run(10)

    assert pair.leader is leader
    for member in pair.members.values():
        assert set(member.disk.states) == {f'["watch","s","r","m",[],"{name}"]' for name in ("e1", "e2")}
        # Nor did it hold what was put back for a moment, and clear what is not in it.
        assert all('["watch","s","r","m",[],"e2"]' in keys for keys in member.replica.replaced_by)
    assert len(pair.stored("state")) == 2
    assert len(pair.told) == 4


def test_all_stopped_and_started_again_go_on(pair: Pair) -> None:
    pair.cross("e1")
    pair.run(3)
    leader = pair.leader
    for member in list(pair.members.values()):
        member.host.kill()
    pair.run(5)
    for name in ("a", "b"):
        pair.start(name)
    pair.run(1)

    assert pair.leader.host.name == leader.host.name
    assert pair.head().number > 1
    pair.run(6)
    assert len(pair.told) == 2


def test_who_has_taken_the_lock_and_cannot_lead_leaves_it_to_others(pair: Pair) -> None:
    leader = pair.leader
    other = pair.other(leader)
    pair.network.overcharged = {other.host.name}
    leader.host.kill()
    pair.run(4)
    assert not other.leads
    assert other.status is not None
    assert other.status.takeovers_total == 0
    pair.start(leader.host.name)
    pair.run(1)

    assert pair.leader.host.name == leader.host.name
