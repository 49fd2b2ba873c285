"""The side that sends notifications to one receiver: traps under our own engine, informs under the receiver's.

No I/O and no clock; discovery and time are those of every dialogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import pdu as snmp
from hsm_agent.wire.snmp.dialogue import Complaint, Dialogue, Learned, TooBigError, sized
from hsm_agent.wire.snmp.pdu import PduType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.wire.snmp.engine import Engine
    from hsm_agent.wire.snmp.pdu import Pdu
    from hsm_agent.wire.snmp.usm import User

__all__ = ["Acknowledged", "Complaint", "Declined", "Learned", "Originator", "Outcome", "TooBigError"]


class Acknowledged(NamedTuple):
    """The receiver has taken the inform."""

    request_id: int


class Declined(NamedTuple):
    """The receiver answered with an error."""

    request_id: int
    error_status: int


Outcome = Acknowledged | Declined | Learned | Complaint


class Originator(Dialogue[Acknowledged | Declined]):
    """Encodes notifications for one receiver and understands what it answers. Made anew after each failure."""

    def __init__(
        self, *, engine: Engine, first_id: int, community: bytes | None = None, user: User | None = None
    ) -> None:
        """As a dialogue; traps and what informs tell of are this engine's."""
        super().__init__(salts=engine.salts, first_id=first_id, community=community, user=user)
        self._engine = engine
        self._own_keys = user.localize(engine.engine_id) if user else None

    def encode_trap(self, varbinds: Iterable[bytes], now: float) -> bytes:
        """An SNMPv2-Trap; v3 ones are authenticated by our own engine (RFC 3413 section 3.3, unconfirmed)."""
        pdu = snmp.encode_pdu(PduType.TRAP, self.next_id(), 0, 0, varbinds)
        if self._own_keys is None:
            return self._encode_community(pdu)
        engine = self._engine
        header = self._header(self._own_keys, reportable=0)
        message = self._encode_v3(header, self._own_keys, pdu, (engine.engine_id, engine.boots, engine.time(now)))
        return sized(message, snmp.MAX_MESSAGE)

    def encode_inform(self, request_id: int, varbinds: Iterable[bytes], now: float) -> bytes:
        """An InformRequest; called again for each retransmission, whose message ID and time are new."""
        return self._encode_confirmed(snmp.encode_pdu(PduType.INFORM, request_id, 0, 0, varbinds), request_id, now)

    def _context(self, engine_id: bytes) -> tuple[bytes, bytes]:
        del engine_id  # what is told of is always the agent itself
        return self._engine.engine_id, b""

    def _understood(self, pdu: Pdu) -> Acknowledged | Declined:
        return Declined(pdu.request_id, pdu.first) if pdu.first else Acknowledged(pdu.request_id)
