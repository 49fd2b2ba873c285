"""An etcd of one history, and clients of it on virtual hosts, whose requests are lost, late, and done twice."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from hsm_agent.net.etcd_messages import (
    AnswerTooLong,
    Compacted,
    Compare,
    EndpointDown,
    EtcdRefused,
    EtcdTrouble,
    EtcdUnavailable,
    Found,
    KeyChange,
    KeyValue,
    LeaseGone,
    NoProof,
    Put,
    Transacted,
)
from hsm_agent.net.etcd_watch import EtcdWatch, WatchedRevision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from random import Random

    from tests.fakes.virtual_hosts import Host, World

T = TypeVar("T")

ENDPOINT = "http://etcd:2379"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A transaction that was done: by which host, at which revision, and what it changed."""

    host: str
    revision: int
    puts: tuple[Put, ...]
    deletes: tuple[bytes, ...]
    at: float


class SimulatedEtcd:
    """Linearizable, and as good as etcd itself."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.put_back_times = 0
        self.is_down = False
        self.is_full = False
        """What writes anything is refused, as where the database has no space left."""
        """Everybody is refused: all servers are dead."""
        self.wipe()

    def wipe(self) -> None:
        """It is new and empty."""
        self.revision = 1
        self.compacted = 0
        self.entries: dict[bytes, KeyValue] = {}
        self.history: list[WatchedRevision] = []
        self.written: list[Written] = []
        self.leases: dict[int, float] = {}
        self._watchers: list[Callable[[], None]] = []
        self.cluster_id = str(int(self.world.now * 1000) + 77)

    def put_back(self, revision: int) -> None:
        """From a backup of that revision; all connections are broken."""
        self.entries = self._as_of(revision)
        self.history = [each for each in self.history if each.revision <= revision]
        self.revision = revision
        self.put_back_times += 1

    def transact(
        self, host: str, compares: Sequence[Compare], puts: Sequence[Put], deletes: Sequence[bytes]
    ) -> Transacted:
        found = (self.entries.get(each.key) for each in compares)
        wanted = [each.mod_revision for each in compares]
        if [0 if entry is None else entry.mod_revision for entry in found] != wanted:
            return Transacted(succeeded=False, revision=self.revision, cluster_id=self.cluster_id)
        keys = [each.key for each in puts]
        assert len({*keys, *deletes}) == len(keys) + len(deletes), "a key twice"
        assert len(keys) + len(deletes) <= 128, "too many operations"
        changes = [self._put(put) for put in puts]
        changes += [change for key in deletes if (change := self._delete(key)) is not None]
        if changes:
            self.revision += 1
            self.history.append(WatchedRevision(revision=self.revision, changes=tuple(changes)))
            self.written.append(
                Written(host=host, revision=self.revision, puts=tuple(puts), deletes=tuple(deletes), at=self.world.now)
            )
            for wake in self._watchers:
                wake()
        return Transacted(succeeded=True, revision=self.revision, cluster_id=self.cluster_id)

    def _put(self, put: Put) -> KeyChange:
        before = self.entries.get(put.key)
        revision = self.revision + 1
        entry = KeyValue(
            key=put.key,
            value=put.value,
            mod_revision=revision,
            create_revision=revision if before is None else before.create_revision,
            lease=put.lease,
        )
        self.entries[put.key] = entry
        return KeyChange(entry=entry, is_deleted=False)

    def _delete(self, key: bytes) -> KeyChange | None:
        if self.entries.pop(key, None) is None:
            return None
        entry = KeyValue(key=key, value=b"", mod_revision=self.revision + 1, create_revision=0, lease=0)
        return KeyChange(entry=entry, is_deleted=True)

    def range(self, key: bytes, end: bytes, limit: int, revision: int) -> Found:
        entries = self.entries if not revision or revision == self.revision else self._as_of(revision)
        found = [entries[each] for each in sorted(entries) if each == key or (end and key <= each < end)]
        return Found(
            entries=tuple(found[:limit]),
            revision=self.revision,
            more=len(found) > limit,
            cluster_id=self.cluster_id,
        )

    def _as_of(self, revision: int) -> dict[bytes, KeyValue]:
        if revision > self.revision:
            raise EtcdRefused("required revision is a future revision")
        if revision <= self.compacted:
            raise Compacted("required revision has been compacted")
        entries: dict[bytes, KeyValue] = {}
        for each in self.history:
            if each.revision <= revision:
                for change in each.changes:
                    if change.is_deleted:
                        entries.pop(change.entry.key, None)
                    else:
                        entries[change.entry.key] = change.entry
        return entries

    def wake_with(self, wake: Callable[[], None]) -> None:
        self._watchers.append(wake)


@dataclass(kw_only=True)
class Network:
    """How requests fare. Chances are of one request; seconds are drawn between none and these."""

    delay_seconds: float = 0.005
    lost: float = 0.0
    """The request, or its answer."""
    late: float = 0.0
    """There is no answer, and it is done some time later."""
    twice: float = 0.0
    """It is done once more, some time later."""
    late_seconds: float = 5.0
    cut: set[str] = field(default_factory=set)
    """Hosts whose packets are dropped."""
    overcharged: set[str] = field(default_factory=set)
    """Hosts that cannot read much at once."""


class SimulatedWatch(EtcdWatch):
    """An open watch."""

    def __init__(self, client: SimulatedClient, key: bytes, end: bytes, since: int, idle_seconds: float) -> None:
        self.endpoint = ENDPOINT
        self.cluster_id = client.etcd.cluster_id
        self._client = client
        self._cluster = (client.etcd.cluster_id, client.etcd.put_back_times)
        self._key, self._end = key, end
        self._next = since
        self._idle_seconds = idle_seconds
        self._some = asyncio.Event()
        client.etcd.wake_with(self._wake)

    async def next(self) -> WatchedRevision:
        client = self._client
        try:
            async with asyncio.timeout(self._idle_seconds):
                while True:
                    self._some.clear()
                    if client.etcd.is_down or self._cluster != (
                        client.etcd.cluster_id,
                        client.etcd.put_back_times,
                    ):
                        raise client.unavailable(EndpointDown("the watch was reset"))
                    if (found := self._found()) is not None and not client.is_cut:
                        await asyncio.sleep(client.delay())
                        self._next = found.revision + 1
                        return found
                    await self._some.wait()
        except TimeoutError:
            raise client.unavailable(NoProof("silent")) from None

    def _found(self) -> WatchedRevision | None:
        for each in self._client.etcd.history:
            if each.revision >= self._next:
                changes = tuple(one for one in each.changes if self._key <= one.entry.key < self._end)
                if changes:
                    return WatchedRevision(revision=each.revision, changes=changes)
        return None

    def _wake(self) -> None:
        host = self._client.host
        if host.is_alive:
            host.world.later(0.0, self._some.set if not host.is_paused else self._wake_later)

    def _wake_later(self) -> None:
        host = self._client.host
        if host.is_paused:
            host.world.later(0.1, self._wake_later)
        else:
            self._wake()


class SimulatedClient:
    """A client on a host."""

    def __init__(self, etcd: SimulatedEtcd, host: Host, network: Network, random: Random, *, timeout: float) -> None:
        self.etcd = etcd
        self.host = host
        self.network = network
        self.random = random
        self.timeout = timeout
        self.used: list[object] = []

    def use(self, settings: object) -> None:
        self.used.append(settings)

    @property
    def is_cut(self) -> bool:
        return self.host.name in self.network.cut

    def delay(self) -> float:
        return self.random.uniform(0.0, self.network.delay_seconds)

    def unavailable(self, trouble: EndpointDown | NoProof) -> EtcdUnavailable:
        return EtcdUnavailable({ENDPOINT: trouble})

    async def _ask(self, do: Callable[[], T]) -> T:
        """The way to etcd and back."""
        network, random = self.network, self.random
        await asyncio.sleep(self.delay())
        if self.etcd.is_down:
            raise self.unavailable(EndpointDown("refused"))
        chance = random.random()
        if self.is_cut or chance < network.lost / 2:
            await asyncio.sleep(self.timeout)
            raise self.unavailable(NoProof("no answer", sent=chance < 0.5))
        if chance < network.lost:  # done, and the answer is lost
            self._done(do)
            await asyncio.sleep(self.timeout)
            raise self.unavailable(NoProof("no answer", sent=True))
        if chance < network.lost + network.late:
            self.host.world.later(random.uniform(0.0, network.late_seconds), lambda: self._done(do))
            await asyncio.sleep(self.timeout)
            raise self.unavailable(NoProof("no answer", sent=True))
        if chance < network.lost + network.late + network.twice:
            self.host.world.later(random.uniform(0.0, network.late_seconds), lambda: self._done(do))
        answer = do()
        await asyncio.sleep(self.delay())
        if self._is_out_of_reach():
            await asyncio.sleep(self.timeout)
            raise self.unavailable(NoProof("no answer", sent=True))
        return answer

    def _is_out_of_reach(self) -> bool:
        return self.etcd.is_down or self.is_cut

    def _done(self, do: Callable[[], object]) -> None:
        if not self.etcd.is_down:
            do()

    async def range(
        self, key: bytes, *, end: bytes = b"", limit: int = 1000, keys_only: bool = False, revision: int = 0
    ) -> Found:
        return await self._ask(lambda: self.etcd.range(key, end, limit, revision))

    async def read_all(self, key: bytes, *, end: bytes, revision: int = 0) -> Found:
        if self.host.name in self.network.overcharged:
            raise AnswerTooLong("too long")
        return await self._ask(lambda: self.etcd.range(key, end, 10**9, revision))

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        compares, puts, deletes = tuple(compares), tuple(puts), tuple(deletes)
        if self.etcd.is_full and puts:
            raise self.unavailable(EndpointDown("database space exceeded", sent=True))
        return await self._ask(lambda: self.etcd.transact(self.host.name, compares, puts, deletes))

    @asynccontextmanager
    async def watch(self, key: bytes, *, end: bytes, since: int, idle_seconds: float) -> AsyncIterator[SimulatedWatch]:
        await self._ask(lambda: None)
        if since <= self.etcd.compacted:
            raise Compacted("compacted")
        yield SimulatedWatch(self, key, end, since, idle_seconds)

    async def grant(self, seconds: int) -> int:
        return await self._ask(lambda: self._grant(seconds))

    def _grant(self, seconds: int) -> int:
        number = len(self.etcd.leases) + 1
        self.etcd.leases[number] = self.host.world.now + seconds
        self._expire(number)
        return number

    def _expire(self, number: int) -> None:
        etcd, now = self.etcd, self.host.world.now
        until = etcd.leases.get(number)
        if until is None:
            return
        if now < until:
            self.host.world.later(until - now, lambda: self._expire(number))
            return
        del etcd.leases[number]
        keys = [key for key, entry in etcd.entries.items() if entry.lease == number]
        etcd.transact("", (), (), keys)

    async def keep_alive(self, lease: int) -> None:
        def keep() -> bool:
            known = lease in self.etcd.leases
            if known:
                self.etcd.leases[lease] = self.host.world.now + 30
            return known

        if not await self._ask(keep):
            raise LeaseGone("requested lease not found")

    async def revoke(self, lease: int) -> None:
        await self._ask(lambda: self.etcd.leases.pop(lease, None))

    @property
    def first_endpoint(self) -> str:
        return ENDPOINT

    def ask_first(self, endpoint: str) -> None:
        assert endpoint == ENDPOINT

    async def close(self) -> None:
        await asyncio.sleep(0)


class SimulatedProbe:
    """Asks the one endpoint."""

    def __init__(self, client: SimulatedClient) -> None:
        self._client = client

    def use(self, settings: object) -> None:
        self._client.use(settings)

    async def ask(self) -> Mapping[str, EtcdTrouble | None]:
        try:
            await self._client.transaction(
                puts=[Put(key=b"x", value=b"")], compares=[Compare(key=b"x", mod_revision=1)]
            )
        except EtcdUnavailable as error:
            return dict(error.troubles)
        return {ENDPOINT: None}

    async def close(self) -> None:
        await asyncio.sleep(0)
