"""The section `group`: which agents watch the same as one, and what each does while it cannot ask the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from hsm_agent.group.keys import MOST_LEASE_SECONDS
from hsm_agent.group.lead import BEATS_A_LEASE
from hsm_agent.net.etcd_settings import EtcdSettings
from hsm_agent.settings.types import Interval, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "group.etcd"
"""Where the servers are configured."""
_TOLERATES_ONE = 3
"""Servers: with fewer none may fail."""


class GroupSettings(Strict):
    """A group of agents: the same for all its members, but for the addresses and the user."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    lease: Annotated[Interval, Field(ge=2.0, le=MOST_LEASE_SECONDS)] = 3.0
    """For how long a lead lasts that is not renewed."""
    alone: Literal["tell", "hold"] = "tell"
    """What is done where no member can have a quorum."""
    isolated: Literal["hold", "tell"] = "hold"
    """What is done where others may have one."""
    alone_after: Annotated[Interval, Field(le=3600.0)] = 10.0
    """Seconds without etcd before this agent is alone or isolated."""
    hand_over_after: Annotated[Interval, Field(ge=10.0, le=86400.0)] | None = 120.0
    """Seconds for which another member has more sources up before the leader gives it the lead; None: never."""
    etcd: EtcdSettings

    @model_validator(mode="after")
    def _nobody_is_alone_while_one_may_lead(self) -> Self:
        if self.alone_after < self.lease:
            raise ValueError(
                f"alone_after: shorter than the lease of {self.lease:g} s, for which the leader may still tell"
            )
        return self

    @property
    def quick_etcd(self) -> EtcdSettings:
        """The servers, none of which is waited for longer than from one beat to the next."""
        return self.etcd.model_copy(update={"timeout": min(self.etcd.timeout, self.lease / BEATS_A_LEASE)})

    def about(self, agent: str, digest: str) -> Iterator[str]:
        """For `check-config`. `digest`: of what every member must have alike."""
        yield f"group {self.name}: {agent} is a member, through {', '.join(self.etcd.endpoints)}"
        yield f"  digest {digest}: it must be the same at every member"
        yield f"  another member leads within {self.lease + 1:g} s of the leader's end, while etcd has a quorum"
        yield "  what each sink guarantees holds across takeovers, too; what comes twice then has one eventId"
        alone = "judges and tells for itself" if self.alone == "tell" else "holds its alarms"
        isolated = "holds its alarms" if self.isolated == "hold" else "judges and tells for itself"
        yield f"  after {self.alone_after:g} s without etcd: {alone} where a majority of it is down, else {isolated}"
        yield from (f"  warning: {line}" for line in self.warnings())

    def warnings(self) -> tuple[str, ...]:
        """What works and should not stay so, a line each."""
        found = []
        if (count := len(self.etcd.endpoints)) < _TOLERATES_ONE:
            found.append(
                f"{KEY}.endpoints: {count} of {_TOLERATES_ONE}: the group has no leader as soon as one server is down;"
                " have three, at three sites"
            )
        if self.isolated == "tell":
            found.append("group.isolated: a member that is cut off tells as well as the leader: all may come twice")
        return (*found, *self.etcd.warnings(KEY))
