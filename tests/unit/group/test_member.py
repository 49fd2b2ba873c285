"""Members of a group as they run, in simulated time: who leads, and what becomes of what they commit."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from hsm_agent.group.keys import GroupKeys, HeadRecord, read_record
from tests.fakes.simulated_etcd import Network, SimulatedEtcd
from tests.fakes.simulated_member import DiskOfMember, Settings, SimulatedMember, Told
from tests.fakes.virtual_hosts import World

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = GroupKeys("pair")


class Pair:
    """Two members, or more, and what they do."""

    def __init__(self, *names: str, seed: int = 1, settings: Settings | None = None) -> None:
        self.world = World()
        self.etcd = SimulatedEtcd(self.world)
        self.network = Network()
        self.random = Random(seed)
        self.settings = settings or Settings()
        self.told: list[Told] = []
        self.members: dict[str, SimulatedMember] = {}
        self.raised: list[str] = []
        for name in names:
            self.start(name)

    def start(self, name: str, *, speed: float = 1.0, **options: object) -> SimulatedMember:
        before = self.members.get(name)
        member = SimulatedMember(
            self.world.host(name, speed=speed),
            self.etcd,
            self.network,
            self.random,
            disk=before.disk if before is not None else DiskOfMember(),
            told=self.told,
            **{"settings": self.settings, **options},  # type: ignore[arg-type]
        )
        self.members[name] = member
        member.start()
        return member

    def run(self, seconds: float) -> None:
        self.world.run(seconds)
        failures = [*self.world.failures, *(error for host in self.world.hosts for error in host.failures())]
        assert failures == []

    def cross(self, event_id: str) -> None:
        """A threshold is crossed, and both agents read it at their polls until one has judged it."""
        self.raised.append(event_id)
        for name in self.members:
            self._poll(name, event_id)

    def _poll(self, name: str, event_id: str) -> None:
        if self.world.is_over or (member := self.members.get(name)) is None:
            return
        if member.host.is_alive and not member.host.is_paused:
            member.host.start(member.raise_alarm(event_id))
        self.world.later(1.0, lambda: self._poll(name, event_id))

    @property
    def leader(self) -> SimulatedMember:
        (one,) = (member for member in self.members.values() if member.leads)
        return one

    def other(self, member: SimulatedMember) -> SimulatedMember:
        (one,) = (each for each in self.members.values() if each is not member)
        return one

    def takeover_seconds(self, most: float) -> float:
        """How long it takes until one leads."""
        began = self.world.now
        while not any(member.leads for member in self.members.values()):
            assert self.world.now - began < most, "nobody leads"
            self.run(0.05)
        return self.world.now - began

    def head(self) -> HeadRecord:
        return read_record(HeadRecord, self.etcd.entries[KEYS.head])

    def stored(self, kind: str) -> list[str]:
        prefix = KEYS.prefix + kind.encode() + b"/"
        return [key.removeprefix(prefix).decode() for key in self.etcd.entries if key.startswith(prefix)]


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair("a", "b")
    yield pair
    pair.world.close()


def test_one_of_two_leads_and_the_other_follows(pair: Pair) -> None:
    pair.run(6)
    leader = pair.leader
    pair.cross("e1")
    pair.run(3)

    assert sorted((each.sink, each.by) for each in pair.told) == [("nms", leader.host.name), ("siem", leader.host.name)]
    assert pair.other(leader).disk.states == leader.disk.states == {'["watch","s","r","m",[],"e1"]': leader.host.name}
    assert pair.stored("event") == pair.stored("wait") == []
    assert pair.other(leader).disk.waiting == {}
    status = pair.other(leader).status
    assert status is not None
    assert (status.leader, status.is_caught_up, status.problem) == (leader.host.name, True, "")
    assert {each.name: each.role.value for each in status.members} == {
        leader.host.name: "leader",
        pair.other(leader).host.name: "standby",
    }


def test_when_the_leader_is_killed_the_other_leads_within_a_lease_and_tells_the_rest(pair: Pair) -> None:
    pair.run(6)
    leader = pair.leader
    other = pair.other(leader)
    pair.world.later(0.0, lambda: pair.cross("e1"))
    pair.run(0.03)
    leader.host.kill()
    taken = pair.takeover_seconds(4)
    pair.run(4)

    assert taken <= pair.settings.lease + 1
    assert other.leads
    assert {(each.event_id, each.sink) for each in pair.told} == {("e1", "nms"), ("e1", "siem")}
    assert pair.stored("event") == pair.stored("wait") == []


def test_a_leader_that_was_paused_tells_nothing_after_waking(pair: Pair) -> None:
    pair.run(6)
    leader = pair.leader
    leader.host.is_paused = True
    pair.run(5)
    pair.cross("e1")
    pair.run(2)
    told = len(pair.told)
    leader.host.is_paused = False
    pair.run(3)

    assert told == len(pair.told) == 2
    assert {each.by for each in pair.told} == {pair.other(leader).host.name}
    assert leader.status is not None
    assert leader.status.role.value == "standby"
    assert leader.status.is_caught_up
    assert leader.disk.states == pair.other(leader).disk.states


def test_a_leader_that_stops_lets_the_other_lead_at_once(pair: Pair) -> None:
    pair.run(6)
    leader = pair.leader
    leader.host.start(leader.member.drain(2.0))
    taken_at = None
    for _ in range(40):
        pair.run(0.05)
        if pair.other(leader).leads:
            taken_at = pair.world.now
            break

    assert taken_at is not None
    assert taken_at < 7.0


def test_a_restarted_leader_leads_again_at_once(pair: Pair) -> None:
    pair.run(6)
    leader = pair.leader
    pair.other(leader).host.kill()
    pair.cross("e1")
    pair.run(3)
    leader.host.kill()
    pair.run(1)
    pair.start(leader.host.name)
    del pair.members[pair.other(pair.members[leader.host.name]).host.name]

    assert pair.takeover_seconds(2) < 0.5


def test_while_every_server_is_down_both_are_alone_and_merge_afterwards(pair: Pair) -> None:
    pair.run(6)
    leader = pair.leader
    other = pair.other(leader)
    pair.cross("e1")
    pair.run(2)
    pair.etcd.is_down = True
    pair.run(16)
    assert leader.leads
    assert other.leads
    pair.cross("e2")
    pair.run(3)
    assert {each.by for each in pair.told if each.event_id == "e2"} == {"a", "b"}
    pair.etcd.is_down = False
    pair.run(8)

    assert pair.leader is leader
    assert leader.replica.merged_by in ([], [other.host.name])
    assert other.replica.merged_by[-1] == leader.host.name
    assert other.disk.states == leader.disk.states
    assert set(pair.stored("state")) == set(leader.disk.states)


def test_what_was_wiped_from_etcd_is_put_there_again(pair: Pair) -> None:
    pair.run(6)
    leader = pair.leader
    pair.cross("e1")
    pair.run(3)
    number = pair.head().number
    pair.etcd.is_down = True
    pair.run(3)
    pair.etcd.wipe()
    pair.etcd.is_down = False
    pair.run(8)

    assert pair.leader.host.name == leader.host.name
    assert pair.stored("state") == ['["watch","s","r","m",[],"e1"]']
    assert pair.head().number > number
    assert pair.other(leader).disk.states == leader.disk.states
    status = pair.other(leader).status
    assert status is not None
    assert status.is_caught_up


def test_who_is_cut_off_is_isolated_and_holds(pair: Pair) -> None:
    pair.run(6)
    leader = pair.leader
    pair.network.cut.add(leader.host.name)
    taken = None
    for _ in range(100):
        pair.run(0.05)
        if pair.other(leader).leads and taken is None:
            taken = pair.world.now - 6
            assert not leader.spool.may_tell()
    pair.cross("e1")
    pair.run(12)

    assert taken is not None
    assert taken <= pair.settings.lease + 1
    assert leader.status is not None
    assert leader.status.role.value == "isolated"
    assert {each.by for each in pair.told} == {pair.other(leader).host.name}
    pair.network.cut.clear()
    pair.run(4)
    status = leader.status
    assert status is not None
    assert (status.role.value, status.is_caught_up) == ("standby", True)
    assert leader.disk.states == pair.other(leader).disk.states


def test_what_was_accepted_while_etcd_did_not_answer_is_not_told_again_by_the_same_agent(pair: Pair) -> None:
    pair.run(6)
    leader = pair.leader
    pair.other(leader).host.kill()
    del pair.members[pair.other(leader).host.name]
    pair.cross("e1")
    for _ in range(1000):
        if leader.disk.waiting:
            break
        pair.run(0.002)
    pair.network.cut.add(leader.host.name)
    pair.run(8)
    assert not leader.leads
    assert pair.stored("wait")
    pair.network.cut.clear()
    pair.takeover_seconds(6)
    pair.run(3)

    assert sorted((each.event_id, each.sink) for each in pair.told) == [("e1", "nms"), ("e1", "siem")]
    assert pair.stored("event") == pair.stored("wait") == []
