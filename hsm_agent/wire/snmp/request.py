"""A request that passed the checks of the authoritative side, and the encoding of its response."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import v3
from hsm_agent.wire.snmp.pdu import MAX_MESSAGE, ErrorStatus, PduType, Version, encode_community_message, encode_pdu
from hsm_agent.wire.snmp.v3 import Header

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.engine import Engine
    from hsm_agent.wire.snmp.usm import Keys

COMMUNITY_OVERHEAD = 4 + 3 + 4 + 4 + 6 + 6 + 6 + 4
"""At most how many octets a v1 or v2c message has beside the community and the variable bindings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """A community: `name` is what the caller calls it, `secret` what stands in a message, and who may use it."""

    name: str
    secret: bytes = field(repr=False)
    networks: tuple[IPv4Network | IPv6Network, ...]


class CommunityReply(NamedTuple):
    community: bytes


class V3Reply(NamedTuple):
    message_id: int
    keys: Keys
    context_engine_id: bytes
    context_name: bytes


class Request(NamedTuple):
    """A request that may be answered. A tuple and no dataclass: one is made for each packet, on the fast path.

    `principal` is the name of the user or community; `room` how many octets of variable bindings fit into the
    response; `varbinds` is what was asked, still encoded.
    """

    version: Version
    principal: str
    address: str
    received: float
    pdu_type: PduType
    request_id: int
    non_repeaters: int
    max_repetitions: int
    names: tuple[Oid, ...]
    max_size: int
    room: int
    varbinds: bytes
    reply: CommunityReply | V3Reply

    @property
    def counter64(self) -> bool:
        """Whether the requester's version knows Counter64; to v1 there is none (RFC 3584 section 4.2.2.1)."""
        return self.version is not Version.V1


def level_of(keys: Keys) -> int:
    """The security level of a user, as flags: the least and the only one."""
    return v3.LEVEL if keys.privacy else v3.AUTH


def encode_response(
    engine: Engine, request: Request, error_status: int, error_index: int, varbinds: Iterable[bytes]
) -> bytes:
    """The response, whatever its size."""
    if request.version is Version.V1:
        error_status = _V1_ERRORS.get(error_status, error_status)
    pdu = encode_pdu(PduType.RESPONSE, request.request_id, error_status, error_index, varbinds)
    reply = request.reply
    if isinstance(reply, CommunityReply):
        return encode_community_message(request.version, reply.community, pdu)
    level = level_of(reply.keys)
    return v3.encode_message(
        Header(reply.message_id, MAX_MESSAGE, level, v3.USM_MODEL),
        engine_id=engine.engine_id,
        boots=engine.boots,
        time=engine.time(request.received),
        keys=reply.keys,
        scoped=v3.encode_scoped(reply.context_engine_id, reply.context_name, pdu),
        salt=engine.salts.draw() if reply.keys.privacy else b"",
    )


_V1_ERRORS: dict[int, int] = {
    ErrorStatus.NO_ACCESS: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.NO_CREATION: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.AUTHORIZATION_ERROR: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.NOT_WRITABLE: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.INCONSISTENT_NAME: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.RESOURCE_UNAVAILABLE: ErrorStatus.GEN_ERR,
}
"""RFC 3584 section 4.4, as far as a responder that only reads can need it."""
