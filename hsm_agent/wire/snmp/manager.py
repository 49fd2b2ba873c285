"""The side that reads an SNMP agent: GET and GETBULK, and the values it answers with.

No I/O and no clock; discovery and time are those of every dialogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp import pdu as snmp
from hsm_agent.wire.snmp.dialogue import Dialogue
from hsm_agent.wire.snmp.pdu import PduType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.wire.snmp.ber import Oid, VarBind
    from hsm_agent.wire.snmp.engine import Salts
    from hsm_agent.wire.snmp.pdu import Pdu
    from hsm_agent.wire.snmp.usm import User


class Answered(NamedTuple):
    """A Response. `error_index` counts the names asked for from 1; 0 is none of them."""

    request_id: int
    error_status: int
    error_index: int
    varbinds: tuple[VarBind, ...]


class Manager(Dialogue[Answered]):
    """Encodes requests to one agent and understands its answers. Made anew after each failure."""

    def __init__(
        self,
        *,
        salts: Salts,
        first_id: int,
        community: bytes | None = None,
        user: User | None = None,
        context: bytes = b"",
    ) -> None:
        """`context` is the context name of v3; the context engine is always the agent's own."""
        super().__init__(salts=salts, first_id=first_id, community=community, user=user)
        self._context_name = context

    def encode_get(self, request_id: int, names: Iterable[Oid], now: float) -> bytes:
        """A GetRequest."""
        return self._encode_confirmed(_pdu(PduType.GET, request_id, 0, 0, names), request_id, now)

    def encode_bulk(self, request_id: int, names: Iterable[Oid], repetitions: int, now: float) -> bytes:
        """A GetBulkRequest without non-repeaters."""
        return self._encode_confirmed(_pdu(PduType.GETBULK, request_id, 0, repetitions, names), request_id, now)

    def _context(self, engine_id: bytes) -> tuple[bytes, bytes]:
        return engine_id, self._context_name

    def _understood(self, pdu: Pdu) -> Answered:
        return Answered(pdu.request_id, pdu.first, pdu.second, snmp.read_varbinds(pdu.varbinds))


def _pdu(kind: PduType, request_id: int, first: int, second: int, names: Iterable[Oid]) -> bytes:
    return snmp.encode_pdu(kind, request_id, first, second, (ber.encode_varbind(name, ber.NULL) for name in names))
