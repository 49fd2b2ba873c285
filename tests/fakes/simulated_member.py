"""A member of a group on a virtual host, with a spool and a replica in memory that a kill leaves behind as a disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.group.base import MemberConfig, NotCommittedError
from hsm_agent.group.clients import GroupClients
from hsm_agent.group.member import GroupMember
from hsm_agent.group.settings import GroupSettings
from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.net.etcd_settings import EtcdSettings
from hsm_agent.spool.shared import Addressed, Left, SharedContent
from tests.fakes.simulated_etcd import Network, SimulatedClient, SimulatedEtcd, SimulatedProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    from hsm_agent.model import GroupStatus
    from hsm_agent.spool.shared import SharedChange
    from tests.fakes.virtual_hosts import Host

SINKS = ("siem", "nms")


class Settings(GroupSettings):
    """With defaults for all of it; times are numbers of seconds too."""

    name: str = "pair"
    lease: float = 2.0
    alone_after: float = 10.0
    hand_over_after: float | None = None
    etcd: EtcdSettings = EtcdSettings(endpoints=("http://etcd:2379",))


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a receiver has got."""

    event_id: str
    sink: str
    by: str
    at: float


@dataclass(kw_only=True)
class DiskOfMember:
    """What a restart finds. The events that wait by ID, in order, with the sinks that wait for each."""

    group_states: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, Addressed] = field(default_factory=dict)
    own: dict[str, Addressed] = field(default_factory=dict)
    """Judged alone."""


class SpoolInMemory:
    """What a member asks of the spool, and what a sink does."""

    def __init__(self, disk: DiskOfMember) -> None:
        self.disk = disk
        self.may_tell: Callable[[], bool] = lambda: True
        self.on_left: Callable[[Left], None] = lambda left: None
        self.woken = 0

    async def states(self, prefix: str = "") -> dict[str, str]:
        return {key: text for key, text in self.disk.group_states.items() if key.startswith(prefix)}

    async def commit(self, events: tuple[()], states: Mapping[str, str | None]) -> None:
        assert not events
        self.keep(states)

    def keep(self, states: Mapping[str, str | None]) -> None:
        self.disk.group_states |= {key: text for key, text in states.items() if text is not None}

    async def replace_shared(self, content: SharedContent, states: Mapping[str, str | None]) -> None:
        self.disk.waiting = {each.event.event_id: each for each in content.events}
        self.keep(states)

    def wake(self) -> None:
        self.woken += 1

    def untold(self) -> int:
        return len(self.disk.waiting)

    def drop(self, event_id: str, sink: str) -> None:
        for queue in (self.disk.waiting, self.disk.own):
            if (each := queue.get(event_id)) is not None:
                left = tuple(name for name in each.sinks if name != sink)
                queue[event_id] = Addressed(event=each.event, sinks=left)
                if not left:
                    del queue[event_id]


class ReplicaInMemory:
    """What a member asks of the pipeline: rows of states and events."""

    def __init__(self, spool: SpoolInMemory) -> None:
        self._spool = spool
        self.judged = 0
        self.merged_by: list[str] = []
        self.replaced_by: list[set[str]] = []
        """The keys of the states that it was to hold instead of what it held."""
        self.turn = asyncio.Lock()

    async def take_in(self, change: SharedChange, progress: Mapping[str, str | None]) -> None:
        async with self.turn:
            disk = self._spool.disk
            await asyncio.sleep(0.001)
            for key, text in change.states.items():
                if text is None:
                    disk.states.pop(key, None)
                else:
                    disk.states[key] = text
            disk.waiting |= {each.event.event_id: each for each in change.events}
            for sink, event_id in change.left:
                self._spool.drop(event_id, sink)
            self._spool.keep(progress)

    async def replace(
        self, content: SharedContent, progress: Mapping[str, str | None], *, merged_by: str | None = None
    ) -> None:
        async with self.turn:
            await asyncio.sleep(0.002)
            disk = self._spool.disk
            if merged_by is not None:
                self.merged_by.append(merged_by)
            disk.own.clear()
            self.replaced_by.append(set(content.states))
            disk.states = dict(content.states)
            disk.waiting = {each.event.event_id: each for each in content.events}
            self._spool.keep(progress)

    async def content(self) -> SharedContent:
        disk = self._spool.disk
        return SharedContent(states=dict(disk.states), events=tuple(disk.waiting.values()))

    async def share(self) -> None:
        disk = self._spool.disk
        disk.waiting |= disk.own
        disk.own = {}

    async def judge_present(self) -> None:
        self.judged += 1


class SimulatedMember:
    """One life of a member: it judges when it may, and its sinks tell what they may."""

    def __init__(
        self,
        host: Host,
        etcd: SimulatedEtcd,
        network: Network,
        random: Random,
        *,
        disk: DiskOfMember | None = None,
        settings: Settings | None = None,
        digest: str = "d",
        sinks: Sequence[str] = SINKS,
        told: list[Told] | None = None,
        sources: int = 1,
    ) -> None:
        self.host = host
        self.disk = disk or DiskOfMember()
        self.spool = SpoolInMemory(self.disk)
        self.told = told if told is not None else []
        self.committed: dict[str, str] = {}
        """By event ID: the row that was committed with it."""
        self.sources = sources
        self.announced: list[str] = []
        self.roles: list[tuple[float, str]] = []
        self.status: GroupStatus | None = None
        self.refused: list[str] = []
        self._sinks = tuple(sinks)
        self._number = 0
        self.clients: list[SimulatedClient] = []
        settings = settings or Settings()

        def client() -> SimulatedClient:
            self.clients.append(SimulatedClient(etcd, host, network, random, timeout=settings.lease / 4))
            return self.clients[-1]

        self.member = GroupMember(
            settings,
            MemberConfig(digest=digest, sinks=self._sinks),
            name=host.name,
            version="1",
            spool=self.spool,
            sources=lambda: (self.sources, 4),
            announce=self._announce,
            show=self._show,
            clients=GroupClients(
                beats=client(),
                commits=client(),
                acceptances=client(),
                follow=client(),
                members=client(),
                probe=SimulatedProbe(client()),
            ),
            clock=host.clock,
            wall=host.wall,
        )
        self.replica = ReplicaInMemory(self.spool)

    def start(self) -> None:
        self.run = self.host.start(self.member.run(self.replica))
        self.host.start(self._tell())

    @property
    def leads(self) -> bool:
        return self.host.is_alive and self.member.journal.judges

    def _show(self, status: GroupStatus) -> None:
        if self.status is None or self.status.role is not status.role:
            self.roles.append((self.host.world.now, status.role.value))
        self.status = status

    async def _announce(self, text: str) -> None:
        self.announced.append(text)

    async def raise_alarm(self, event_id: str) -> None:
        """A reading crosses a threshold: judged until it is committed, if this agent judges at all."""
        event = Event(
            event_id=event_id,
            kind=EventKind.RAISED,
            severity=Severity.MAJOR,
            time=self.host.wall(),
            text="crossed",
            agent=self.host.name,
            alarm_id=f"a-{event_id}",
            source="s",
            resource="r",
            metric="m",
            rule=event_id,
        )
        row = f'["watch","s","r","m",[],"{event_id}"]'
        addressed = Addressed(event=event, sinks=self._sinks, begins=self._sinks)
        async with self.replica.turn:
            journal = self.member.journal
            if not journal.judges or row in self.disk.states:
                return
            shares = journal.shares
            try:
                progress = await journal.commit([addressed], {row: self.host.name})
            except NotCommittedError as error:
                self.refused.append(str(error))
                return
            self.committed[event_id] = row
            await asyncio.sleep(0.001)
            self.disk.states[row] = self.host.name
            (self.disk.waiting if shares else self.disk.own)[event_id] = addressed
            self.spool.keep(progress)

    async def _tell(self) -> None:
        """What a sink does: one event at a time, while it may."""
        while True:
            await asyncio.sleep(0.05)
            for queue in (self.disk.waiting, self.disk.own):
                for event_id, each in list(queue.items()):
                    for sink in each.sinks:
                        if queue is self.disk.waiting and not self.spool.may_tell():
                            break
                        self.told.append(Told(event_id=event_id, sink=sink, by=self.host.name, at=self.host.world.now))
                        self.spool.drop(event_id, sink)
                        if queue is self.disk.waiting:
                            self.spool.on_left(Left(sink=sink, event_id=event_id, told=True))
