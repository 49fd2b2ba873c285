"""The discovery of an engine's ID by its local name, 8000000006 (RFC 5343): as snmpd answers it.

Who asks for the context engine of this name may read snmpEngineID.0 and nothing else. The engine ID is no secret (every
Report has it), so a known user may ask without authentication.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp import pdu as snmp
from hsm_agent.wire.snmp import v3 as snmp_v3
from hsm_agent.wire.snmp.pdu import PduType

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.engine import Engine
    from hsm_agent.wire.snmp.v3 import Header

LOCAL_ENGINE_ID = bytes.fromhex("8000000006")
_ENGINE_ID: Oid = (1, 3, 6, 1, 6, 3, 10, 2, 1, 1)
_ASKED = {PduType.GET: ((*_ENGINE_ID, 0),), PduType.GETNEXT: (_ENGINE_ID,)}


def asks_for_engine_id(pdu_type: PduType, names: tuple[Oid, ...]) -> bool:
    """Whether this reads snmpEngineID.0, and it alone."""
    return names == _ASKED.get(pdu_type)


def answer_in_clear(engine: Engine, header: Header, user_name: bytes, request_id: int, now: float) -> bytes:
    """The engine ID, for who asked without authentication."""
    varbind = ber.encode_varbind((*_ENGINE_ID, 0), ber.encode_octets(engine.engine_id))
    response = snmp.encode_pdu(PduType.RESPONSE, request_id, 0, 0, (varbind,))
    return snmp_v3.encode_message(
        snmp_v3.Header(header.message_id, snmp.MAX_MESSAGE, 0, snmp_v3.USM_MODEL),
        engine_id=engine.engine_id,
        boots=engine.boots,
        time=engine.time(now),
        keys=user_name,
        scoped=snmp_v3.encode_scoped(LOCAL_ENGINE_ID, b"", response),
    )
