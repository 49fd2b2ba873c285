"""The source `kind: snmp_trap_listener`: traps and informs of appliances become alarms of the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from hsm_agent.collect.base import Collector, CollectorContext, SourceSettings
from hsm_agent.collect.traps.listener import TrapListener
from hsm_agent.collect.traps.settings import (
    Address,
    DeviceName,
    TrapCommunity,
    TrapMap,
    TrapUser,
    refuse_ends_without_beginning,
    refuse_too_much,
)
from hsm_agent.metrics import traps
from hsm_agent.serve.snmp_settings import LOOPBACK, Networks, Place, listen_address, refuse_twins
from hsm_agent.settings import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_WAIT_SECONDS = 300.0
"""A poll waits for traps so long at most: the runner takes one of ten minutes for stuck."""


class SnmpTrapListenerSettings(SourceSettings):
    """Receives traps and informs of appliances."""

    kind: Literal["snmp_trap_listener"]
    every: Annotated[Interval, Field(le=LONGEST_WAIT_SECONDS)] = 60.0
    listen: Annotated[tuple[Place, ...], Field(min_length=1)] = ("udp:127.0.0.1:1162",)
    networks: Networks = LOOPBACK
    communities: tuple[TrapCommunity, ...] = ()
    users: tuple[TrapUser, ...] = ()
    devices: dict[Address, DeviceName] = Field(default_factory=dict)
    vendors: tuple[Literal["luna", "utimaco"], ...] = ("luna", "utimaco")
    maps: tuple[TrapMap, ...] = ()
    clear_after: Interval = 86400.0

    @model_validator(mode="after")
    def _somebody_can_speak(self) -> Self:
        refuse_twins("listen", [listen_address(text) for text in self.listen if listen_address(text)[1]])
        refuse_twins("users", [user.name for user in self.users])
        refuse_twins("communities", [community.name.reveal() for community in self.communities])
        if not self.users and not self.communities:
            raise ValueError("users: without users and communities nobody can be heard")
        refuse_ends_without_beginning(self.maps, self.vendors)
        refuse_too_much(self.maps)
        return self

    def build(self, context: CollectorContext) -> Collector:
        """The collector of this source."""
        return TrapListener(self, context)

    def brings(self) -> Mapping[str, str]:
        """Alarms of appliances, and what became of the datagrams."""
        return dict.fromkeys((metric.name for metric in traps.METRICS), "")

    def about(self) -> Iterator[str]:
        """Where it listens, who is heard, which traps are understood."""
        yield ", ".join(self.listen)
        yield f"from {', '.join(map(str, self.networks))}"
        users = ", ".join(user.name for user in self.users) or "none"
        yield f"communities: {len(self.communities)}; users: {users}"
        yield f"maps: {', '.join(self.vendors) or 'none'} built in, {len(self.maps)} own"
