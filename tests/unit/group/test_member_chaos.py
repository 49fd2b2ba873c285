"""Members in simulated time, with everything that can go wrong at random: what must never be, and what must be then.

Requests are lost, late and done twice; hosts are killed, paused and cut off; etcd dies for a while; clocks run up to
4 % fast or slow.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from hsm_agent.group.keys import GroupKeys
from tests.fakes.simulated_member import Settings
from tests.unit.group.test_member import Pair

KEYS = GroupKeys("pair")
SEEDS = range(16)
NAMES = ("a", "b", "c")
SECONDS = 45


class _Chaos:
    """One random history of a group."""

    def __init__(self, seed: int, *, pauses: bool = False, outages: bool = False, alone: bool = False) -> None:
        """`alone`: outages last so long that each judges for itself."""
        self.random = random = Random(seed)
        count = random.choice([2, 2, 3])
        self.pair = Pair(seed=seed, settings=Settings(lease=2.0, alone_after=3.0, alone="tell" if alone else "hold"))
        self.pair.network.delay_seconds = random.choice([0.002, 0.05, 0.2])
        self.pair.network.lost = random.choice([0.0, 0.05, 0.2])
        self.pair.network.late = random.choice([0.0, 0.02, 0.1])
        self.pair.network.twice = random.choice([0.0, 0.05])
        self.pauses, self.outages = pauses, outages or alone
        self.longest_outage_seconds = 12.0 if alone else 4.0
        self.speeds = {name: random.uniform(0.98, 1.02) for name in NAMES[:count]}
        for name, speed in self.speeds.items():
            self.pair.start(name, speed=speed)
        self.tellers = 0
        self.crossings = 0

    def check(self) -> None:
        """At every moment."""
        telling = [
            member.host.name
            for member in self.pair.members.values()
            if member.host.is_alive
            and not member.host.is_paused
            and member.spool.may_tell()
            and member.member.journal.shares
        ]
        assert len(telling) <= 1, f"{telling} tell at once, at {self.pair.world.now}"
        self.tellers = max(self.tellers, len(telling))

    def run(self) -> None:
        world, random = self.pair.world, self.random
        end = world.now + SECONDS
        while world.now < end:
            world.run(random.expovariate(1.0), check=None if self.pauses else self.check)
            random.choice([self.cross, self.cross, self.kill, self.hold, self.cut, self.down])()
        self.calm()

    def cross(self) -> None:
        self.crossings += 1
        self.pair.cross(f"e{self.crossings}")

    def kill(self) -> None:
        name = self.random.choice(list(self.speeds))
        member = self.pair.members[name]
        if member.host.is_alive:
            member.host.kill()
            self.pair.world.later(self.random.uniform(0.1, 8.0), lambda: self.revive(name))

    def revive(self, name: str) -> None:
        if not self.pair.members[name].host.is_alive:
            self.pair.start(name, speed=self.speeds[name])

    def hold(self) -> None:
        if self.pauses:
            host = self.pair.members[self.random.choice(list(self.speeds))].host
            host.is_paused = True
            self.pair.world.later(self.random.uniform(0.1, 6.0), lambda: setattr(host, "is_paused", False))

    def cut(self) -> None:
        name = self.random.choice(list(self.speeds))
        self.pair.network.cut.add(name)
        self.pair.world.later(self.random.uniform(0.1, 6.0), lambda: self.pair.network.cut.discard(name))

    def down(self) -> None:
        if self.outages:
            self.pair.etcd.is_down = True
            self.pair.world.later(
                self.random.uniform(0.1, self.longest_outage_seconds), lambda: setattr(self.pair.etcd, "is_down", False)
            )

    def calm(self) -> None:
        """All is well again: what was begun comes to its end."""
        self.pair.network.lost = self.pair.network.late = self.pair.network.twice = 0.0
        self.pair.run(60)

    def judge(self) -> None:
        pair = self.pair
        assert [*pair.world.failures, *(each for host in pair.world.hosts for each in host.failures())] == []
        # Nobody commits in an epoch of somebody else, and in an epoch one alone does.
        epoch, committed = 0, dict[int, set[str]]()
        heads = Counter[bytes]()
        holder = ""
        for written in pair.etcd.written:
            if any(put.key == KEYS.lock for put in written.puts):
                epoch, holder = written.revision, written.host
            for put in written.puts:
                if put.key == KEYS.head:
                    committed.setdefault(epoch, set()).add(written.host)
                    assert written.host == holder
                    heads[put.value] += 1
        assert all(len(hosts) == 1 for hosts in committed.values())
        assert set(heads.values()) == {1}, "a commit was applied twice"
        # What was committed is there, everywhere.
        leader = pair.leader
        states = {f'["watch","s","r","m",[],"e{number}"]' for number in range(1, self.crossings + 1)}
        assert set(leader.disk.states) == states == set(pair.stored("state"))
        for member in pair.members.values():
            assert member.disk.states == leader.disk.states
            assert member.disk.waiting == {}
        assert pair.stored("wait") == pair.stored("event") == []
        # And told, and judged once.
        told = {(each.event_id, each.sink) for each in pair.told}
        assert told == {(f"e{number}", sink) for number in range(1, self.crossings + 1) for sink in ("nms", "siem")}


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_one_alone_commits_in_an_epoch_and_all_is_told(seed: int) -> None:
    chaos = _Chaos(seed, pauses=seed % 2 == 1, outages=seed % 3 == 0, alone=seed % 4 == 3)
    try:
        chaos.run()
        chaos.judge()
    finally:
        chaos.pair.world.close()


@pytest.mark.parametrize("seed", range(8))
def test_a_takeover_takes_no_longer_than_a_lease_and_a_second(seed: int) -> None:
    """Killed at any moment, with clocks of different speed, and requests that take a while."""
    random = Random(seed)
    pair = Pair(seed=seed, settings=Settings(lease=2.0))
    pair.network.delay_seconds = random.choice([0.002, 0.05])
    for name in ("a", "b"):
        pair.start(name, speed=random.uniform(0.98, 1.02))
    try:
        pair.run(6)
        for _ in range(4):
            pair.run(random.uniform(0.0, 3.0))
            leader = pair.leader
            leader.host.kill()
            assert pair.takeover_seconds(6.0) <= pair.settings.lease + 1.0
            pair.start(leader.host.name, speed=leader.host.speed)
            pair.run(4)
    finally:
        pair.world.close()
