"""A follower holds what the leader committed, and knows what it has seen: over ends, compactions, other histories."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsm_agent.group.changes import content_of_keys, deletes_of, puts_of
from hsm_agent.group.follow import Follower
from hsm_agent.group.keys import BeatRecord, GroupKeys, HeadRecord, LockRecord, record_bytes
from hsm_agent.group.progress import Progress
from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.net.etcd_messages import Compacted, EtcdUnavailable, NoProof, Put
from hsm_agent.spool.shared import Addressed, Left, SharedContent
from tests.fakes.copied import CopiedReplica
from tests.fakes.etcd_store import EtcdStore, EtcdStoreClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

KEYS = GroupKeys("emea")
SILENCE = EtcdUnavailable({"http://a:2379": NoProof("no word for 3 s")})


class Leader:
    """Writes as one does."""

    def __init__(self, store: EtcdStore, name: str = "ann") -> None:
        self.store = store
        self.number = 0
        self.beats = 0
        self.waiting: list[Left] = []
        lock = LockRecord(name=name, instance="i", lease_seconds=3.0, sinks=["noc"])
        self.put(Put(key=KEYS.lock, value=record_bytes(lock)))
        self.epoch = store.revision

    def put(self, *puts: Put) -> None:
        assert self.store.do((), puts, ())

    def beat(self, time: float = 0.0) -> None:
        self.put(Put(key=KEYS.beat, value=record_bytes(BeatRecord(time=time, epoch=self.epoch))))

    def head(self, *, whole: bool = True) -> Put:
        self.number += 1
        record = HeadRecord(id=f"{self.epoch}-{self.number}", number=self.number, time=0.0, whole=whole)
        return Put(key=KEYS.head, value=record_bytes(record))

    def commit(self, *sinks: str, row: str = "r") -> None:
        event = Event(
            event_id=f"e{self.epoch}-{self.number}", kind=EventKind.RAISED, severity=Severity.MAJOR, time=1.0,
            text="t", agent="a", alarm_id=f"a{self.epoch}-{self.number}",
        )  # fmt: skip
        addressed = Addressed(event=event, sinks=sinks, begins=sinks)
        puts = puts_of(KEYS, addressed, (self.epoch, self.number))
        self.put(*puts, Put(key=KEYS.state(row), value=str(self.number).encode()), self.head())
        self.waiting += [
            Left(sink=sink, event_id=event.event_id, told=True, ended_alarm_id=event.alarm_id) for sink in sinks
        ]

    def accept(self) -> None:
        if self.waiting:
            left = self.waiting.pop(0)
            is_last = all(each.event_id != left.event_id for each in self.waiting)
            self.store.do((), (), deletes_of(KEYS, left, is_last=is_last))


class Standby:
    """A follower, its replica and its client."""

    def __init__(self, store: EtcdStore, *, may: Callable[[Follower], bool] | None = None) -> None:
        self.client = EtcdStoreClient(store)
        self.replica = CopiedReplica()
        self.now = 100.0
        self.wall = 1000.0
        self.seen = 0
        self._may = may or (lambda follower: follower.head.record is not None and follower.head.record.whole)
        self.follower = self.made(None)

    def made(self, progress: Progress | None) -> Follower:
        return Follower(
            self.client, KEYS, self.replica, progress=progress, may_follow=self._may, idle_seconds=3.0,
            retry_seconds=0.375, on_seen=self._on_seen, clock=lambda: self.now, wall=lambda: self.wall,
        )  # fmt: skip

    def _on_seen(self) -> None:
        self.seen += 1

    @asynccontextmanager
    async def following(self, progress: Progress | None = None) -> AsyncIterator[Follower]:
        self.follower = self.made(progress)
        task = asyncio.create_task(self.follower.run())
        try:
            yield self.follower
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(2000):
            if condition():
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"never: {self.follower.problem}")

    async def settled(self) -> None:
        """Until nothing moves any more."""
        for _ in range(50):
            await asyncio.sleep(0.01)

    async def content(self) -> SharedContent:
        return await self.replica.content()


def there(store: EtcdStore) -> SharedContent:
    return content_of_keys(KEYS, store.keys.values()).content


@pytest.fixture
def store() -> EtcdStore:
    return EtcdStore()


@pytest.fixture
def standby(store: EtcdStore, skipped_waits: None) -> Standby:
    return Standby(store)


async def test_all_is_read_once_and_then_what_changes(store: EtcdStore, standby: Standby) -> None:
    leader = Leader(store)
    leader.commit("noc", "siem")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        assert await standby.content() == there(store)
        assert standby.replica.merged_by == ["ann"]
        leader.commit("noc", row="s")
        leader.accept()
        leader.beat()
        await follower.catch_up_to(store.revision, seconds=1)

    assert await standby.content() == there(store)
    assert (standby.client.reads, len(standby.replica.changes)) == (1, 2)
    progress = standby.replica.progress
    assert progress == Progress(
        cluster_id=store.cluster_id, revision=store.revision - 1, head_id=f"{leader.epoch}-2", head_number=2
    )
    assert follower.progress is not None
    assert follower.progress.revision == store.revision  # the beat is held too, and need not be stored
    assert (follower.is_caught_up, follower.problem) == (False, "it does not follow")


async def test_who_was_there_before_goes_on_from_where_it_was(store: EtcdStore, standby: Standby) -> None:
    leader = Leader(store)
    leader.commit("noc")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
    leader.commit("siem")
    leader.accept()

    async with standby.following(standby.replica.progress) as follower:
        await standby.until(lambda: follower.is_caught_up)
        await standby.settled()

    assert await standby.content() == there(store)
    assert standby.client.reads == 1


@pytest.mark.parametrize(
    ("changes", "merged_by"),
    [
        ({"alone": True}, "ann"),
        ({"revision": 0}, None),
        ({"cluster_id": "7"}, "ann"),
        ({"revision": 1000}, "ann"),
        ({"head_id": "another"}, "ann"),
        ({"head_id": ""}, None),
    ],
)
async def test_another_history_is_read_as_a_whole(
    store: EtcdStore, standby: Standby, changes: dict[str, Any], merged_by: str | None
) -> None:
    leader = Leader(store)
    leader.commit("noc")
    keys: dict[str, Any] = {
        "cluster_id": store.cluster_id,
        "revision": store.revision,
        "head_id": f"{leader.epoch}-1",
    } | changes
    leader.commit("siem")

    async with standby.following(Progress(**keys, head_number=1, judged_at=7.5)) as follower:
        await standby.until(lambda: follower.is_caught_up)

    assert standby.replica.merged_by == [merged_by]
    assert await standby.content() == there(store)
    progress = standby.replica.progress
    assert progress is not None
    assert (progress.alone, progress.judged_at, progress.head_number) == (False, 7.5, 2)


async def test_history_that_is_kept_no_longer_is_no_reason_to_miss_anything(store: EtcdStore, standby: Standby) -> None:
    leader = Leader(store)
    leader.commit("noc")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        standby.client.end_watches(Compacted("compacted"))
        leader.commit("siem")
        await standby.until(lambda: standby.client.reads == 2)
        await follower.catch_up_to(store.revision, seconds=1)
        assert await standby.content() == there(store)
    leader.commit("mail")
    leader.commit("mail")
    store.compact()
    async with standby.following(standby.replica.progress) as follower:
        await standby.until(lambda: follower.is_caught_up)

    assert await standby.content() == there(store)
    assert standby.replica.merged_by == ["ann", None, None]


async def test_a_watch_that_ends_leaves_nobody_behind_and_silence_of_all_does(
    store: EtcdStore, standby: Standby
) -> None:
    leader = Leader(store)
    leader.commit("noc")
    async with standby.following() as follower:
        assert follower.lag_seconds() is None
        await standby.until(lambda: follower.is_caught_up)
        seen = standby.seen
        standby.client.end_watches(SILENCE)
        await standby.until(lambda: standby.client.watches == 2)
        assert (follower.is_caught_up, follower.lag_seconds(), standby.seen) == (True, 0.0, seen)

        standby.client.trouble = SILENCE
        standby.client.end_watches(SILENCE)
        await standby.until(lambda: not follower.is_caught_up)
        standby.now += 4
        assert follower.lag_seconds() == 4.0
        assert "no word" in follower.problem
        leader.commit("siem")
        standby.client.trouble = None
        await standby.until(lambda: follower.is_caught_up)
        assert follower.problem == ""

    assert await standby.content() == there(store)
    assert standby.client.reads == 1


async def test_nothing_is_taken_in_before_all_is_there_and_who_leads_is_seen(
    store: EtcdStore, standby: Standby
) -> None:
    """A leader puts into an empty etcd what it holds, in several transactions."""
    async with standby.following() as follower:
        await standby.until(lambda: follower.lock.at is not None)
        assert follower.lock.mod_revision == 0
        leader = Leader(store, "bob")
        leader.put(Put(key=KEYS.state("a"), value=b"1"), leader.head(whole=False))
        leader.put(Put(key=KEYS.sequence("noc", "a1"), value=b""))
        await standby.until(lambda: follower.head.mod_revision == leader.epoch + 1)
        await standby.settled()
        assert follower.lock.record is not None
        assert follower.lock.record.name == "bob"
        assert (follower.is_caught_up, standby.replica.merged_by) == (False, [])
        leader.put(leader.head())
        await standby.until(lambda: follower.is_caught_up)

    assert await standby.content() == there(store)
    assert standby.replica.merged_by == ["bob"]


async def test_what_was_put_back_is_not_followed_until_the_member_says_so(
    store: EtcdStore, skipped_waits: None
) -> None:
    may = True
    standby = Standby(store, may=lambda _: may)
    leader = Leader(store)
    for _ in range(3):
        leader.commit("noc")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        held = await standby.content()
        may = False
        leader.beat()
        await standby.until(lambda: not follower.is_caught_up)
        leader.commit("siem")
        await standby.settled()
        assert await standby.content() == held
        may = True
        leader.beat()
        await standby.until(lambda: follower.is_caught_up)

    assert await standby.content() == there(store)
    assert standby.client.reads == 1  # the history went on


async def test_a_cluster_that_began_anew_is_seen_as_it_is_and_its_revisions_are_not_the_old_ones(
    store: EtcdStore, standby: Standby
) -> None:
    leader = Leader(store)
    for _ in range(9):
        leader.commit("noc")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        held = await standby.content()
        standby.client.store = anew = EtcdStore()
        standby.client.end_watches(SILENCE)
        store.moved.set()
        await standby.until(lambda: follower.lock.mod_revision == 0)
        assert (follower.head.record, follower.is_caught_up) == (None, False)
        assert await standby.content() == held

        bob = Leader(anew, "bob")
        standby.replica.gate.clear()
        bob.commit("siem")
        with pytest.raises(TimeoutError):
            await follower.catch_up_to(anew.revision, seconds=1)
        standby.replica.gate.set()
        await follower.catch_up_to(anew.revision, seconds=1)

    assert await standby.content() == there(anew)


async def test_who_takes_over_another_history_waits_until_that_one_is_held(store: EtcdStore, standby: Standby) -> None:
    leader = Leader(store)
    for _ in range(9):
        leader.commit("noc")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        standby.client.store = anew = EtcdStore()
        Leader(anew, "bob").commit("siem")
        standby.replica.gate.clear()
        standby.client.end_watches(SILENCE)
        store.moved.set()
        await standby.until(lambda: standby.client.reads == 2)
        with pytest.raises(TimeoutError):
            await follower.catch_up_to(anew.revision, seconds=1)
        standby.replica.gate.set()
        await follower.catch_up_to(anew.revision, seconds=1)

    assert await standby.content() == there(anew)


async def test_a_change_that_cannot_be_told_from_its_keys_is_a_reason_to_read_all(
    store: EtcdStore, standby: Standby
) -> None:
    leader = Leader(store)
    leader.commit("noc")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        leader.put(Put(key=KEYS.sequence("siem", "old"), value=b""), leader.head())
        await standby.until(lambda: standby.client.reads == 2 and follower.is_caught_up)

    assert ("siem", "old") in standby.replica.sequences


async def test_what_nobody_can_read_is_passed_over_and_logged_once(
    store: EtcdStore, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    leader = Leader(store)
    leader.commit("noc")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        for _ in range(2):
            leader.put(Put(key=KEYS.event("bad"), value=b"{"), Put(key=KEYS.wait("noc", "bad"), value=b""))
        leader.put(Put(key=KEYS.beat, value=b"garbage"))
        leader.commit("noc", row="s")
        await follower.catch_up_to(store.revision, seconds=1)
        assert (follower.beat.record, follower.beat.mod_revision) == (None, store.revision - 1)

    assert standby.replica.states["s"] == "1"
    assert "bad" not in standby.replica.events
    told = [record.getMessage().partition("write: ")[2].partition(": ")[0] for record in caplog.records]
    assert sorted(filter(None, told)) == ["/hsm-agent/emea/beat", "/hsm-agent/emea/event/bad"]


async def test_a_look_sees_what_a_late_watch_does_not_and_is_not_undone_by_it(
    store: EtcdStore, standby: Standby
) -> None:
    leader = Leader(store)
    leader.commit("noc")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        standby.replica.gate.clear()
        leader.commit("noc")
        leader.beat(1.0)
        leader.beat(2.0)
        last = store.revision
        await follower.look()
        assert (follower.beat.mod_revision, follower.beat.at) == (last, 100.0)
        standby.now += 1
        seen = []
        standby.replica.gate.set()
        while follower.progress is None or follower.progress.revision < last:
            seen.append(follower.beat.mod_revision)
            await asyncio.sleep(0)
        assert set(seen) == {last}
        assert follower.beat.at == 100.0


async def test_a_leader_that_catches_up_waits_no_longer_than_it_may(store: EtcdStore, standby: Standby) -> None:
    leader = Leader(store)
    leader.commit("noc")
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        standby.replica.gate.clear()
        leader.commit("siem")
        with pytest.raises(TimeoutError):
            await follower.catch_up_to(store.revision, seconds=2)
        standby.replica.gate.set()
        await follower.catch_up_to(store.revision, seconds=2)


async def test_what_has_begun_is_done_to_its_end_when_it_is_told_to_stop(store: EtcdStore, standby: Standby) -> None:
    leader = Leader(store)
    leader.commit("noc")
    follower = standby.follower
    task = asyncio.create_task(follower.run())
    await standby.until(lambda: follower.is_caught_up)
    standby.replica.gate.clear()
    leader.commit("siem")
    await standby.settled()
    task.cancel()
    await standby.settled()
    assert not task.done()
    standby.replica.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await standby.content() == there(store)
    assert follower.progress == standby.replica.progress


async def test_clocks_are_compared_by_beats_that_are_seen_when_they_are_made(
    store: EtcdStore, standby: Standby
) -> None:
    leader = Leader(store)
    leader.commit("noc")
    leader.beat(5.0)
    async with standby.following() as follower:
        await standby.until(lambda: follower.is_caught_up)
        assert follower.clock_offset_seconds is None
        for late in (0.25, 0.002, 0.5):
            standby.wall += 1
            leader.beat(standby.wall + 2.0 - late)
            await follower.catch_up_to(store.revision, seconds=1)
        assert follower.clock_offset_seconds == pytest.approx(1.998)
        Leader(store, "bob").beat(standby.wall)
        await follower.catch_up_to(store.revision, seconds=1)
        assert follower.clock_offset_seconds == pytest.approx(0.0)


class Story:
    """A leader, and a follower to which things happen."""

    def __init__(self) -> None:
        self.store = EtcdStore()
        self.standby = Standby(self.store)
        self.leader = Leader(self.store)
        self.leader.commit("noc", "siem")
        self.task = asyncio.create_task(self.standby.follower.run())

    async def restart(self) -> None:
        await self.stop()
        self.standby.follower = self.standby.made(self.standby.replica.progress)
        self.task = asyncio.create_task(self.standby.follower.run())

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def trouble(self) -> None:
        self.standby.client.trouble = SILENCE
        self.standby.client.end_watches(SILENCE)
        await self.standby.settled()
        self.standby.client.trouble = None

    async def take_over(self) -> None:
        waiting, number = self.leader.waiting, self.leader.number
        self.leader = Leader(self.store, "bob")
        self.leader.waiting, self.leader.number = waiting, number

    async def commit(self) -> None:
        self.leader.commit("noc", "siem", row=f"r{self.leader.number % 3}")

    async def many(self) -> None:
        for _ in range(5):
            self.leader.commit("noc")
            self.leader.accept()

    async def accept(self) -> None:
        self.leader.accept()

    async def beat(self) -> None:
        self.leader.beat()

    async def end(self) -> None:
        self.standby.client.end_watches(SILENCE)

    async def compact(self) -> None:
        self.store.compact()

    async def compacted(self) -> None:
        self.standby.client.end_watches(Compacted("compacted"))


STEPS = (
    Story.commit, Story.commit, Story.accept, Story.beat, Story.many, Story.end, Story.compact, Story.compacted,
    Story.trouble, Story.restart, Story.take_over,
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 20)), max_size=25))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the loop is the same for all examples
async def test_whatever_happens_a_follower_comes_to_hold_what_was_committed(
    skipped_waits: None, steps: list[tuple[Callable[[Story], Coroutine[None, None, None]], int]]
) -> None:
    story = Story()
    for step, turns in steps:
        await step(story)
        for _ in range(turns):
            await asyncio.sleep(0)
    story.leader.beat()
    await story.standby.follower.catch_up_to(story.store.revision, seconds=60)
    await story.stop()

    assert await story.standby.content() == there(story.store)
    assert set(story.standby.replica.merged_by[1:]) <= {None, "ann", "bob"}


async def test_who_leads_is_seen_whatever_else_stands_there(store: EtcdStore) -> None:
    leader = Leader(store)
    leader.beat()
    leader.put(leader.head(), Put(key=KEYS.config, value=b"x" * 1_400_000))
    leader.put(*(Put(key=KEYS.prefix + b"head%02d" % number, value=b"") for number in range(20)))
    leader.put(*(Put(key=KEYS.prefix + b"beat/%d" % number, value=b"x" * 1_400_000) for number in range(2)))
    standby = Standby(store)

    await standby.follower.look()

    assert standby.follower.lock.record is not None
    assert standby.follower.head.record is not None
    assert standby.follower.config.mod_revision > 0
