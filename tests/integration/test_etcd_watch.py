"""Watches of real etcds: in order, whole, from where one left off, over the death of what is watched."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from hsm_agent.net.etcd_messages import Compacted, EtcdUnavailable, NotPermitted, Put, prefix_end
from tests.peers.etcd import EtcdCluster
from tests.peers.etcd_client import client_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from hsm_agent.net.etcd import EtcdClient
    from hsm_agent.net.etcd_watch import EtcdWatch, WatchedRevision

END = prefix_end(b"/w/")


def watching(client: EtcdClient, since: int, *, idle_seconds: float = 5.0) -> AbstractAsyncContextManager[EtcdWatch]:
    return client.watch(b"/w/", end=END, since=since, idle_seconds=idle_seconds)


def shown(found: WatchedRevision) -> tuple[int, list[tuple[bytes, bytes | None]]]:
    changes = [(each.entry.key, None if each.is_deleted else each.entry.value) for each in found.changes]
    return found.revision, changes


async def test_revisions_come_in_order_each_whole_and_others_may_be_asked_meanwhile(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        first = await client.put(b"/w/a", b"1")
        await client.put(b"/x/a", b"elsewhere")

        async with watching(client, first) as watch:
            done = await client.transaction(puts=[Put(key=b"/w/b", value=b"\xff")], deletes=[b"/w/a"])
            assert shown(await watch.next()) == (first, [(b"/w/a", b"1")])
            assert shown(await watch.next()) == (done.revision, [(b"/w/b", b"\xff"), (b"/w/a", None)])
            last = await client.put(b"/w/a", b"2")
            assert shown(await watch.next()) == (last, [(b"/w/a", b"2")])
            assert watch.cluster_id == done.cluster_id != ""


async def test_what_etcd_divides_is_put_together(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        first = None
        for number in range(12):
            puts = [Put(key=b"/w/%d" % each, value=bytes([number]) * 100_000) for each in range(12)]
            done = await client.transaction(puts=puts)
            first = first or done.revision
        assert first is not None

        async with watching(client, first) as watch:
            for number in range(12):
                found = await watch.next()
                assert (found.revision, len(found.changes)) == (first + number, 12)
                assert {each.entry.value[:1] for each in found.changes} == {bytes([number])}

        whole = await client.read_all(b"/w/", end=END)
        assert [len(each.value) for each in whole.entries] == [100_000] * 12
        assert [each.key for each in whole.entries] == sorted(b"/w/%d" % each for each in range(12))


async def test_all_is_read_page_by_page_at_one_revision(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        for begin in range(0, 2500, 100):
            await client.transaction(
                puts=[Put(key=b"/w/%04d" % each, value=b"1") for each in range(begin, begin + 100)]
            )
        revision = await client.put(b"/w/0000", b"2")
        await client.put(b"/w/2499", b"later")

        found = await client.read_all(b"/w/", end=END, revision=revision)

        assert [each.key for each in found.entries] == [b"/w/%04d" % each for each in range(2500)]
        assert (found.entries[0].value, found.entries[-1].value, found.revision) == (b"2", b"1", revision)
        assert (await client.read_all(b"/none/", end=prefix_end(b"/none/"))).entries == ()


async def test_silence_compaction_and_the_end_of_a_member_end_a_watch(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path) as cluster, client_of(cluster) as client:
        revision = await client.put(b"/w/a", b"1")
        async with watching(client, revision + 1, idle_seconds=0.3) as watch:
            with pytest.raises(EtcdUnavailable, match="no word for"):
                await watch.next()

        last = await client.put(b"/w/a", b"2")
        await cluster.ctl("compaction", str(last))
        with pytest.raises(Compacted, match=f"from revision {last} on"):
            async with watching(client, revision) as watch:
                await watch.next()

        async with watching(client, last + 1) as watch:
            waiting = asyncio.create_task(watch.next())
            await cluster.members[0].stop()
            with pytest.raises(EtcdUnavailable):
                await waiting


async def test_a_member_that_loses_its_leader_ends_a_watch_and_another_goes_on_with_it(tmp_path: Path) -> None:
    async with EtcdCluster(tmp_path, members=3) as cluster, client_of(cluster, timeout="1s") as client:
        revision = await client.put(b"/w/a", b"1")
        async with watching(client, revision) as watch:
            await watch.next()
            watched = next(each for each in cluster.members if each.endpoint == watch.endpoint)
            others = [each for each in cluster.members if each is not watched]
            for each in others:
                os.kill(each.pid, signal.SIGSTOP)
            try:
                with pytest.raises(EtcdUnavailable, match="no leader"):
                    await watch.next()
            finally:
                for each in others:
                    os.kill(each.pid, signal.SIGCONT)
        await cluster.until_ready()
        os.kill(watched.pid, signal.SIGSTOP)
        try:
            later = await client.put(b"/w/a", b"2")
            async with watching(client, revision + 1) as again:
                assert shown(await again.next()) == (later, [(b"/w/a", b"2")])
                assert again.endpoint != watched.endpoint
        finally:
            os.kill(watched.pid, signal.SIGCONT)


async def test_a_token_that_ended_is_replaced_and_a_watch_outlives_its_own(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("correct horse", encoding="utf-8")
    who = {"user": "ann", "password": {"file": str(password)}}
    async with EtcdCluster(tmp_path, options={"auth-token-ttl": "1"}) as cluster:
        await cluster.protect({"ann": "correct horse"}, prefix="/w/")
        async with client_of(cluster, **who) as client, client_of(cluster, **who) as other:
            revision = await client.put(b"/w/a", b"1")
            await asyncio.sleep(2.2)  # the token has ended
            async with watching(client, revision) as watch:
                assert shown(await watch.next()) == (revision, [(b"/w/a", b"1")])
                await asyncio.sleep(2.2)
                later = await other.put(b"/w/a", b"2")
                assert shown(await watch.next()) == (later, [(b"/w/a", b"2")])

            with pytest.raises(NotPermitted):
                async with client.watch(b"/x/", end=prefix_end(b"/x/"), since=1, idle_seconds=1):
                    pytest.fail("what is not ours is watched")
