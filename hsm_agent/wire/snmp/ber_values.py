"""The values that variable bindings hold, decoded; and what to say of those that can't be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.wire.snmp.ber import (
    BIT_STRING,
    COUNTER32,
    COUNTER64,
    END_OF_MIB_VIEW_TAG,
    GAUGE32,
    INTEGER,
    IP_ADDRESS,
    MAX_INTEGER_OCTETS,
    MAX_UNSIGNED32,
    MAX_UNSIGNED64,
    NO_SUCH_INSTANCE_TAG,
    NO_SUCH_OBJECT_TAG,
    NSAP_ADDRESS,
    NULL_TAG,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    OPAQUE,
    TIMETICKS,
    UINTEGER32,
    DecodeError,
    Reason,
    Undecodable,
    read_header,
    read_oid,
)

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

_MAX_UNSIGNED_OCTETS = 9
_MAX_UNUSED_BITS = 7
_SHOWN_OCTETS = 16


def read_value(data: bytes, position: int, end: int) -> tuple[int, int | bytes | Oid | None, int]:
    """Tag and value of anything a variable binding may hold, and the position behind it."""
    tag, start, stop = read_header(data, position, end)
    length = stop - start
    if tag == INTEGER:
        return tag, _wide_integer(data[start:stop]), stop
    if tag == OBJECT_IDENTIFIER:
        return (tag, *read_oid(data, position, end))
    if tag in {OCTET_STRING, OPAQUE, NSAP_ADDRESS}:
        return tag, data[start:stop], stop
    if tag in _UNSIGNED:
        value = int.from_bytes(data[start:stop], "big")
        # Some agents leave out the sign octet of large values: length counts, not its form.
        if not 0 < length <= _MAX_UNSIGNED_OCTETS or value > _UNSIGNED[tag]:
            raise DecodeError(Reason.RANGE)
        return tag, value, stop
    if tag in {NULL_TAG, NO_SUCH_OBJECT_TAG, NO_SUCH_INSTANCE_TAG, END_OF_MIB_VIEW_TAG}:
        return tag, None, stop
    return tag, _rare(tag, data[start:stop]), stop


def _rare(tag: int, content: bytes) -> bytes:
    if tag == IP_ADDRESS and len(content) == 4:  # noqa: PLR2004 - RFC 2578 section 7.1.5
        return content
    if tag == BIT_STRING and content and content[0] <= _MAX_UNUSED_BITS:
        return content[1:]
    raise DecodeError(Reason.RANGE if tag in {IP_ADDRESS, BIT_STRING} else Reason.TAG)


def _wide_integer(content: bytes) -> int:
    """An Integer32, or what some agents write as INTEGER though it is an unsigned number of 32 bits."""
    if not 0 < len(content) <= MAX_INTEGER_OCTETS:
        raise DecodeError(Reason.RANGE)
    value = int.from_bytes(content, "big", signed=True)
    if not -(2**31) <= value <= MAX_UNSIGNED32:
        raise DecodeError(Reason.RANGE)
    return value


_UNSIGNED = {
    COUNTER32: MAX_UNSIGNED32,
    GAUGE32: MAX_UNSIGNED32,
    TIMETICKS: MAX_UNSIGNED32,
    UINTEGER32: MAX_UNSIGNED32,
    COUNTER64: MAX_UNSIGNED64,
}
_TYPES = {
    INTEGER: "INTEGER",
    BIT_STRING: "BIT STRING",
    OBJECT_IDENTIFIER: "OBJECT IDENTIFIER",
    IP_ADDRESS: "IpAddress",
    COUNTER32: "Counter32",
    GAUGE32: "Gauge32",
    TIMETICKS: "TimeTicks",
    UINTEGER32: "UInteger32",
    COUNTER64: "Counter64",
}


def undecodable(data: bytes, position: int, end: int) -> Undecodable:
    """What to say of the octets from `position` to `end`, which read_value did not take."""
    if position >= end:
        return Undecodable("no value at all")
    tag = data[position]
    try:
        _, start, stop = read_header(data, position, end)
    except DecodeError as error:
        return Undecodable(f"a value whose length is wrong ({error}): {_shown(data[position:end])}")
    kind = _TYPES.get(tag, f"type {tag:#04x}, which SNMP does not have,")
    octets = "1 octet" if stop - start == 1 else f"{stop - start} octets"
    return Undecodable(f"{kind} of {octets}: {_shown(data[start:stop])}" if stop > start else f"{kind} of 0 octets")


def _shown(octets: bytes) -> str:
    return octets.hex() if len(octets) <= _SHOWN_OCTETS else f"{octets[:_SHOWN_OCTETS].hex()}…"
