"""The `kind: snmp` sinks: their settings, and which sink each type is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from hsm_agent.deliver.base import SinkSettings
from hsm_agent.deliver.snmp.sinks import InformSink, Peer, TrapSink
from hsm_agent.model import Guarantee
from hsm_agent.net.address import Address
from hsm_agent.settings.snmp import MAX_RETRIES, SnmpPeerSettings, SnmpUser, trap_receiver_line
from hsm_agent.settings.types import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hsm_agent.deliver.base import SinkContext

__all__ = ["SnmpSink", "SnmpSinkSettings", "SnmpUser", "trap_receiver_line"]

SCHEMES = ("udp", "udp6")

SnmpSink = InformSink | TrapSink
"""Both can `notify` beside what every sink can."""


def _receiver(text: str) -> str:
    return str(Address.parse(text, SCHEMES))


class SnmpSinkSettings(SnmpPeerSettings, SinkSettings):
    """A receiver of notifications and what it is sent."""

    kind: Literal["snmp"]
    to: Annotated[str, AfterValidator(_receiver)]
    type: Literal["trap", "inform"] | None = None
    """None: inform for v3, trap for v2c."""
    timeout: Annotated[Deadline, Field(le=60)] = 2.0
    """Seconds an answer is waited for before the inform is sent again."""
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] = 3

    @property
    def address(self) -> Address:
        """The receiver, parsed."""
        return Address.parse(self.to, SCHEMES)

    @property
    def notification_type(self) -> Literal["trap", "inform"]:
        """What is sent."""
        return self.type or ("inform" if self.version == "v3" else "trap")

    @property
    def guarantee(self) -> Guarantee:
        """An inform is acknowledged, a trap is not."""
        return Guarantee.AT_LEAST_ONCE if self.notification_type == "inform" else Guarantee.BEST_EFFORT

    @property
    def answer_seconds(self) -> float:
        """To open the link, to discover the engine, and for the answer to one inform."""
        return self.timeout * (1 + 2 * (self.retries + 1))

    def build(self, context: SinkContext) -> SnmpSink:
        """The sink. Derives a user's keys, which takes a few milliseconds."""
        peer = Peer(
            address=self.address,
            bind=self.bind,
            timeout=self.timeout,
            retries=self.retries,
            context=context,
            community=self.community.reveal().encode() if self.community else None,
            user=self.user.user() if self.user else None,
            answers_from=self.answers_from,
        )
        if self.notification_type == "inform":
            return InformSink(name=self.name, peer=peer)
        return TrapSink(name=self.name, peer=peer)

    def about(self, engine_id: bytes | None) -> Iterator[str]:
        """With the line that the receiver's snmptrapd.conf needs for the user; the secrets are left to fill in."""
        yield from super().about(engine_id)
        if self.user is None:
            return
        # A trap is sent as the agent's engine, an inform as the receiver's own (RFC 3414 section 1.5.1).
        is_trap = self.notification_type == "trap"
        if is_trap and engine_id is None:
            yield "snmptrapd.conf: the line for snmptrapd is known once there is an engine ID"
        else:
            yield f"snmptrapd.conf: {trap_receiver_line(engine_id if is_trap else None, self.user)}"

    def speaks_v3(self) -> bool:
        """Users are SNMPv3's."""
        return self.user is not None
