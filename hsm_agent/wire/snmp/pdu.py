"""SNMP PDUs, the community-based messages around them (RFC 3416, RFC 1157, RFC 1901), and requests that were accepted.

Octets in, records out, and back. Decoders raise ber.DecodeError and nothing else; encoders trust their caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.ber import DecodeError, Reason, VarBind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.usm import Keys

MAX_MESSAGE_OCTETS = 65507
"""The largest payload of a UDP datagram over IPv4."""
MIN_MAX_OCTETS = 484
"""What every engine must be able to receive (RFC 3412 section 6.2)."""


class Version(IntEnum):
    """The version number in a message."""

    V1 = 0
    V2C = 1
    V3 = 3


class PduType(IntEnum):
    """What a PDU asks or says; the value is its BER tag."""

    GET = 0xA0
    GETNEXT = 0xA1
    RESPONSE = 0xA2
    SET = 0xA3
    TRAP_V1 = 0xA4
    GETBULK = 0xA5
    INFORM = 0xA6
    TRAP = 0xA7
    REPORT = 0xA8


CONFIRMED = frozenset({PduType.GET, PduType.GETNEXT, PduType.SET, PduType.GETBULK, PduType.INFORM})
"""The Confirmed Class of RFC 3411 section 2.8: what may be answered with a Report."""
_PDU_TYPES = {int(pdu_type): pdu_type for pdu_type in PduType if pdu_type is not PduType.TRAP_V1}


class ErrorStatus(IntEnum):
    """The error-status of a response (RFC 3416 section 3)."""

    NO_ERROR = 0
    TOO_BIG = 1
    NO_SUCH_NAME = 2
    BAD_VALUE = 3
    READ_ONLY = 4
    GEN_ERR = 5
    NO_ACCESS = 6
    WRONG_TYPE = 7
    WRONG_LENGTH = 8
    WRONG_ENCODING = 9
    WRONG_VALUE = 10
    NO_CREATION = 11
    INCONSISTENT_VALUE = 12
    RESOURCE_UNAVAILABLE = 13
    COMMIT_FAILED = 14
    UNDO_FAILED = 15
    AUTHORIZATION_ERROR = 16
    NOT_WRITABLE = 17
    INCONSISTENT_NAME = 18


class Pdu(NamedTuple):
    """A PDU whose variable bindings are still encoded: the content of their list.

    `first` is error-status or non-repeaters, `second` error-index or max-repetitions.
    """

    pdu_type: PduType
    request_id: int
    first: int
    second: int
    varbinds: bytes


def read_pdu(data: bytes, position: int, end: int) -> Pdu:
    """The PDU at `position`; what follows it is ignored. A v1 trap is none."""
    tag, start, stop = ber.read_header(data, position, end)
    pdu_type = _PDU_TYPES.get(tag)
    if pdu_type is None:
        raise DecodeError(Reason.TAG)
    request_id, start = ber.read_cut_integer(data, start, stop)
    first, start = ber.read_cut_integer(data, start, stop)
    second, start = ber.read_cut_integer(data, start, stop)
    start, stop = ber.enter(data, start, stop, ber.SEQUENCE)
    return Pdu(pdu_type, request_id, first, second, data[start:stop])


def read_names(varbinds: bytes, most: int = MAX_MESSAGE_OCTETS) -> tuple[Oid, ...]:
    """The names in an encoded list of variable bindings, up to `most`; the values must be well-formed and are dropped.

    A request is dropped for the damage that snmpd drops it for.
    """
    names: list[Oid] = []
    position, end = 0, len(varbinds)
    while position < end and len(names) < most:
        start, stop = ber.enter(varbinds, position, end, ber.SEQUENCE)
        name, value = ber.read_oid(varbinds, start, stop)
        if varbinds[value:stop] != ber.NULL:
            ber.finish(ber.read_value(varbinds, value, stop)[2], stop)
        names.append(name)
        position = stop
    return tuple(names)


def read_varbinds(varbinds: bytes, most: int = MAX_MESSAGE_OCTETS) -> tuple[VarBind, ...]:
    """The names and values in an encoded list of variable bindings; DecodeError if there are more than `most`.

    What can't be decoded within one leaves the others as they are.
    """
    found: list[VarBind] = []
    position, end = 0, len(varbinds)
    while position < end:
        if len(found) >= most:
            raise DecodeError(Reason.LENGTH)
        start, stop = ber.enter(varbinds, position, end, ber.SEQUENCE)
        found.append(_read_varbind(varbinds, start, stop))
        position = stop
    return tuple(found)


def _read_varbind(data: bytes, start: int, stop: int) -> VarBind:
    name: Oid = ()
    try:
        name, start = ber.read_oid(data, start, stop)
        return VarBind(name, *ber.read_value(data, start, stop)[:2])
    except DecodeError:
        return VarBind(name, data[start] if start < stop else ber.NULL_TAG, ber.undecodable(data, start, stop))


def encode_pdu(pdu_type: PduType, request_id: int, first: int, second: int, varbinds: Iterable[bytes]) -> bytes:
    """A PDU of encoded variable bindings, or of one bytes object that holds them all."""
    listed = b"".join(varbinds)
    content = b"".join(
        (
            # One that ber.read_cut_integer made of a longer one may be more than an Integer32, and is given back so.
            ber.encode_integer(request_id) if request_id < 2**31 else b"\x02\x05" + request_id.to_bytes(5, "big"),
            ber.encode_integer(first),
            ber.encode_integer(second),
            b"\x30",
            ber.encode_length(len(listed)),
            listed,
        )
    )
    return ber.encode(pdu_type, content)


def encode_community_message(version: Version, community: bytes, pdu: bytes) -> bytes:
    """A v1 or v2c message."""
    content = ber.encode_integer(version) + ber.encode_octets(community) + pdu
    return ber.encode(ber.SEQUENCE, content)


def open_message(datagram: bytes) -> tuple[int, int, int]:
    """Version, position behind it, and end of the message in a datagram.

    Octets behind it are ignored; under v3 they are part of what is authenticated, as for net-snmp.
    """
    start, end = ber.enter(datagram, 0, len(datagram), ber.SEQUENCE)
    version, start = ber.read_integer(datagram, start, end)
    return version, start, end


COMMUNITY_OVERHEAD_OCTETS = 4 + 3 + 4 + 4 + 6 + 6 + 6 + 4
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

    `principal` is the name of the user or community; `room_octets` how many octets of variable bindings fit into the
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
    max_octets: int
    room_octets: int
    varbinds: bytes
    reply: CommunityReply | V3Reply

    @property
    def counter64(self) -> bool:
        """Whether the requester's version knows Counter64; to v1 there is none (RFC 3584 section 4.2.2.1)."""
        return self.version is not Version.V1
