"""From taking the lock to leading: all that was committed before is held here, or put where it is missing.

Nothing is told and nothing judged before the last of these steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hsm_agent.group.acceptances import Waiting
from hsm_agent.group.changes import content_of_keys
from hsm_agent.group.fence import Fence, FencedEtcd
from hsm_agent.group.keys import (
    BeatRecord,
    HeadRecord,
    KeyKind,
    LockRecord,
    UnreadableKeyError,
    read_record,
    record_bytes,
)
from hsm_agent.group.lead import Candidate, Tenure, is_ours
from hsm_agent.group.operations import Operations, difference, portions
from hsm_agent.net.etcd_messages import Compare, EtcdUnavailable, Put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hsm_agent.group.keys import GroupKeys, Seen
    from hsm_agent.net.etcd_messages import Found, KeyValue
    from hsm_agent.spool.shared import SharedContent


class LeadingEtcd(FencedEtcd, Protocol):
    """Where a leader reads and writes: a client of etcd. Raises EtcdTrouble."""

    async def read_all(self, key: bytes, *, end: bytes, revision: int = 0) -> Found:
        """All of a range, page by page, at one revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingContent:
    """What waits in etcd, and who for."""

    content: SharedContent
    """Without states."""
    waiting: Mapping[str, Waiting]
    """By event ID."""
    orphans: tuple[bytes, ...]
    """Keys of events that nobody waits for."""


async def take_lock(
    etcd: FencedEtcd,
    keys: GroupKeys,
    me: Candidate,
    *,
    lock: Seen[LockRecord],
    beat: Seen[BeatRecord],
    clock: Callable[[], float],
    wall: Callable[[], float],
) -> Tenure | None:
    """Replace lock and beat if they are as they were seen; None where they are not. Raises EtcdTrouble.

    Where no answer came the lock may be ours nevertheless, now or later: it is looked for once, and whoever finds
    itself in the lock afterwards takes it again.
    """
    sinks = sorted(me.sinks)
    record = LockRecord(name=me.name, instance=me.instance, lease_seconds=me.lease_seconds, sinks=sinks)
    begun = clock()
    try:
        done = await etcd.transaction(
            compares=[
                Compare(key=keys.lock, mod_revision=lock.mod_revision),
                Compare(key=keys.beat, mod_revision=beat.mod_revision),
            ],
            puts=[
                Put(key=keys.lock, value=record_bytes(record)),
                Put(key=keys.beat, value=record_bytes(BeatRecord(time=wall(), epoch=0, sinks=sinks))),
            ],
        )
        epoch = done.revision if done.succeeded else 0
    except EtcdUnavailable as error:
        if not error.sent:
            raise
        epoch = await _epoch_of(etcd, keys, me, after=lock.mod_revision)
    return Tenure(epoch=epoch, lease_seconds=me.lease_seconds, beaten_at=begun) if epoch else None


async def _epoch_of(etcd: FencedEtcd, keys: GroupKeys, me: Candidate, *, after: int) -> int:
    """The revision at which this agent took the lock, later than that one; 0 where it did not."""
    for entry in (await etcd.range(keys.lock, limit=1)).entries:
        if entry.mod_revision > after and is_ours(me, _lock_in(entry)):
            return entry.mod_revision
    return 0


def _lock_in(entry: KeyValue) -> LockRecord | None:
    try:
        return read_record(LockRecord, entry)
    except UnreadableKeyError:
        return None


async def read_head(etcd: FencedEtcd, keys: GroupKeys) -> tuple[HeadRecord | None, int]:
    """The head, and the revision of its last change; None where none is, or it cannot be read. Raises EtcdTrouble."""
    for entry in (await etcd.range(keys.head, limit=1)).entries:
        try:
            return read_record(HeadRecord, entry), entry.mod_revision
        except UnreadableKeyError:
            return None, entry.mod_revision
    return None, 0


async def read_waiting(etcd: LeadingEtcd, keys: GroupKeys) -> WaitingContent:
    """What waits, at one revision. Raises EtcdTrouble."""
    entries: list[KeyValue] = []
    revision = 0
    for kind in (KeyKind.EVENT, KeyKind.WAIT, KeyKind.SEQUENCE):
        first, end = keys.all_of(kind)
        found = await etcd.read_all(first, end=end, revision=revision)
        revision = revision or found.revision
        entries += found.entries
    content = content_of_keys(keys, entries).content
    written = {keys.event(each.event.event_id): each for each in content.events}
    revisions = {entry.key: entry.mod_revision for entry in entries}
    first, end = keys.all_of(KeyKind.EVENT)
    return WaitingContent(
        content=content,
        waiting={
            each.event.event_id: Waiting(revision=revisions[key], sinks=set(each.sinks))
            for key, each in written.items()
        },
        orphans=tuple(key for key in revisions if first <= key < end and key not in written),
    )


async def seed(etcd: LeadingEtcd, fence: Fence, keys: GroupKeys, content: SharedContent) -> None:
    """Put into etcd what is held here, in as many transactions as it takes; until then what is there is not whole.

    Raises NotCommittedError and EtcdTrouble.
    """
    await fence.write(Operations(), whole=False)
    there = await etcd.read_all(keys.prefix, end=keys.end)
    for portion in portions(difference(keys, there.entries, content, epoch=fence.tenure.epoch)):
        await fence.write(portion, whole=False)


async def sweep(fence: Fence, orphans: tuple[bytes, ...]) -> None:
    """Delete events that nobody waits for, and write the head: what stands there is whole, and this agent leads.

    Raises NotCommittedError.
    """
    for portion in portions(Operations(deletes=[key]) for key in orphans):
        await fence.write(portion)
    await fence.write(Operations())
