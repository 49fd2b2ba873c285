"""BER as SNMP uses it (RFC 3417 section 8): the encoding and decoding of single values.

Decoders take `(data, position, end)` and return what they read and the position behind it; whatever the input,
they raise DecodeError and nothing else, never recurse and never read behind `end`. They are as lenient as net-snmp's:
numbers and subidentifiers may have leading zeros, and an OBJECT IDENTIFIER without octets is 0.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

Oid = tuple[int, ...]
"""An object identifier; tuples sort as the MIB does, which their BER encodings don't."""

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL_TAG = 0x05
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
IP_ADDRESS = 0x40
COUNTER32 = 0x41
GAUGE32 = 0x42
TIMETICKS = 0x43
OPAQUE = 0x44
NSAP_ADDRESS = 0x45
COUNTER64 = 0x46
UINTEGER32 = 0x47
"""With BIT_STRING and NSAP_ADDRESS a type of RFC 1442, the first SNMPv2; some agents still send them."""
NO_SUCH_OBJECT_TAG = 0x80
NO_SUCH_INSTANCE_TAG = 0x81
END_OF_MIB_VIEW_TAG = 0x82

NULL = b"\x05\x00"
NO_SUCH_OBJECT = b"\x80\x00"
NO_SUCH_INSTANCE = b"\x81\x00"
END_OF_MIB_VIEW = b"\x82\x00"

MAX_SUBIDS = 128  # RFC 2578 section 3.5
MAX_SUBID = 2**32 - 1  # RFC 2578 section 3.5
_MAX_SUBID_OCTETS = 5
_MAX_LENGTH_OCTETS = 4
_MAX_INTEGER32_OCTETS = 4
MAX_INTEGER_OCTETS = 8  # what net-snmp reads: leading zeros of a 32-bit value written as a 64-bit one
MAX_UNSIGNED32 = 2**32 - 1
MAX_UNSIGNED64 = 2**64 - 1
_SHORT_LENGTHS = tuple(bytes((n,)) for n in range(0x80))
_SMALL_INTEGERS = tuple(bytes((INTEGER, 1, n)) for n in range(0x80))
_OID_TEXT = re.compile(r"\.?[0-9]{1,10}(\.[0-9]{1,10})*")
_CACHED_OIDS = 1024
_CACHED_OID_OCTETS = 32  # bounds the memory that unauthenticated senders can fill: about a megabyte


def parse_oid(text: str) -> Oid:
    """The numbers of `1.3.6.1.4.1.N` or `.1.3.6.1.4.1.N`, or of a piece of one. Raises ValueError.

    Whether they are a whole object identifier is for the caller to say: an index or a prefix is none.
    """
    if not _OID_TEXT.fullmatch(text):
        raise ValueError(f"not an object identifier: {text!r} (write 1.3.6.1.4.1.N.M, in quotes)")
    oid = tuple(int(part) for part in text.removeprefix(".").split("."))
    if len(oid) > MAX_SUBIDS or max(oid) > MAX_SUBID:
        raise ValueError(f"not an object identifier: at most {MAX_SUBIDS} numbers up to {MAX_SUBID}")
    return oid


class Reason(Enum):
    """Why something could not be decoded; a closed set, fit for counters."""

    TRUNCATED = "truncated"
    LENGTH = "length"
    TAG = "tag"
    RANGE = "range"
    OID = "object identifier"
    TRAILING = "trailing octets"


class DecodeError(ValueError):
    """The octets are not what they should be."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A value that is none, in a variable binding whose bounds are known; `reason` says what came."""

    reason: str


Value = int | bytes | Oid | Undecodable | None
"""What a variable binding holds; None for NULL and the exceptions of RFC 3416 section 3, by the tag."""


class VarBind(NamedTuple):
    """A decoded variable binding. One whose name can't be decoded has the name `()` and an undecodable value."""

    name: Oid
    tag: int
    value: Value


def encode_length(length: int) -> bytes:
    """A definite length in its shortest form."""
    if length < 0x80:  # noqa: PLR2004 - X.690 8.1.3.4: the short form
        return _SHORT_LENGTHS[length]
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def encode(tag: int, content: bytes) -> bytes:
    """Any value: tag, length, content."""
    return bytes((tag,)) + encode_length(len(content)) + content


def encode_integer(value: int) -> bytes:
    """An INTEGER (Integer32); ValueError outside its range."""
    if 0 <= value < 0x80:  # noqa: PLR2004 - one octet, the common case
        return _SMALL_INTEGERS[value]
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"not an Integer32: {value}")
    # One octet more than the bits fill, for the sign: 128 is 00 80. ~value: -128 still fits one octet (X.690 8.3.2).
    content = value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True)
    return b"\x02" + _SHORT_LENGTHS[len(content)] + content


def encode_octets(value: bytes) -> bytes:
    """An OCTET STRING."""
    return b"\x04" + encode_length(len(value)) + value


def _encode_unsigned(tag: int, value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes((tag, len(content))) + content


def encode_counter32(value: int) -> bytes:
    """A Counter32, which wraps (RFC 2578 section 7.1.6)."""
    return _encode_unsigned(COUNTER32, value & MAX_UNSIGNED32)


def encode_gauge32(value: int) -> bytes:
    """A Gauge32 or Unsigned32, which latches at both ends (RFC 2578 section 7.1.7)."""
    return _encode_unsigned(GAUGE32, min(max(value, 0), MAX_UNSIGNED32))


def encode_timeticks(value: int) -> bytes:
    """TimeTicks: hundredths of a second modulo 2^32 (RFC 2578 section 7.1.8)."""
    return _encode_unsigned(TIMETICKS, value & MAX_UNSIGNED32)


def encode_counter64(value: int) -> bytes:
    """A Counter64, which wraps."""
    return _encode_unsigned(COUNTER64, value & MAX_UNSIGNED64)


def encode_subids(subids: Oid) -> bytes:
    """Subidentifiers in base 128, without tag and length: what is appended to an encoded prefix for an instance."""
    octets = bytearray()
    for subid in subids:
        if subid < 0x80:  # noqa: PLR2004 - one octet, the common case
            if subid < 0:
                raise ValueError(f"not a subidentifier: {subid}")
            octets.append(subid)
            continue
        if subid > 2**32 + 79:  # the first octets carry two arcs; encode_oid has checked each
            raise ValueError(f"not a subidentifier: {subid}")
        shift = (subid.bit_length() - 1) // 7 * 7  # seven bits an octet, the highest first, all but the last marked
        while shift:
            octets.append(0x80 | subid >> shift & 0x7F)
            shift -= 7
        octets.append(subid & 0x7F)
    return bytes(octets)


def encode_oid(oid: Oid) -> bytes:
    """An OBJECT IDENTIFIER of 2 to 128 subidentifiers; ValueError for what is none."""
    content = oid_content(oid)
    return b"\x06" + encode_length(len(content)) + content


def oid_content(oid: Oid) -> bytes:
    """The same without its tag and length, as the beginning of a longer one."""
    if not 2 <= len(oid) <= MAX_SUBIDS or min(oid) < 0 or max(oid) > MAX_SUBID:  # noqa: PLR2004 - X.690 8.19.4
        raise ValueError("not an object identifier")
    if oid[0] > 2 or (oid[0] < 2 and oid[1] >= 40):  # noqa: PLR2004 - X.690 8.19.4
        raise ValueError("not an object identifier")
    return encode_subids((oid[0] * 40 + oid[1], *oid[2:]))


def encode_varbind(name: Oid, value: bytes) -> bytes:
    """A variable binding of a name and an encoded value."""
    content = encode_oid(name) + value
    return b"\x30" + encode_length(len(content)) + content


def read_header(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Tag, first position and end of the content of the value at `position`; the content lies within `end`."""
    if end - position < 2:  # noqa: PLR2004 - a tag and a length
        raise DecodeError(Reason.TRUNCATED)
    tag = data[position]
    length = data[position + 1]
    start = position + 2
    if tag & 0x1F == 0x1F:  # noqa: PLR2004 - high tag numbers, which SNMP does not use
        raise DecodeError(Reason.TAG)
    if length >= 0x80:  # noqa: PLR2004 - the long form
        octets = length & 0x7F
        if not 0 < octets <= _MAX_LENGTH_OCTETS:  # 0 is the indefinite form: RFC 3417 section 8 (1) prohibits it
            raise DecodeError(Reason.LENGTH)
        if end - start < octets:
            raise DecodeError(Reason.TRUNCATED)
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    stop = start + length
    if stop > end:
        raise DecodeError(Reason.TRUNCATED)
    return tag, start, stop


def enter(data: bytes, position: int, end: int, tag: int) -> tuple[int, int]:
    """First position and end of the content of a value that must have this tag."""
    start = position + 2
    if start <= end and data[position] == tag:  # the common case first: a short length that fits
        stop = start + data[position + 1]
        if stop <= end and stop - start < 0x80:  # noqa: PLR2004 - the short form
            return start, stop
    found, start, stop = read_header(data, position, end)
    if found != tag:
        raise DecodeError(Reason.TAG)
    return start, stop


def read_integer(data: bytes, position: int, end: int) -> tuple[int, int]:
    """An Integer32."""
    start, stop = enter(data, position, end, INTEGER)
    if not 0 < stop - start <= MAX_INTEGER_OCTETS:
        raise DecodeError(Reason.RANGE)
    value = int.from_bytes(data[start:stop], "big", signed=True)
    if stop - start > _MAX_INTEGER32_OCTETS and not -(2**31) <= value < 2**31:
        raise DecodeError(Reason.RANGE)
    return value, stop


def read_cut_integer(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A number in the head of a message or PDU. One of more than 32 bits is cut to them, as net-snmp does."""
    start, stop = enter(data, position, end, INTEGER)
    if not 0 < stop - start <= MAX_INTEGER_OCTETS:
        raise DecodeError(Reason.RANGE)
    value = int.from_bytes(data[start:stop], "big", signed=True)
    if stop - start > _MAX_INTEGER32_OCTETS:
        if value >= 2**31:
            value &= MAX_UNSIGNED32
        while value < -(2**31):
            value = -(value & MAX_UNSIGNED32)
    return value, stop


def read_octets(data: bytes, position: int, end: int) -> tuple[bytes, int]:
    """An OCTET STRING."""
    start, stop = enter(data, position, end, OCTET_STRING)
    return data[start:stop], stop


def read_oid(data: bytes, position: int, end: int) -> tuple[Oid, int]:
    """An OBJECT IDENTIFIER."""
    start, stop = enter(data, position, end, OBJECT_IDENTIFIER)
    if stop - start <= _CACHED_OID_OCTETS:
        return _decode_short_oid(data[start:stop]), stop
    return _decode_oid(data[start:stop]), stop


def _decode_oid(content: bytes) -> Oid:
    if not content:
        return (0, 0)
    if content[-1] & 0x80 or len(content) > MAX_SUBIDS * _MAX_SUBID_OCTETS:
        raise DecodeError(Reason.OID)
    subids = [0]
    value = 0
    for octet in content:
        if octet < 0x80:  # noqa: PLR2004 - the last octet of a subidentifier
            subids.append(value << 7 | octet)
            value = 0
            continue
        if value > MAX_SUBID >> 7:  # before the shift: a long run of octets must not grow a number without bound
            raise DecodeError(Reason.OID)
        value = value << 7 | octet & 0x7F
    arc = min(subids[1] // 40, 2)  # X.690 8.19.4: the first two in one; below 2 and 0 to 39, or 2 and anything
    subids[0] = arc
    subids[1] -= arc * 40
    if len(subids) > MAX_SUBIDS or max(subids) > MAX_SUBID:
        raise DecodeError(Reason.OID)
    return tuple(subids)


_decode_short_oid = lru_cache(_CACHED_OIDS)(_decode_oid)


def finish(position: int, end: int) -> None:
    """Nothing may follow here."""
    if position != end:
        raise DecodeError(Reason.TRAILING)


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
