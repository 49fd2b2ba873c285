"""The client of etcd against real ones: one member, three, without a quorum, without room."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from hsm_agent.net.etcd_messages import (
    AnswerTooLong,
    Compacted,
    Compare,
    EndpointDown,
    EtcdRefused,
    EtcdUnavailable,
    LeaseGone,
    NoProof,
    Put,
    prefix_end,
)
from tests.peers.etcd import EtcdCluster
from tests.peers.etcd_client import client_of

if TYPE_CHECKING:
    from pathlib import Path


async def test_all_that_can_be_asked_of_one_member(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        first = await client.put(b"/f/a", b"\x00\xff")
        lease = await client.grant(30)
        await client.put(b"/f/b", b"", lease=lease)
        await client.keep_alive(lease)

        page = await client.range(b"/f/", end=prefix_end(b"/f/"), limit=1)
        rest = await client.range(b"/f/a\0", end=prefix_end(b"/f/"), keys_only=True, revision=page.revision)
        assert [(each.key, each.value, each.mod_revision, each.lease) for each in page.entries + rest.entries] == [
            (b"/f/a", b"\x00\xff", first, 0),
            (b"/f/b", b"", first + 1, lease),
        ]
        assert (page.more, rest.more) == (True, False)
        assert (await client.range(b"/f/none")).entries == ()

        fence = Compare(key=b"/f/lock", mod_revision=0)
        new = Put(key=b"/f/lock", value=b"1")
        done = await client.transaction(compares=[fence], puts=[new], deletes=[b"/f/a", b"/f/none"])
        again = await client.transaction(compares=[fence], puts=[new])
        assert (done.succeeded, again.succeeded) == (True, False)
        held = Compare(key=b"/f/lock", mod_revision=done.revision)
        assert (await client.transaction(compares=[held], deletes=[b"/f/lock"])).succeeded

        await client.revoke(lease)
        assert (await client.range(b"/f/", end=prefix_end(b"/f/"))).entries == ()
        with pytest.raises(LeaseGone):
            await client.keep_alive(lease)
        with pytest.raises(LeaseGone):
            await client.revoke(lease)
        with pytest.raises(LeaseGone):
            await client.put(b"/f/b", b"", lease=lease)
        await client.put(b"/f/c", b"1")
        assert (await client.delete(b"/f/c"), await client.delete(b"/f/c")) == (1, 0)


async def test_its_limits_are_ours_and_history_that_was_compacted_is_told(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        many = [Put(key=b"/f/%03d" % number, value=b"x") for number in range(129)]
        assert (await client.transaction(puts=many[:128])).succeeded
        with pytest.raises(EtcdRefused, match="too large: a transaction of 129 operations, and etcd takes 128 at once"):
            await client.transaction(puts=many)
        with pytest.raises(EtcdRefused, match="duplicate key"):
            await client.transaction(puts=[many[0], many[0]])

        largest = b"x" * (1536 * 1024 - 200)
        await client.put(b"/f/large", largest)
        assert (await client.range(b"/f/large")).entries[0].value == largest
        with pytest.raises(EtcdRefused, match="etcd takes 1572864"):
            await client.put(b"/f/large", largest + b"x" * 200)
        await client.put(b"/f/large2", largest)
        with pytest.raises(AnswerTooLong):
            await client.range(b"/f/l", end=b"/f/m")
        assert len((await client.range(b"/f/l", end=b"/f/m", keys_only=True)).entries) == 2

        revision = await client.put(b"/f/now", b"1")
        await cluster.ctl("compaction", str(revision))
        with pytest.raises(Compacted):
            await client.range(b"/f/now", revision=revision - 1)


async def test_a_lease_that_nobody_keeps_takes_its_keys_along(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        lease = await client.grant(1)
        await client.put(b"/f/a", b"1", lease=lease)
        async with asyncio.timeout(10):
            while (await client.range(b"/f/a")).entries:
                await asyncio.sleep(0.1)
        with pytest.raises(LeaseGone):
            await client.keep_alive(lease)


async def test_a_database_without_room_takes_no_writes_and_says_so(tmp_path: Path) -> None:
    async with (
        EtcdCluster(tmp_path, options={"quota-backend-bytes": "1048576"}) as cluster,
        client_of(cluster) as client,
    ):
        for number in range(10):
            try:
                await client.put(b"/f/%d" % number, b"x" * 600_000)
            except EtcdUnavailable as caught:
                trouble = caught
                break
        else:
            pytest.fail("it had room for all")

        assert [type(each) for each in trouble.troubles.values()] == [EndpointDown]
        assert "database space exceeded" in str(trouble)
        assert (await client.range(b"/f/0")).entries


async def test_a_leader_that_dies_a_member_that_freezes_and_a_minority(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path, members=3) as cluster, client_of(cluster, timeout="1s") as client:
        await client.put(b"/f/a", b"1")
        leader = await cluster.leader()
        await leader.kill()
        written = asyncio.get_running_loop().time()
        async with asyncio.timeout(10):
            while True:
                try:
                    await client.put(b"/f/a", b"2")
                    break
                except EtcdUnavailable:
                    await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - written < 5
        await leader.start()
        await cluster.until_ready()

        frozen = cluster.members[0]
        os.kill(frozen.pid, signal.SIGSTOP)
        async with client_of(cluster, timeout="500ms") as patient, asyncio.timeout(10):
            while True:
                try:
                    await patient.range(b"/f/a")
                    break
                except EtcdUnavailable as unavailable:
                    assert isinstance(unavailable.troubles[frozen.endpoint], NoProof)
        os.kill(frozen.pid, signal.SIGCONT)

        await cluster.members[1].kill()
        await cluster.members[2].kill()
        async with asyncio.timeout(10):
            while True:
                with pytest.raises(EtcdUnavailable) as caught:
                    await client.put(b"/f/a", b"3")
                if all(isinstance(each, EndpointDown) for each in caught.value.troubles.values()):
                    break
        assert len(caught.value.troubles) == 3
        assert "no leader" in str(caught.value)
