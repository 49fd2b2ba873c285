"""Commits that only who leads can make: each compares lock and head with what it knows, and writes the head anew.

A request that had no answer may be done later, even after its repetition: then the head is another one, and the late
twin does nothing. Whether it was done is told by the head's own id.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from hsm_agent.group.base import NotCommittedError
from hsm_agent.group.keys import HeadRecord, UnreadableKeyError, read_record, record_bytes
from hsm_agent.net.etcd_messages import Compare, EtcdRefused, EtcdUnavailable, Put

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.group.keys import GroupKeys
    from hsm_agent.group.lead import Tenure
    from hsm_agent.group.operations import Operations
    from hsm_agent.net.etcd_messages import Found, Transacted

_MOST_LEASES = 4
"""A commit that has no answer for so long while beats have is given up, and the lead with it."""
_RETRY_SECONDS = 0.05


class FencedEtcd(Protocol):
    """Where it is committed: a client of etcd. Raises EtcdTrouble."""

    async def range(self, key: bytes, *, limit: int = 1000) -> Found:
        """What stands at the key."""

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        """Do it if the compares hold."""


class Fence:
    """The commits of one tenure, one at a time."""

    def __init__(
        self,
        etcd: FencedEtcd,
        keys: GroupKeys,
        tenure: Tenure,
        *,
        head: HeadRecord | None,
        head_revision: int,
        clock: Callable[[], float],
        wall: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        """`head`: as it was read after the lock had been taken. `head_revision`: of its last change, 0 for none."""
        self.tenure = tenure
        self.revision = 0
        """Of the last commit."""
        self.cluster_id = ""
        self.head_id = "" if head is None else head.id
        self.head_number = 0 if head is None else head.number
        self._etcd = etcd
        self._keys = keys
        self._head_revision = head_revision
        self._clock = clock
        self._wall = wall
        self._new_id = new_id

    async def write(self, operations: Operations, *, whole: bool = True) -> int:
        """Do it, and write the head; the revision. `whole`: what stands there is all that the group holds.

        Raises NotCommittedError, and the tenure has ended: another one leads, or nobody knows whether it was done.
        """
        head = HeadRecord(id=self._new_id(), number=self.head_number + 1, time=self._wall(), whole=whole)
        is_in_doubt, trouble = False, "no answer"
        end = self._clock() + _MOST_LEASES * self.tenure.lease_seconds
        while self.tenure.is_held(now := self._clock()) and now < end:
            try:
                async with asyncio.timeout(self.tenure.tells_until - now):
                    revision = await self._attempt(head, operations, is_in_doubt=is_in_doubt)
            except (EtcdRefused, UnreadableKeyError) as error:
                raise self._given_up(str(error)) from error
            except EtcdUnavailable as error:
                is_in_doubt, trouble = is_in_doubt or error.sent, str(error)
            except TimeoutError:
                is_in_doubt = True
            else:
                if not revision:
                    raise self._given_up("another one leads", fenced=True)
                return revision
            await asyncio.sleep(_RETRY_SECONDS)
        raise self._given_up(f"etcd has not taken it: {trouble}")

    async def _attempt(self, head: HeadRecord, operations: Operations, *, is_in_doubt: bool) -> int:
        """The revision at which it was done, now or by an attempt before; 0 where it was not and never will be."""
        keys = self._keys
        done = await self._etcd.transaction(
            compares=[
                Compare(key=keys.lock, mod_revision=self.tenure.epoch),
                Compare(key=keys.head, mod_revision=self._head_revision),
            ],
            puts=[*operations.puts, Put(key=keys.head, value=record_bytes(head))],
            deletes=operations.deletes,
        )
        revision = done.revision if done.succeeded else 0
        if not revision and is_in_doubt:
            entries = (await self._etcd.range(keys.head, limit=1)).entries
            if entries and read_record(HeadRecord, entries[0]).id == head.id:
                revision = entries[0].mod_revision
        if revision:
            self.revision = self._head_revision = revision
            self.cluster_id = done.cluster_id
            self.head_id, self.head_number = head.id, head.number
        return revision

    def _given_up(self, why: str, *, fenced: bool = False) -> NotCommittedError:
        self.tenure.end(why, fenced=fenced)
        return NotCommittedError(f"not committed: {self.tenure.ended}")
