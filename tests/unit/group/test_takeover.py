"""Taking the lock where answers are lost, and reading what waits."""

from __future__ import annotations

import pytest

from hsm_agent.group.keys import BeatRecord, GroupKeys, HeadRecord, LockRecord, Seen, read_record, record_bytes
from hsm_agent.group.lead import Candidate
from hsm_agent.group.takeover import read_head, take_lock
from hsm_agent.net.etcd_messages import EtcdUnavailable, Put
from tests.fakes.simulated_etcd import SimulatedEtcd
from tests.fakes.virtual_hosts import World
from tests.unit.group.test_fence import ScriptedEtcd

KEYS = GroupKeys("pair")
ME = Candidate(name="a", instance="1", lease_seconds=2.0, sinks=frozenset({"siem", "nms"}))
NOBODY: Seen[LockRecord] = Seen(at=1.0)
SILENCE: Seen[BeatRecord] = Seen(at=1.0)


async def take(client: ScriptedEtcd, lock: Seen[LockRecord] = NOBODY) -> int:
    """The epoch; 0 where the lock was not taken."""
    tenure = await take_lock(
        client, KEYS, ME, lock=lock, beat=SILENCE, clock=iter(range(100, 200)).__next__, wall=lambda: 1.8e9
    )
    return 0 if tenure is None else tenure.epoch


async def test_the_lock_says_who_leads_and_with_which_sinks() -> None:
    etcd = SimulatedEtcd(World())
    epoch = await take(ScriptedEtcd(etcd))

    entry = etcd.entries[KEYS.lock]
    assert epoch == entry.mod_revision
    assert read_record(LockRecord, entry) == LockRecord(
        name="a", instance="1", lease_seconds=2.0, sinks=["nms", "siem"]
    )


async def test_a_lock_that_is_another_one_than_was_seen_is_not_taken() -> None:
    etcd = SimulatedEtcd(World())
    await take(ScriptedEtcd(etcd))

    assert await take(ScriptedEtcd(etcd)) == 0


async def test_where_the_answer_was_lost_the_lock_is_looked_for() -> None:
    etcd = SimulatedEtcd(World())

    assert await take(ScriptedEtcd(etcd, "answer lost")) == etcd.entries[KEYS.lock].mod_revision


async def test_where_it_was_not_done_yet_nobody_leads_by_it() -> None:
    etcd = SimulatedEtcd(World())
    client = ScriptedEtcd(etcd, "late")
    assert await take(client) == 0
    client.late[0]()

    assert await take(client) == 0  # it is found in the lock at the next look, and taken anew


async def test_a_lock_that_was_ours_before_is_no_proof() -> None:
    etcd = SimulatedEtcd(World())
    epoch = await take(ScriptedEtcd(etcd))
    seen = Seen(record=None, mod_revision=epoch, at=1.0)

    assert await take(ScriptedEtcd(etcd, "late"), lock=seen) == 0


async def test_a_lock_that_cannot_be_read_is_not_ours() -> None:
    etcd = SimulatedEtcd(World())
    etcd.transact("x", (), [Put(key=KEYS.lock, value=b"?")], ())

    assert await take(ScriptedEtcd(etcd, "late")) == 0


async def test_what_was_never_sent_was_not_done() -> None:
    with pytest.raises(EtcdUnavailable):
        await take(ScriptedEtcd(SimulatedEtcd(World()), "unreached"))


async def test_the_head_is_read_with_its_revision() -> None:
    etcd = SimulatedEtcd(World())
    client = ScriptedEtcd(etcd)
    assert await read_head(client, KEYS) == (None, 0)
    head = HeadRecord(id="x", number=4, time=1.0)
    revision = etcd.transact("x", (), [Put(key=KEYS.head, value=record_bytes(head))], ()).revision
    assert await read_head(client, KEYS) == (head, revision)
    revision = etcd.transact("x", (), [Put(key=KEYS.head, value=b"?")], ()).revision

    assert await read_head(client, KEYS) == (None, revision)
