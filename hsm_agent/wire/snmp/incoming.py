"""A v3 message on its way through the checks of the authoritative side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import pdu as snmp
from hsm_agent.wire.snmp import v3 as snmp_v3
from hsm_agent.wire.snmp.ber import DecodeError

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.pdu import Pdu
    from hsm_agent.wire.snmp.v3 import Header, Parameters


class Incoming(NamedTuple):
    """A v3 message on its way through the checks."""

    datagram: bytes
    address: str
    now: float
    header: Header
    parameters: Parameters
    data_position: int
    data_end: int

    @property
    def encrypted(self) -> bool:
        """Whether msgData is encrypted, as its flags say."""
        return bool(self.header.flags & snmp_v3.PRIVACY)


def peek(incoming: Incoming, context_engine_id: bytes | None = None) -> Pdu | None:
    """The PDU of a message in clear, as far as it can be read; only one for this context engine, if it is given."""
    try:
        scoped = snmp_v3.read_scoped(incoming.datagram, incoming.data_position, incoming.data_end)
        if context_engine_id not in {None, scoped.context_engine_id} or (context_engine_id and scoped.context_name):
            return None
        return snmp.read_pdu(scoped.data, scoped.position, scoped.end)
    except DecodeError:
        return None
