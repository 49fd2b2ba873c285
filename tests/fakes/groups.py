"""A group as one of its members sees it, and a member that does as the test says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hsm_agent.group.member import GroupMember, NotLeadingError
from hsm_agent.model import GroupRole, GroupStatus, MemberStatus

if TYPE_CHECKING:
    from hsm_agent.group.base import Journal, MemberConfig, Replica
    from hsm_agent.group.settings import GroupSettings

LEADER = MemberStatus(
    name="a",
    role=GroupRole.LEADER,
    is_up=True,
    seconds_since_seen=0.4,
    version="0.1.0",
    sources_up=3,
    sources_expected=3,
    clock_offset_seconds=0.0,
)
STANDBY = replace(LEADER, name="b", role=GroupRole.STANDBY, clock_offset_seconds=0.2)
WELL = GroupStatus(
    group="emea",
    name="b",
    role=GroupRole.STANDBY,
    epoch=812,
    leader="a",
    beat_age_seconds=0.4,
    lag_seconds=0.0,
    is_caught_up=True,
    is_connected=True,
    members=(LEADER, STANDBY),
)
"""Of the standby b, which follows a."""


class FakeMember(GroupMember):
    """What `Membership` asks of it is kept in `asked`; `shown` is its status."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.given = given
        self.named = named
        self.asked: list[Any] = []
        self.shown = WELL
        self.replica: Replica | None = None

    @property
    def journal(self) -> Journal:
        raise NotImplementedError

    async def run(self, replica: Replica) -> None:
        self.replica = replica

    def status(self) -> GroupStatus:
        return self.shown

    async def drain(self, seconds: float) -> None:
        self.asked.append(seconds)

    async def yield_lead(self, to: str = "") -> str:
        if self.shown.role is not GroupRole.LEADER:
            raise NotLeadingError(f"a leads the group, not {self.shown.name}")
        return f"{to or 'any member'} may lead"

    def forget(self, name: str) -> None:
        self.asked.append(name)

    def reload(self, config: MemberConfig, settings: GroupSettings) -> None:
        self.asked += [config, settings]
