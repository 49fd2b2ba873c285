"""Who is there: each member describes itself under a lease of the server, and reads what the others say."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hsm_agent.group.keys import KeyKind, MemberRecord, UnreadableKeyError, read_record, record_bytes, shown
from hsm_agent.model import GroupRole, MemberStatus
from hsm_agent.net.etcd_messages import AnswerTooLong, Compare, EtcdTrouble, LeaseGone, Put

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.group.keys import GroupKeys
    from hsm_agent.net.etcd_messages import Found, KeyValue, Transacted

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
LEASE_SECONDS = 30
MOST_MEMBERS = 64
_FORGOTTEN_SECONDS = 86400.0


class MembersEtcd(Protocol):
    """Where members describe themselves: a client of etcd. Raises EtcdTrouble."""

    async def range(self, key: bytes, *, end: bytes = b"", limit: int = 1000) -> Found:
        """What stands at the keys from this one on and below `end`."""

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        """Do it if the compares hold."""

    async def grant(self, seconds: int) -> int:
        """A new lease."""

    async def keep_alive(self, lease: int) -> None:
        """Let the lease begin anew."""

    async def revoke(self, lease: int) -> None:
        """End the lease, and its keys with it."""


class _Sighting(NamedTuple):
    """A member as it described itself, and when that was read last."""

    record: MemberRecord
    at: float


class Members:
    """The members of the group, as seen last."""

    def __init__(
        self,
        etcd: MembersEtcd,
        keys: GroupKeys,
        *,
        describe: Callable[[], MemberRecord],
        clock: Callable[[], float],
    ) -> None:
        """`describe`: what this member says of itself now. `clock`: the one that counts on in sleep."""
        self.problem = "it has not been asked yet"
        """Why this member is not among them; empty while it is."""
        self.is_taken = False
        """Another agent is there under this one's name: two hosts have one agent.name."""
        self._etcd, self._keys = etcd, keys
        self._describe, self._clock = describe, clock
        self._lease: int | None = None
        self._seen: dict[str, _Sighting] = {}
        self._read_at: float | None = None
        """When it was read last who is there."""
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Describe and read, every 5 s, until cancelled; trouble with etcd is tried again."""
        while True:
            with suppress(EtcdTrouble):  # kept in `problem`
                await self.once()
            await asyncio.sleep(EVERY_SECONDS)

    async def once(self) -> None:
        """Describe this member, and read the others, now: after a change of role too. Raises EtcdTrouble."""
        async with self._turn:
            try:
                own = await self._read_own()
                unseen = await self._read()
                await self._describe_self(own)
                self.problem = self.problem or unseen
            except EtcdTrouble as trouble:
                self.problem = str(trouble)
                raise

    async def withdraw(self) -> None:
        """This member leaves: its key goes. Raises EtcdTrouble; the caller has the deadline."""
        async with self._turn:
            lease, self._lease = self._lease, None
            if lease is not None:
                with suppress(LeaseGone):  # and the key with it
                    await self._etcd.revoke(lease)

    def live(self) -> tuple[MemberRecord, ...]:
        """The members whose keys stand there, this one as it describes itself now among them, by name."""
        own = self._describe()
        others = {name: each.record for name, each in self._seen.items() if self._is_up(each) and name != own.name}
        return tuple(record for _, record in sorted({**others, own.name: own}.items()))

    def forget(self, name: str) -> None:
        """A member that is away is none any more, until it is seen again."""
        if name in self._seen and not self._is_up(self._seen[name]):
            del self._seen[name]

    def statuses(self) -> tuple[MemberStatus, ...]:
        """Every member that was seen since the start, this one included, by name; one that is gone is not up.

        After a day without a sign it is no member any more.
        """
        own, now = self._describe(), self._clock()
        found = {name: self._status(each, own, now) for name, each in self._seen.items() if name != own.name}
        found[own.name] = self._status(_Sighting(own, now), own, now)
        return tuple(status for _, status in sorted(found.items()))

    def _status(self, sighting: _Sighting, own: MemberRecord, now: float) -> MemberStatus:
        record = sighting.record
        ours, its = _offset(own), _offset(record)
        return MemberStatus(
            name=record.name,
            role=record.role,
            is_up=record is own or self._is_up(sighting),
            seconds_since_seen=max(0.0, now - sighting.at),
            version=record.version,
            sources_up=record.sources_up,
            sources_expected=record.sources_expected,
            config_differs=record.digest != own.digest,
            clock_offset_seconds=None if ours is None or its is None else ours - its,
        )

    def _is_up(self, sighting: _Sighting) -> bool:
        """Whether its key stood there at the last look, and that was not long ago."""
        is_recent = self._read_at is not None and self._clock() - self._read_at < LEASE_SECONDS
        return is_recent and sighting.at == self._read_at

    async def _read_own(self) -> KeyValue | None:
        """What stands at this member's own key."""
        found = await self._etcd.range(self._keys.member(self._describe().name), limit=1)
        return next(iter(found.entries), None)

    async def _read(self) -> str:
        """Read who is there; why not all are seen, empty if they are."""
        first, end = self._keys.all_of(KeyKind.MEMBER)
        try:
            found = await self._etcd.range(first, end=end, limit=MOST_MEMBERS)
        except AnswerTooLong:
            return f"members are not seen: {shown(first)} has values that no member writes; delete them"
        now = self._read_at = self._clock()
        for entry in found.entries:
            try:
                record = read_record(MemberRecord, entry)
            except UnreadableKeyError as error:
                log.debug("a member is passed over: %s", error)
                continue
            if self._keys.member(record.name) == entry.key:
                self._seen[record.name] = _Sighting(record, now)
        self._seen = {name: each for name, each in self._seen.items() if now - each.at < _FORGOTTEN_SECONDS}
        while len(self._seen) > MOST_MEMBERS:
            del self._seen[min(self._seen, key=lambda name: self._seen[name].at)]
        return f"not all members are seen: {shown(first)} has more than {MOST_MEMBERS} keys" if found.more else ""

    async def _describe_self(self, entry: KeyValue | None) -> None:
        """Put this member's record, if the key is free or its own."""
        own = self._describe()
        if entry is not None and not self._is_ours(entry, own):
            self.is_taken = True
            self.problem = f"another agent is a member as {own.name} too: give each an agent.name of its own"
            return
        lease = await self._kept_lease()
        key = self._keys.member(own.name)
        done = await self._etcd.transaction(
            compares=[Compare(key=key, mod_revision=0 if entry is None else entry.mod_revision)],
            puts=[Put(key=key, value=record_bytes(own), lease=lease)],
        )
        self.is_taken = False
        self.problem = "" if done.succeeded else f"what stands at {shown(key)} has changed meanwhile"

    def _is_ours(self, entry: KeyValue, own: MemberRecord) -> bool:
        try:
            return read_record(MemberRecord, entry).instance == own.instance
        except UnreadableKeyError:  # nobody's: whoever wrote it is no agent
            return True

    async def _kept_lease(self) -> int:
        """This member's lease, begun anew."""
        if self._lease is not None:
            with suppress(LeaseGone):
                await self._etcd.keep_alive(self._lease)
                return self._lease
        self._lease = await self._etcd.grant(LEASE_SECONDS)
        return self._lease


def _offset(record: MemberRecord) -> float | None:
    """By how much the leader's clock is ahead of the member's."""
    return 0.0 if record.role is GroupRole.LEADER else record.clock_offset
