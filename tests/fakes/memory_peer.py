"""A receiver of notifications without a network: each link that is opened is the next one given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.deliver.base import SinkContext
from hsm_agent.deliver.snmp import Peer
from hsm_agent.model import AgentIdentity
from hsm_agent.net.address import Address
from hsm_agent.net.udp import LinkError
from hsm_agent.wire.snmp.mib import BASE
from tests.fakes.snmp_messages import engine

if TYPE_CHECKING:
    from hsm_agent.net.udp import UdpLink

ADDRESS = Address.parse("udp:192.0.2.10:162", ("udp",))
CONTEXT = SinkContext(
    origin=AgentIdentity(agent_name="a", host_name="h", version="1", enterprise_id=1), engine=engine(), base_oid=BASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPeer(Peer):
    """Hands out `links` in turn; when there is none left, the network is down."""

    links: list[UdpLink]
    address: Address = ADDRESS
    bind: str | None = None
    timeout_seconds: float = 0.1
    retries: int = 1
    context: SinkContext = CONTEXT
    community: bytes | None = b"public"
    turns: list[int] = field(default_factory=list)

    async def open(self, turn: int, *, strays: bool = False) -> UdpLink:
        del strays
        self.turns.append(turn)
        await asyncio.sleep(0)  # to open a socket takes turns of the loop
        if not self.links:
            raise LinkError("network is unreachable")
        return self.links.pop(0)
