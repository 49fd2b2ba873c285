"""Followers, members and probes against real etcds: killed, compacted, wiped, without room, without a quorum."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.group.changes import content_of_keys, deletes_of, puts_of
from hsm_agent.group.evidence import Quorum, Standing, quorum_of, standing_of
from hsm_agent.group.follow import Follower
from hsm_agent.group.keys import BeatRecord, GroupKeys, HeadRecord, LockRecord, MemberRecord, record_bytes
from hsm_agent.group.members import Members
from hsm_agent.group.probe import Probe
from hsm_agent.model import Event, EventKind, GroupRole, Severity
from hsm_agent.net.etcd import EtcdClient
from hsm_agent.net.etcd_messages import EtcdUnavailable, Put
from hsm_agent.net.etcd_settings import EtcdSettings
from hsm_agent.spool.shared import Addressed, Left, SharedContent
from tests.fakes.copied import CopiedReplica
from tests.peers.etcd import EtcdCluster, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEYS = GroupKeys("emea")
LEASE_SECONDS = 2.0


async def settings_of(cluster: EtcdCluster, **changes: Any) -> EtcdSettings:
    return await asyncio.to_thread(EtcdSettings.model_validate, settings(cluster, timeout="500ms") | changes)


@asynccontextmanager
async def client_of(cluster: EtcdCluster, **changes: Any) -> AsyncIterator[EtcdClient]:
    client = EtcdClient(await settings_of(cluster, **changes))
    try:
        yield client
    finally:
        await client.close()


class Leader:
    """Writes as one does, and again until it is written."""

    def __init__(self, client: EtcdClient) -> None:
        self.client = client
        self.number = 0
        self.waiting: list[Left] = []

    async def put(self, *puts: Put, deletes: tuple[bytes, ...] = ()) -> int:
        async with asyncio.timeout(20):
            while True:
                try:
                    return (await self.client.transaction(puts=puts, deletes=deletes)).revision
                except EtcdUnavailable:
                    await asyncio.sleep(0.05)

    async def begin(self) -> None:
        lock = LockRecord(name="ann", instance="i", lease_seconds=LEASE_SECONDS, sinks=["noc"])
        await self.put(Put(key=KEYS.lock, value=record_bytes(lock)))

    async def beat(self) -> int:
        return await self.put(Put(key=KEYS.beat, value=record_bytes(BeatRecord(time=time.time(), epoch=2))))

    async def commit(self) -> int:
        self.number += 1
        event = Event(
            event_id=f"e{self.number}", kind=EventKind.RAISED, severity=Severity.MAJOR, time=1.0, text="é" * 500,
            agent="ann", alarm_id=f"a{self.number}",
        )  # fmt: skip
        addressed = Addressed(event=event, sinks=("noc", "siem"), begins=("noc", "siem"))
        head = HeadRecord(id=f"h{self.number}", number=self.number, time=time.time())
        row = Put(key=KEYS.state(f'["track",{self.number % 7}]'), value=b"x" * 2000)
        self.waiting += [
            Left(sink=sink, event_id=event.event_id, told=True, ended_alarm_id=event.alarm_id)
            for sink in addressed.sinks
        ]
        return await self.put(
            *puts_of(KEYS, addressed, (2, self.number)), row, Put(key=KEYS.head, value=record_bytes(head))
        )

    async def accept(self) -> None:
        left = self.waiting.pop(0)
        is_last = all(each.event_id != left.event_id for each in self.waiting)
        await self.put(deletes=tuple(deletes_of(KEYS, left, is_last=is_last)))


class Follow:
    """A follower of a cluster, with its replica; `async with` runs it."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self.cluster = cluster
        self.replica = CopiedReplica()
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> Follower:
        client = await self.stack.enter_async_context(client_of(self.cluster))
        self.follower = Follower(
            client, KEYS, self.replica, progress=self.replica.progress, idle_seconds=LEASE_SECONDS,
            retry_seconds=LEASE_SECONDS / 8, on_seen=lambda: None, clock=time.monotonic, wall=time.time,
            may_follow=lambda follower: follower.head.record is not None and follower.head.record.whole,
        )  # fmt: skip
        task = asyncio.create_task(self.follower.run())

        async def stop() -> None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        self.stack.push_async_callback(stop)
        return self.follower

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()


def comparable(content: SharedContent) -> object:
    return content.states, {each.event.event_id: sorted(each.sinks) for each in content.events}, content.sequences


async def assert_equal(follow: Follow, client: EtcdClient) -> None:
    found = await client.read_all(KEYS.prefix, end=KEYS.end)
    there = content_of_keys(KEYS, found.entries)
    assert comparable(await follow.replica.content()) == comparable(there.content)
    assert there.refused == ()


async def test_a_follower_holds_what_is_committed_over_the_death_of_every_member(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path, members=3) as cluster, client_of(cluster) as client:
        leader, follow = Leader(client), Follow(cluster)
        await leader.begin()
        await leader.commit()
        async with follow as follower:
            for member in cluster.members:
                for _ in range(5):
                    await leader.commit()
                    await leader.accept()
                await member.kill()
                for _ in range(5):
                    await leader.commit()
                await follower.catch_up_to(await leader.beat(), seconds=10)
                await member.start()
                await cluster.until_ready()
            await follower.catch_up_to(await leader.beat(), seconds=10)
            await assert_equal(follow, client)
            assert follow.replica.merged_by == ["ann"]  # read as a whole once
            assert follower.clock_offset_seconds is not None
            assert abs(follower.clock_offset_seconds) < 1


async def test_a_follower_that_was_away_goes_on_and_reads_all_where_history_is_gone(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        leader, follow = Leader(client), Follow(cluster)
        await leader.begin()
        for _ in range(300):
            await leader.commit()
        async with follow as follower:
            await follower.catch_up_to(await leader.beat(), seconds=10)
        for _ in range(1200):  # more revisions than etcd sends at once
            await leader.accept() if len(leader.waiting) > 200 else await leader.commit()
        last = await leader.beat()
        async with follow as follower:
            began = time.monotonic()
            await follower.catch_up_to(last, seconds=20)
            print(f"1201 revisions in {time.monotonic() - began:.2f} s")
        await assert_equal(follow, client)
        assert follow.replica.merged_by == ["ann"]

        await leader.commit()
        await cluster.ctl("compaction", str(await leader.commit()))
        async with follow as follower:
            await follower.catch_up_to(await leader.beat(), seconds=10)
        await assert_equal(follow, client)
        assert follow.replica.merged_by == ["ann", None]


async def test_an_etcd_that_was_wiped_is_known_for_one_though_its_name_is_the_same(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        leader, follow = Leader(client), Follow(cluster)
        await leader.begin()
        for _ in range(5):
            await leader.commit()
        async with follow as follower:
            await follower.catch_up_to(await leader.beat(), seconds=10)
            cluster_id = (await client.range(KEYS.head)).cluster_id
            held = comparable(await follow.replica.content())
            await cluster.members[0].stop()
            shutil.rmtree(tmp_path / cluster.members[0].name)
            await cluster.members[0].start()
            await cluster.until_ready()
            async with asyncio.timeout(10):
                while follower.lock.mod_revision:
                    await asyncio.sleep(0.05)
            assert (await client.range(KEYS.head)).cluster_id == cluster_id
            assert (follower.is_caught_up, comparable(await follow.replica.content())) == (False, held)

            leader = Leader(client)
            await leader.begin()
            for _ in range(20):  # beyond the revision that the follower had seen
                await leader.commit()
            await follower.catch_up_to(await leader.beat(), seconds=10)
            await assert_equal(follow, client)


async def standings(probe: Probe) -> list[Standing]:
    return [standing_of(each, clock_is_sound=True) for each in (await probe.ask()).values()]


async def test_what_each_member_proves_while_others_die_and_freeze(tmp_path: Path) -> None:
    works, down, unproven = Standing.WORKS, Standing.DOWN, Standing.UNPROVEN
    async with EtcdCluster(tmp_path, members=3) as cluster, client_of(cluster) as client:
        probe = Probe(await settings_of(cluster), KEYS)
        revision = await client.put(b"/other", b"1")
        assert await standings(probe) == [works] * 3
        assert (await client.range(b"/other")).revision == revision  # nothing was written

        first, second, third = cluster.members
        os.kill(first.pid, signal.SIGSTOP)
        os.kill(second.pid, signal.SIGSTOP)
        await asyncio.sleep(2)
        began = time.monotonic()
        found = await probe.ask()
        assert time.monotonic() - began < 4 * 0.5 + 0.3
        silent = {endpoint: standing_of(each, clock_is_sound=True) for endpoint, each in found.items()}
        assert [silent[each.endpoint] for each in (first, second)] == [unproven] * 2
        assert quorum_of(silent) is Quorum.UNKNOWN
        os.kill(first.pid, signal.SIGCONT)
        os.kill(second.pid, signal.SIGCONT)
        await cluster.until_ready()

        await first.kill()
        await second.kill()
        async with asyncio.timeout(10):
            while await standings(probe) != [down] * 3:
                await asyncio.sleep(0.1)
        await first.start()
        async with asyncio.timeout(10):
            while works not in await standings(probe):
                await asyncio.sleep(0.1)
        assert third.pid
        await probe.close()


async def test_a_database_without_room_serves_no_leader(tmp_path: Path) -> None:
    async with (
        EtcdCluster(tmp_path, options={"quota-backend-bytes": "1048576"}) as cluster,
        client_of(cluster) as client,
    ):
        probe = Probe(await settings_of(cluster), KEYS)
        with suppress(EtcdUnavailable):
            for number in range(10):
                await client.put(b"/f/%d" % number, b"x" * 600_000)

        assert (await client.range(b"/f/0")).entries  # it can be read
        assert await standings(probe) == [Standing.DOWN]
        await probe.close()


async def test_a_member_goes_with_its_lease_and_another_of_its_name_waits(tmp_path: Path) -> None:
    def made(client: EtcdClient, instance: str) -> Members:
        record = MemberRecord(name="ann", instance=instance, role=GroupRole.STANDBY, time=1.0)
        return Members(client, KEYS, describe=lambda: record, clock=time.monotonic)

    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        first, second = made(client, "i"), made(client, "j")
        await first.once()
        await first.once()
        await second.once()
        assert (first.problem, second.is_taken) == ("", True)
        await cluster.ctl("lease", "revoke", f"{(await client.range(KEYS.member('ann'))).entries[0].lease:x}")
        await second.once()
        await first.once()
        assert (first.is_taken, second.is_taken) == (True, False)
        await second.withdraw()
        assert (await client.range(KEYS.member("ann"))).entries == ()


@pytest.mark.parametrize("seconds", [0.3])
async def test_a_probe_waits_no_longer_than_it_says(tmp_path: Path, seconds: float) -> None:
    async with EtcdCluster(tmp_path) as cluster:
        probe = Probe(await settings_of(cluster, timeout=f"{seconds * 1000:.0f}ms"), KEYS)
        assert await standings(probe) == [Standing.WORKS]
        os.kill(cluster.members[0].pid, signal.SIGSTOP)
        began = time.monotonic()
        assert await standings(probe) == [Standing.UNPROVEN]
        assert time.monotonic() - began < 4 * seconds + 0.3
        os.kill(cluster.members[0].pid, signal.SIGCONT)
        await probe.close()
