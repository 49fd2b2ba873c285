"""The clients of etcd that a member needs: each is asked one thing at a time, and what is urgent waits for nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from hsm_agent.group.follow import FollowedEtcd
from hsm_agent.group.members import MembersEtcd
from hsm_agent.group.probe import Probe
from hsm_agent.group.takeover import LeadingEtcd
from hsm_agent.net.etcd import EtcdClient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.group.keys import GroupKeys
    from hsm_agent.net.etcd_messages import EtcdTrouble
    from hsm_agent.net.etcd_settings import EtcdSettings


class ClosedEtcd(Protocol):
    """Something with connections."""

    def use(self, settings: EtcdSettings) -> None:
        """Go by these settings from the next request on."""

    async def close(self) -> None:
        """Close them, within seconds."""


class FollowedClient(FollowedEtcd, ClosedEtcd, Protocol):
    """For the follower."""

    @property
    def first_endpoint(self) -> str:
        """Which is asked first: the one that answered last."""


class MembersClient(MembersEtcd, ClosedEtcd, Protocol):
    """For what members say of themselves."""


class LeadingClient(LeadingEtcd, ClosedEtcd, Protocol):
    """For what a leader writes."""

    def ask_first(self, endpoint: str) -> None:
        """Ask this one first, as another client was answered by it."""


class EndpointsProbe(ClosedEtcd, Protocol):
    """Asks each endpoint by itself."""

    async def ask(self) -> Mapping[str, EtcdTrouble | None]:
        """The trouble with each, None where it serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupClients:
    """Who asks for what."""

    beats: LeadingClient
    commits: LeadingClient
    acceptances: LeadingClient
    follow: FollowedClient
    members: MembersClient
    probe: EndpointsProbe

    @classmethod
    def of(cls, settings: EtcdSettings, quick: EtcdSettings, keys: GroupKeys) -> Self:
        """`quick`: no server is waited for longer than from one beat to the next."""
        return cls(
            beats=EtcdClient(quick),
            commits=EtcdClient(quick),
            acceptances=EtcdClient(quick),
            follow=EtcdClient(quick),
            members=EtcdClient(settings),
            probe=Probe(quick, keys),
        )

    def use(self, settings: EtcdSettings, quick: EtcdSettings) -> None:
        """Go by these from the next requests on; as in `of`."""
        for each in self._quick():
            each.use(quick)
        self.members.use(settings)

    def ask_who_answers(self) -> None:
        """Who is to lead asks first who has answered the follower: a silent endpoint is waited for once, and early."""
        for each in (self.beats, self.commits, self.acceptances):
            each.ask_first(self.follow.first_endpoint)

    async def close(self) -> None:
        """Close all connections, side by side."""
        await asyncio.gather(*(each.close() for each in (*self._quick(), self.members)))

    def _quick(self) -> tuple[ClosedEtcd, ...]:
        return (self.beats, self.commits, self.acceptances, self.follow, self.probe)
