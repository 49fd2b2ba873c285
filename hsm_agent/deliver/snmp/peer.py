"""One receiver of notifications: where it is, and in whose name it is spoken to."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.net.snmp_answers import Elsewhere
from hsm_agent.net.udp_client import Link, LinkError, open_link
from hsm_agent.wire.snmp.client_engine import Originator
from hsm_agent.wire.snmp.notification import encode_event

if TYPE_CHECKING:
    from hsm_agent.deliver.base import SinkContext
    from hsm_agent.model import Event
    from hsm_agent.net.address import Address
    from hsm_agent.settings.snmp import AnswersFrom
    from hsm_agent.wire.snmp.usm import User


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A receiver as it is configured."""

    address: Address
    bind: str | None
    timeout: float
    retries: int
    context: SinkContext
    community: bytes | None = field(default=None, repr=False)
    user: User | None = None
    answers_from: AnswersFrom = "same"

    def elsewhere(self) -> Elsewhere:
        """Whether answers from other addresses are taken, and which were heard of."""
        return Elsewhere(str(self.address), believed=self.user is not None or self.answers_from == "any")

    def originator(self) -> Originator:
        """A fresh protocol state: whatever was believed of the receiver is forgotten."""
        return Originator(
            engine=self.context.engine, first_id=secrets.randbits(31), community=self.community, user=self.user
        )

    def up_seconds(self, now: float) -> float:
        """How long the engine is up, for sysUpTime."""
        return max(now - self.context.engine.started, 0.0)

    def varbinds(self, event: Event) -> tuple[bytes, ...]:
        """An event's variable bindings. Raises ValueError if it has none."""
        up_seconds = self.up_seconds(asyncio.get_running_loop().time())
        return encode_event(event, self.context.base_oid, up_seconds=up_seconds)

    async def open(self, turn: int, *, strays: bool = False) -> Link:
        """A socket to one of its addresses, another one each turn. Raises LinkError."""
        if self.user is not None and self.context.engine.is_held:
            raise LinkError("SNMPv3 is held back until the engine's boots can be stored")
        return await open_link(self.address, bind=self.bind, turn=turn, timeout=self.timeout, strays=strays)
