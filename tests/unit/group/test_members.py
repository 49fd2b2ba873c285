"""Members as they describe themselves: who is there, who was, and who has another's name."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from hsm_agent.group.keys import GroupKeys, MemberRecord, record_bytes
from hsm_agent.group.members import EVERY_SECONDS, MOST_MEMBERS, Members
from hsm_agent.model import GroupRole, MemberStatus
from hsm_agent.net.etcd_messages import EtcdUnavailable, NoProof, Put
from tests.fakes.etcd_store import EtcdStore, EtcdStoreClient

KEYS = GroupKeys("emea")
SILENCE = EtcdUnavailable({"http://a:2379": NoProof("no word")})


class Described:
    """A member, and what it says of itself."""

    def __init__(self, store: EtcdStore, name: str, *, instance: str = "", **changes: Any) -> None:
        self.now = 100.0
        self.client = EtcdStoreClient(store)
        self.record = MemberRecord(
            name=name, instance=instance or name, version="1.0", digest="d", role=GroupRole.STANDBY, time=1.0,
            sources_up=2, sources_expected=3, sinks=["noc"],
        )  # fmt: skip
        self.record = replace(self.record, **changes)
        self.members = Members(self.client, KEYS, describe=lambda: self.record, clock=lambda: self.now)

    def status(self, name: str) -> MemberStatus:
        return next(each for each in self.members.statuses() if each.name == name)


@pytest.fixture
def store() -> EtcdStore:
    return EtcdStore()


async def test_members_see_each_other_and_each_what_it_is_now(store: EtcdStore) -> None:
    ann = Described(store, "ann", role=GroupRole.LEADER)
    bob = Described(store, "bob", digest="other", clock_offset=-2.5)
    assert [each.name for each in ann.members.statuses()] == ["ann"]
    for each in (ann, bob, ann):
        await each.members.once()
    ann.now += 4
    ann.record = replace(ann.record, sources_up=3)

    assert ann.members.live() == (ann.record, bob.record)
    assert ann.members.statuses() == (
        MemberStatus(
            name="ann", role=GroupRole.LEADER, is_up=True, seconds_since_seen=0.0, version="1.0",
            sources_up=3, sources_expected=3, clock_offset_seconds=0.0,
        ),
        MemberStatus(
            name="bob", role=GroupRole.STANDBY, is_up=True, seconds_since_seen=4.0, version="1.0",
            sources_up=2, sources_expected=3, config_differs=True, clock_offset_seconds=2.5,
        ),
    )  # fmt: skip
    assert (ann.members.problem, ann.members.is_taken) == ("", False)
    assert bob.status("ann").clock_offset_seconds == -2.5


async def test_the_key_of_a_member_is_renewed_and_goes_with_it(store: EtcdStore) -> None:
    ann, bob = Described(store, "ann"), Described(store, "bob")
    await ann.members.once()
    lease = store.keys[KEYS.member("ann")].lease
    await ann.members.once()
    assert store.keys[KEYS.member("ann")].lease == lease != 0
    store.revoke(lease)  # as when nothing could be renewed for long
    assert KEYS.member("ann") not in store.keys
    await ann.members.once()
    assert store.keys[KEYS.member("ann")].lease != lease

    await bob.members.once()
    await ann.members.withdraw()
    assert KEYS.member("ann") not in store.keys
    bob.now += 5
    await bob.members.once()
    bob.now += 1
    assert (bob.status("ann").is_up, bob.status("ann").seconds_since_seen) == (False, 6.0)
    assert bob.members.live() == (bob.record,)
    await ann.members.withdraw()  # twice does no harm
    bob.now += 86400
    await bob.members.once()
    assert [each.name for each in bob.members.statuses()] == ["bob"]


async def test_who_is_away_can_be_forgotten_until_it_is_seen_again(store: EtcdStore) -> None:
    ann, bob = Described(store, "ann"), Described(store, "bob")
    for each in (bob, ann):
        await each.members.once()
    ann.members.forget("bob")  # it is there
    assert [each.name for each in ann.members.statuses()] == ["ann", "bob"]

    await bob.members.withdraw()
    ann.now += EVERY_SECONDS
    await ann.members.once()
    assert not ann.status("bob").is_up
    for name in ("bob", "nobody"):
        ann.members.forget(name)
    assert [each.name for each in ann.members.statuses()] == ["ann"]

    for each in (bob, ann):
        await each.members.once()
    assert ann.status("bob").is_up


async def test_a_withdrawal_after_the_lease_has_ended_is_one(store: EtcdStore) -> None:
    ann = Described(store, "ann")
    await ann.members.once()
    store.revoke(store.keys[KEYS.member("ann")].lease)

    await ann.members.withdraw()


async def test_who_cannot_ask_knows_of_nobody_that_he_is_there(store: EtcdStore) -> None:
    ann, bob = Described(store, "ann"), Described(store, "bob")
    for each in (ann, bob, ann):
        await each.members.once()
    ann.client.trouble = SILENCE
    with pytest.raises(EtcdUnavailable):
        await ann.members.once()
    assert ann.status("bob").is_up
    assert ann.members.problem == "no word"
    ann.now += 31

    assert (ann.status("bob").is_up, ann.status("ann").is_up) == (False, True)
    assert ann.members.live() == (ann.record,)


async def test_another_agent_of_the_same_name_is_found_out_and_leaves_its_place_when_it_goes(store: EtcdStore) -> None:
    first, second = Described(store, "ann", instance="i"), Described(store, "ann", instance="j")
    await first.members.once()
    await second.members.once()
    assert (first.members.is_taken, second.members.is_taken) == (False, True)
    assert second.members.problem.startswith("another agent is a member as ann too")
    await first.members.once()
    assert first.members.problem == ""

    await first.members.withdraw()
    await second.members.once()
    assert (second.members.is_taken, second.members.problem) == (False, "")
    restarted = Described(store, "ann", instance="j")
    await restarted.members.once()
    assert not restarted.members.is_taken


async def test_two_that_describe_themselves_at_once_are_told_apart(store: EtcdStore) -> None:
    first, second = Described(store, "ann", instance="i"), Described(store, "ann", instance="j")
    await asyncio.gather(first.members.once(), second.members.once())
    problems = [first.members.problem, second.members.problem]
    assert "" in problems
    assert any("has changed meanwhile" in each for each in problems)
    await asyncio.gather(first.members.once(), second.members.once())

    assert first.members.is_taken is not second.members.is_taken


async def test_what_is_no_member_is_passed_over_and_one_of_garbage_is_replaced(store: EtcdStore) -> None:
    ann = Described(store, "ann")
    stranger = record_bytes(replace(ann.record, name="eve"))
    puts = [
        Put(key=KEYS.member("ann"), value=b"garbage"), Put(key=KEYS.member("bob"), value=b"{"),
        Put(key=KEYS.member("carl"), value=stranger),
    ]  # fmt: skip
    store.do((), puts, ())
    await ann.members.once()

    assert [each.name for each in ann.members.statuses()] == ["ann"]
    assert store.keys[KEYS.member("ann")].value == record_bytes(ann.record)


async def test_their_number_is_bounded(store: EtcdStore) -> None:
    ann = Described(store, "ann")
    for batch in range(3):
        names = [f"m{batch}{number:02}" for number in range(MOST_MEMBERS)]
        puts = [Put(key=KEYS.member(name), value=record_bytes(replace(ann.record, name=name))) for name in names]
        store.do((), puts, [key for key in store.keys if key not in {put.key for put in puts}])
        ann.now += 5
        await ann.members.once()

    assert len(ann.members.statuses()) <= MOST_MEMBERS + 1
    assert {each.name[:2] for each in ann.members.live()} == {"an", "m2"}


async def test_it_is_said_again_every_few_seconds_whatever_went_wrong(store: EtcdStore, skipped_waits: None) -> None:
    ann = Described(store, "ann")
    ann.client.trouble = SILENCE
    task = asyncio.create_task(ann.members.run())
    await asyncio.sleep(EVERY_SECONDS / 2)
    assert ann.members.problem == "no word"
    ann.client.trouble = None
    await asyncio.sleep(EVERY_SECONDS)
    assert ann.members.problem == ""
    first = store.revision
    await asyncio.sleep(EVERY_SECONDS)
    assert store.revision == first + 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("strangers", "value", "problem"),
    [
        (MOST_MEMBERS, b"x", "not all members are seen: /hsm-agent/emea/member/ has more than 64 keys"),
        (3, b"x" * 1_400_000, "members are not seen: /hsm-agent/emea/member/ has values that no member writes; delete"),
    ],
)
async def test_a_member_is_there_whatever_strangers_write_before_it(
    store: EtcdStore, strangers: int, value: bytes, problem: str
) -> None:
    store.do((), [Put(key=KEYS.member(f"!{number}"), value=value) for number in range(strangers)], ())
    ann = Described(store, "ann")
    for _ in range(2):
        await ann.members.once()

    assert KEYS.member("ann") in store.keys
    assert ann.members.problem.startswith(problem)
