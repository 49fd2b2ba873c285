"""An etcd in memory: keys with their revisions and their history, transactions, leases, watches, compaction.

One store; a client of it for each who asks, each with troubles of its own.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.net.etcd import MOST_ANSWER_BYTES
from hsm_agent.net.etcd_messages import (
    AnswerTooLong,
    Compacted,
    Found,
    KeyChange,
    KeyValue,
    LeaseGone,
    Transacted,
)
from hsm_agent.net.etcd_watch import WatchedRevision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from hsm_agent.net.etcd_messages import Compare, EtcdTrouble, Put

_ALL = 10**6
FIRST_REVISION = 1
"""Of a cluster that nothing was written to."""


@dataclass(slots=True)
class EtcdStore:
    """What a cluster holds; revisions count up, and all of them are remembered until they are compacted."""

    cluster_id: str = "14841639068965178418"
    revision: int = FIRST_REVISION
    compacted: int = 0
    _pasts: dict[int, dict[bytes, KeyValue]] = field(default_factory=lambda: {FIRST_REVISION: {}})
    _changes: dict[int, tuple[KeyChange, ...]] = field(default_factory=dict)
    _granted: int = 1000
    _leases: set[int] = field(default_factory=set)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def keys(self) -> dict[bytes, KeyValue]:
        return self._pasts[self.revision]

    def at(self, revision: int) -> dict[bytes, KeyValue]:
        """As it was at a revision; 0 is now. Raises Compacted."""
        if revision and revision < self.compacted:
            raise Compacted("compacted")
        return self._pasts[revision or self.revision]

    def changes(self, revision: int) -> tuple[KeyChange, ...]:
        """What a revision did. Raises Compacted."""
        if revision < self.compacted:
            raise Compacted("compacted")
        return self._changes.get(revision, ())

    def compact(self) -> None:
        """Forget all history before now."""
        self.compacted = self.revision

    def do(self, compares: Sequence[Compare], puts: Sequence[Put], deletes: Sequence[bytes]) -> bool:
        """Do all of it in one revision, if the compares hold."""
        keys = dict(self.keys)
        if any((keys[each.key].mod_revision if each.key in keys else 0) != each.mod_revision for each in compares):
            return False
        revision = self.revision + 1
        changes = []
        for put in puts:
            if put.lease and put.lease not in self._leases:
                raise LeaseGone("requested lease not found")
            created = keys[put.key].create_revision if put.key in keys else revision
            entry = KeyValue(
                key=put.key, value=put.value, mod_revision=revision, create_revision=created, lease=put.lease
            )
            keys[put.key] = entry
            changes.append(KeyChange(entry=entry, is_deleted=False))
        for key in deletes:
            if keys.pop(key, None) is not None:
                gone = KeyValue(key=key, value=b"", mod_revision=revision, create_revision=0, lease=0)
                changes.append(KeyChange(entry=gone, is_deleted=True))
        if changes:
            self.revision = revision
            self._pasts[revision], self._changes[revision] = keys, tuple(changes)
            self.moved.set()
        return True

    def grant(self) -> int:
        self._granted += 1
        self._leases.add(self._granted)
        return self._granted

    def keep(self, lease: int) -> None:
        if lease not in self._leases:
            raise LeaseGone("requested lease not found")

    def revoke(self, lease: int) -> None:
        """End a lease, as its time does too."""
        self.keep(lease)
        self._leases.remove(lease)
        self.do((), (), [key for key, entry in self.keys.items() if entry.lease == lease])


class StoreWatch:
    """A watch of a store."""

    def __init__(self, client: EtcdStoreClient, key: bytes, end: bytes, since: int) -> None:
        self.endpoint = "http://a:2379"
        self.cluster_id = client.store.cluster_id
        self._client, self._key, self._end, self._since = client, key, end, since
        self._ends = client.watches_ended

    async def next(self) -> WatchedRevision:
        store = self._client.store
        while True:
            if self._client.trouble is not None:
                raise self._client.trouble
            if self._ends != self._client.watches_ended:
                raise self._client.watch_trouble
            while self._since <= store.revision:
                revision, self._since = self._since, self._since + 1
                changes = tuple(each for each in store.changes(revision) if self._key <= each.entry.key < self._end)
                if changes:
                    return WatchedRevision(revision=revision, changes=changes)
            store.moved.clear()
            await store.moved.wait()


class EtcdStoreClient:
    """A client of a store. With `trouble` it does nothing but raise it."""

    def __init__(self, store: EtcdStore) -> None:
        self.store = store
        self.trouble: EtcdTrouble | None = None
        self.watch_trouble: EtcdTrouble = Compacted("compacted")
        self.watches_ended = 0
        self.watches = 0
        self.reads = 0
        """How often all was read."""
        self.is_closed = False

    def end_watches(self, trouble: EtcdTrouble) -> None:
        """Let every open watch end by this trouble."""
        self.watch_trouble = trouble
        self.watches_ended += 1
        self.store.moved.set()

    async def range(
        self, key: bytes, *, end: bytes = b"", limit: int = 1000, keys_only: bool = False, revision: int = 0
    ) -> Found:
        await self._answer()
        there = self.store.at(revision)
        entries = [there[each] for each in sorted(there) if each == key or (end and key <= each < end)]
        assert not keys_only
        if limit < _ALL and sum(len(each.value) for each in entries[:limit]) > MOST_ANSWER_BYTES:
            raise AnswerTooLong("the answer is too long")
        return Found(
            entries=tuple(entries[:limit]),
            revision=self.store.revision,
            more=len(entries) > limit,
            cluster_id=self.store.cluster_id,
        )

    async def read_all(self, key: bytes, *, end: bytes, revision: int = 0) -> Found:
        self.reads += 1
        return await self.range(key, end=end, limit=_ALL, revision=revision)

    @asynccontextmanager
    async def watch(self, key: bytes, *, end: bytes, since: int, idle_seconds: float) -> AsyncIterator[StoreWatch]:
        await self._answer()
        assert idle_seconds > 0
        self.watches += 1
        yield StoreWatch(self, key, end, since)

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        await self._answer()
        succeeded = self.store.do(compares, puts, deletes)
        return Transacted(succeeded=succeeded, revision=self.store.revision, cluster_id=self.store.cluster_id)

    async def grant(self, seconds: int) -> int:
        await self._answer()
        assert seconds > 0
        return self.store.grant()

    async def keep_alive(self, lease: int) -> None:
        await self._answer()
        self.store.keep(lease)

    async def revoke(self, lease: int) -> None:
        await self._answer()
        self.store.revoke(lease)

    async def close(self) -> None:
        self.is_closed = True

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
