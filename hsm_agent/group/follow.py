"""Follows what the leader commits: a watch of the group's keys, revision by revision, into this agent's replica.

Where the history cannot be followed - none is known, it was compacted, it is another cluster's or one that was put back
- all is read at one revision, and replaced. Nothing is taken in as long as the member says that what stands there is
not the group's: less than what a member holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from hsm_agent.group.changes import ContentReader, change_of
from hsm_agent.group.keys import (
    BeatRecord,
    ConfigRecord,
    HeadRecord,
    LockRecord,
    Record,
    Seen,
    UnreadableKeyError,
    read_record,
)
from hsm_agent.group.progress import Progress
from hsm_agent.net.etcd_messages import Compacted, EtcdTrouble
from hsm_agent.threads import deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from hsm_agent.group.base import Replica
    from hsm_agent.group.keys import GroupKeys
    from hsm_agent.net.etcd_messages import Found, KeyChange, KeyValue
    from hsm_agent.net.etcd_watch import WatchedRevision

log = logging.getLogger(__name__)

_NOBODY = "the group"
"""Who merges, where the lock does not say."""
_OFFSETS = 8
_MOST_REFUSALS = 100
_SLICE = 1000
"""Keys that are read before others run: some milliseconds."""
_ANEW_SECONDS = 0.05
_FINISH_SECONDS = 30.0
"""The spool waits for a silent disk for less."""


class FollowedWatch(Protocol):
    """An open watch."""

    async def next(self) -> WatchedRevision:
        """The next revision that changed anything. Raises EtcdTrouble."""


class FollowedEtcd(Protocol):
    """What is followed: a client of etcd, which may be asked while a watch of it is open. Raises EtcdTrouble."""

    async def range(
        self, key: bytes, *, end: bytes = b"", limit: int = 1000, keys_only: bool = False, revision: int = 0
    ) -> Found:
        """What stands at the key, or from it on and below `end`."""

    async def read_all(self, key: bytes, *, end: bytes, revision: int = 0) -> Found:
        """All of a range, page by page, at one revision."""

    def watch(
        self, key: bytes, *, end: bytes, since: int, idle_seconds: float
    ) -> AbstractAsyncContextManager[FollowedWatch]:
        """The changes of the range from a revision on."""


class _AnewError(Exception):
    """What was followed is not to be followed on: look again."""


class Follower:
    """Keeps the replica as the leader's, and what it has seen of who leads. `run` is for a task of its own.

    A leader does not follow: its task is ended when it has caught up with its own epoch, and a new follower is made
    when it leads no more, with the progress that was stored last; revision 0 in it where something may have been
    committed that is not known here, so that all is read anew.
    """

    lock: Seen[LockRecord]
    beat: Seen[BeatRecord]
    head: Seen[HeadRecord]
    config: Seen[ConfigRecord]
    progress: Progress | None
    """What the replica holds; None where it holds nothing of any group."""
    problem: str
    """Why it does not follow now; empty while it does."""
    is_caught_up: bool
    """Whether all is applied that stood there when it was looked last; the end of a watch alone changes nothing."""

    def __init__(
        self,
        etcd: FollowedEtcd,
        keys: GroupKeys,
        replica: Replica,
        *,
        progress: Progress | None,
        may_follow: Callable[[Follower], bool],
        idle_seconds: float,
        retry_seconds: float,
        on_seen: Callable[[], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`progress`: as stored; with `alone`, or None, the first thing read replaces what this agent judged itself.

        `may_follow`: whether what is in etcd is the group's; asked whenever lock, beat or head has changed.
        `idle_seconds`: after so long without a word the next endpoint is watched. `on_seen` is called after each change
        of lock, beat, head, config or `is_caught_up`; it must not block. `clock`: the one that counts on in sleep.
        """
        self.lock, self.beat, self.head, self.config = Seen(), Seen(), Seen(), Seen()
        self.progress, self.problem, self.is_caught_up = progress, "it has not been asked yet", False
        self._etcd, self._keys, self._replica = etcd, keys, replica
        self._may_follow, self._on_seen = may_follow, on_seen
        self._idle_seconds, self._retry_seconds = idle_seconds, retry_seconds
        self._clock, self._wall = clock, wall
        self._applied = 0
        """The revision up to which all is applied."""
        self._moved = asyncio.Event()
        """Set when more is applied."""
        self._behind_since: float | None = None
        self._offsets: deque[float] = deque(maxlen=_OFFSETS)
        self._refused: set[str] = set()
        self._is_another = False
        """What stands there is not what the history that is known here came to."""
        self._viewed: dict[bytes, int] = {}
        """Of each of the four keys the revision at which it is known what stood there."""

    @property
    def clock_offset_seconds(self) -> float | None:
        """By how much the leader's wall clock is ahead of ours, from the beats that were seen; None before the first.

        A beat is seen late and never early: of the last ones the greatest difference counts.
        """
        return max(self._offsets, default=None)

    async def run(self) -> None:
        """Follow until cancelled; trouble with etcd is tried again, and stands in `problem`."""
        try:
            while True:
                began, pause = self._clock(), _ANEW_SECONDS
                try:
                    await self._follow()
                except Compacted:
                    self.progress = None if self.progress is None else replace(self.progress, revision=0)
                except EtcdTrouble as trouble:
                    self.problem = str(trouble)
                    pause = self._retry_seconds
                except _AnewError as why:
                    self.problem = str(why)
                if self._clock() - began < self._retry_seconds:
                    await asyncio.sleep(pause)
        finally:
            self._stand_still("it does not follow")

    async def look(self) -> None:
        """Read lock, beat, head and config now, linearizably: a watch that is dead is no dead leader.

        Raises EtcdTrouble.
        """
        await self._look()

    async def catch_up_to(self, revision: int, *, seconds: float) -> None:
        """Return when all changes up to the revision are applied, while `run` runs. Raises TimeoutError.

        The revision must be one that changed a key of the group, as that of a take-over does.
        """
        async with asyncio.timeout(seconds):
            while self._applied < revision:
                self._moved.clear()
                await self._moved.wait()

    def lag_seconds(self) -> float | None:
        """For how long the replica has been behind: 0 while caught up; None where it never was."""
        if self.is_caught_up:
            return 0.0
        return None if self._behind_since is None else max(0.0, self._clock() - self._behind_since)

    async def _follow(self) -> None:
        """Look, read all where that is needed, and watch. Ends by an exception only.

        A watch that ends leaves nothing behind: whether anything is, is known by the next look.
        """
        self._viewed.clear()
        try:
            found = await self._look()
            is_followed = self._may_follow(self)
            if is_followed and not await self._goes_on_in(found):
                await self._read_all()
        except EtcdTrouble as trouble:
            self._stand_still(str(trouble))
            raise
        target = max(seen.mod_revision for seen in (self.lock, self.beat, self.head, self.config))
        if not is_followed:
            self._applied = 0
        if not is_followed or self._applied < target:
            self._stand_still("what was committed meanwhile is read")
        since = self._applied + 1 if is_followed else found.revision + 1
        async with self._etcd.watch(
            self._keys.prefix, end=self._keys.end, since=since, idle_seconds=self._idle_seconds
        ) as watch:
            self.problem = "" if is_followed else "nobody has put into etcd yet what the group holds"
            while True:
                if is_followed and not self.is_caught_up and self._applied >= target:
                    self.is_caught_up = True
                    self._on_seen()
                elif not is_followed and self._may_follow(self):
                    raise _AnewError("what stands in etcd is not followed as it was")
                await self._take(await watch.next(), is_followed=is_followed)

    async def _goes_on_in(self, found: Found) -> bool:
        """Whether the history that is known goes on in what stands there: same cluster, same commit at that time.

        A cluster that begins anew with the same members has the same ID.
        """
        known, self._is_another = self.progress, False
        if known is None or known.alone or not known.revision or not known.head_id:
            return False
        if known.cluster_id != found.cluster_id or known.revision > found.revision:
            self._is_another = True
            return False
        try:
            then = await self._etcd.range(self._keys.head, limit=1, revision=known.revision)
            head = read_record(HeadRecord, then.entries[0]) if then.entries else None
        except (Compacted, UnreadableKeyError):
            return False
        if head is None or head.id != known.head_id:
            self._is_another = True
            return False
        self._advance(known.revision)
        return True

    async def _read_all(self) -> None:
        """Hold what stands there, instead of what is held."""
        self._stand_still("all is read anew")
        self._applied = 0
        found = await self._etcd.read_all(self._keys.prefix, end=self._keys.end)
        self._view({entry.key: entry for entry in found.entries}, found.revision)
        if not self._may_follow(self) or self.head.record is None:
            raise _AnewError("what stands in etcd is not followed as it was")
        reader = ContentReader(self._keys)
        for begin in range(0, len(found.entries), _SLICE):
            reader.add(found.entries[begin : begin + _SLICE])
            await asyncio.sleep(0)
        read = reader.content()
        self._report(read.refused)
        # What was committed in a history that is lost, and is not there now, is told of by nobody else any more.
        was_alone = self.progress is None or self.progress.alone or self._is_another
        leader = self.lock.record.name if self.lock.record is not None else _NOBODY
        progress = self._progress(found.revision, cluster_id=found.cluster_id)
        merged_by = leader if was_alone else None
        await self._hold(self._replica.replace(read.content, progress.states(), merged_by=merged_by), progress)

    async def _take(self, revision: WatchedRevision, *, is_followed: bool) -> None:
        """A revision in its turn: who leads, and what it did to what is the group's."""
        noticed = [self._notice(change, revision.revision) for change in revision.changes]
        if any(noticed):
            self._on_seen()
        if not is_followed:
            return
        assert self.progress is not None
        read = change_of(self._keys, revision.changes)
        self._report(read.refused)
        if not read.is_whole:
            self.progress = replace(self.progress, revision=0)
        if not read.is_whole or not self._may_follow(self):
            raise _AnewError("what stands in etcd is not followed as it was")
        progress = self._progress(revision.revision, cluster_id=self.progress.cluster_id)
        if read.is_empty:
            self._held(progress)
        else:
            await self._hold(self._replica.take_in(read.change, progress.states()), progress)

    async def _hold(self, doing: Coroutine[None, None, None], progress: Progress) -> None:
        """Do it to its end, also where this task is cancelled meanwhile: it is done as a whole, and known to be."""
        task = asyncio.create_task(doing)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            async with deadline(_FINISH_SECONDS):
                await task
            self._held(progress)
            raise
        self._held(progress)

    def _held(self, progress: Progress) -> None:
        self.progress = progress
        self._advance(progress.revision)

    def _progress(self, revision: int, *, cluster_id: str) -> Progress:
        head, known = self.head.record, self.progress or Progress()
        return replace(
            known,
            cluster_id=cluster_id,
            revision=revision,
            head_id=known.head_id if head is None else head.id,
            head_number=known.head_number if head is None else head.number,
            alone=False,
        )

    def _advance(self, revision: int) -> None:
        self._applied = revision
        self._moved.set()

    def _stand_still(self, why: str) -> None:
        self.problem = why
        if self.is_caught_up:
            self.is_caught_up = False
            self._behind_since = self._clock()
            self._on_seen()

    async def _look(self) -> Found:
        """What stands at the four keys that there is one of each; answers of one revision, the first of which is it.

        One by one: whatever else stands there, and however long it is, they are found.
        """
        keys = self._keys
        first = await self._etcd.range(keys.beat, limit=1)
        entries = list(first.entries)
        for key in (keys.config, keys.head, keys.lock):
            entries += (await self._etcd.range(key, limit=1, revision=first.revision)).entries
        self._view({entry.key: entry for entry in entries}, first.revision)
        return first

    def _view(self, entries: Mapping[bytes, KeyValue], revision: int) -> None:
        keys = self._keys
        four = (keys.lock, keys.beat, keys.head, keys.config)
        if any([self._notice_at(key, entries.get(key), revision) for key in four]):  # noqa: C419 - each of them
            self._on_seen()

    def _notice(self, change: KeyChange, revision: int) -> bool:
        """Remember what became of one of the four, and by how much clocks differ; whether it was one."""
        key = change.entry.key
        is_fresh = self._notice_at(key, None if change.is_deleted else change.entry, revision)
        if is_fresh and key == self._keys.lock:
            self._offsets.clear()
        if is_fresh and self.is_caught_up and key == self._keys.beat and self.beat.record is not None:
            self._offsets.append(self.beat.record.time - self._wall())
        return is_fresh

    def _notice_at(self, key: bytes, entry: KeyValue | None, revision: int) -> bool:
        """Remember what stands at one of the four at a revision; whether it is another value than before.

        A look and the watch tell of the same, and either may be late.
        """
        if revision <= self._viewed.get(key, 0):
            return False
        keys, is_fresh = self._keys, False
        if key == keys.lock and (is_fresh := self._is_fresh(self.lock, entry)):
            self.lock = self._seen(LockRecord, entry)
        elif key == keys.beat and (is_fresh := self._is_fresh(self.beat, entry)):
            self.beat = self._seen(BeatRecord, entry)
        elif key == keys.head and (is_fresh := self._is_fresh(self.head, entry)):
            self.head = self._seen(HeadRecord, entry)
        elif key == keys.config and (is_fresh := self._is_fresh(self.config, entry)):
            self.config = self._seen(ConfigRecord, entry)
        if key in {keys.lock, keys.beat, keys.head, keys.config}:
            self._viewed[key] = revision
        return is_fresh

    def _is_fresh(self, seen: Seen[Record], entry: KeyValue | None) -> bool:
        return seen.at is None or seen.mod_revision != (0 if entry is None else entry.mod_revision)

    def _seen(self, kind: type[Record], entry: KeyValue | None) -> Seen[Record]:
        record = None
        if entry is not None:
            try:
                record = read_record(kind, entry)
            except UnreadableKeyError as error:
                self._report([str(error)])
        return Seen(record=record, mod_revision=0 if entry is None else entry.mod_revision, at=self._clock())

    def _report(self, refused: Sequence[str]) -> None:
        """Log what cannot be read, each once."""
        for why in refused:
            if why not in self._refused and len(self._refused) < _MOST_REFUSALS:
                self._refused.add(why)
                log.error("etcd holds what the group does not write: %s", why)
