"""SNMPv3 messages with USM parameters: their parts, read and written (RFC 3412 section 6, RFC 3414 section 2.4).

Layout only. Which messages to believe is decided in authority, client_engine and trap_receiver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber, usm
from hsm_agent.wire.snmp.ber import DecodeError, Reason
from hsm_agent.wire.snmp.pdu import MIN_MAX_OCTETS, Version

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.usm import Keys

USM_MODEL = 3
"""The User-based Security Model's number (RFC 3411 section 5, SnmpSecurityModel)."""
MIN_ENGINE_ID_OCTETS = 5
MAX_ENGINE_ID_OCTETS = 32  # RFC 3411 section 5, SnmpEngineID
MAX_MESSAGE_ID = 2**31 - 1  # RFC 3412 section 6.2
MAX_NAME_OCTETS = 32  # RFC 3414 section 2.4, msgUserName; RFC 3415 section 3.1 for contexts


AUTH = 0x01
PRIVACY = 0x02
REPORTABLE = 0x04
"""Bits of msgFlags (RFC 3412 section 6.4); plain numbers, because IntFlag is slow and each packet tests them."""
LEVEL = AUTH | PRIVACY


class DecryptionError(DecodeError):
    """The octets could not be decrypted: a wrong privacy key, or no salt."""


class Header(NamedTuple):
    """What stands in front of the security parameters."""

    message_id: int
    max_octets: int
    flags: int
    security_model: int


class Parameters(NamedTuple):
    """USM's security parameters; `digest_offset` is where the digest stands in the message."""

    engine_id: bytes
    boots: int
    time: int
    user_name: bytes
    digest: bytes
    digest_offset: int
    salt: bytes


class Scoped(NamedTuple):
    """A scoped PDU whose PDU reaches from `position` to `end` of `data`."""

    context_engine_id: bytes
    context_name: bytes
    data: bytes
    position: int
    end: int


def level_of(keys: Keys) -> int:
    """The security level of a user, as flags: the least and the only one."""
    return LEVEL if keys.privacy else AUTH


def read_header(data: bytes, position: int, end: int) -> tuple[Header, int]:
    """What stands in front of the security parameters: msgGlobalData."""
    start, stop = ber.enter(data, position, end, ber.SEQUENCE)
    message_id, start = ber.read_cut_integer(data, start, stop)
    max_octets, start = ber.read_integer(data, start, stop)
    flags, start = ber.read_octets(data, start, stop)
    security_model, start = ber.read_integer(data, start, stop)
    ber.finish(start, stop)
    if not 0 <= message_id <= MAX_MESSAGE_ID or max_octets < MIN_MAX_OCTETS or len(flags) != 1 or security_model < 1:
        raise DecodeError(Reason.RANGE)
    return Header(message_id, max_octets, flags[0], security_model), stop


def read_parameters(data: bytes, position: int, end: int) -> tuple[Parameters, int]:
    """The msgSecurityParameters, and the position of msgData."""
    start, stop = ber.enter(data, position, end, ber.OCTET_STRING)
    after = stop
    start, stop = ber.enter(data, start, stop, ber.SEQUENCE)
    ber.finish(stop, after)
    engine_id, start = ber.read_octets(data, start, stop)
    boots, start = ber.read_integer(data, start, stop)
    time, start = ber.read_integer(data, start, stop)
    user_name, start = ber.read_octets(data, start, stop)
    digest, start = ber.read_octets(data, start, stop)
    digest_offset = start - len(digest)
    salt, start = ber.read_octets(data, start, stop)
    ber.finish(start, stop)
    if boots < 0 or time < 0 or len(engine_id) > MAX_ENGINE_ID_OCTETS or len(user_name) > MAX_NAME_OCTETS:
        raise DecodeError(Reason.RANGE)
    return Parameters(engine_id, boots, time, user_name, digest, digest_offset, salt), stop


def read_scoped(data: bytes, position: int, end: int) -> Scoped:
    """The plain scoped PDU at `position`; what follows it is ignored, and the PDU in it is not looked at."""
    start, stop = ber.enter(data, position, end, ber.SEQUENCE)
    context_engine_id, start = ber.read_octets(data, start, stop)
    context_name, start = ber.read_octets(data, start, stop)
    if len(context_engine_id) > MAX_ENGINE_ID_OCTETS:
        raise DecodeError(Reason.RANGE)
    return Scoped(context_engine_id, context_name, data, start, stop)


def open_scoped(keys: Keys, datagram: bytes, position: int, end: int, *, flags: int, parameters: Parameters) -> Scoped:
    """The scoped PDU of a message whose digest was right. DecryptionError for the noise that a wrong key leaves."""
    if not flags & PRIVACY:
        return read_scoped(datagram, position, end)
    encrypted, _ = ber.read_octets(datagram, position, end)
    if len(parameters.salt) != usm.SALT_OCTETS:  # RFC 3826 section 3.1.4 (1)
        raise DecryptionError(Reason.LENGTH)
    plain = keys.decrypt(encrypted, parameters.boots, parameters.time, parameters.salt)
    try:
        return read_scoped(plain, 0, len(plain))  # a block cipher's padding may follow (RFC 3414 section 8.1.1.2)
    except DecodeError as error:
        raise DecryptionError(error.reason) from error


def encode_scoped(context_engine_id: bytes, context_name: bytes, pdu: bytes) -> bytes:
    """A scoped PDU."""
    return ber.encode(ber.SEQUENCE, ber.encode_octets(context_engine_id) + ber.encode_octets(context_name) + pdu)


def encode_message(
    header: Header, *, engine_id: bytes, boots: int, time: int, keys: Keys | bytes, scoped: bytes, salt: bytes = b""
) -> bytes:
    """A message at the level its flags say. `keys` is the user's, or only the user's name where there is no digest."""
    digest, user_name, data = b"", keys, scoped
    if not isinstance(keys, bytes):
        user_name = keys.user_name
        digest = bytes(keys.auth.digest_octets)
        if header.flags & PRIVACY:
            data = ber.encode_octets(keys.encrypt(scoped, boots, time, salt))
    assert isinstance(user_name, bytes)
    before_digest = b"".join(
        (
            ber.encode_octets(engine_id),
            ber.encode_integer(boots),
            ber.encode_integer(time),
            ber.encode_octets(user_name),
        )
    )
    after_digest = ber.encode_octets(salt) + data
    parameters = ber.encode(ber.SEQUENCE, before_digest + ber.encode_octets(digest) + ber.encode_octets(salt))
    global_data = b"".join(
        (
            ber.encode_integer(header.message_id),
            ber.encode_integer(header.max_octets),
            ber.encode_octets(bytes((header.flags,))),
            ber.encode_integer(header.security_model),
        )
    )
    head = ber.encode_integer(Version.V3) + ber.encode(ber.SEQUENCE, global_data)
    message = ber.encode(ber.SEQUENCE, head + ber.encode_octets(parameters) + data)
    if isinstance(keys, bytes):
        return message
    # Found from the end: the lengths in front of the digest take a varying number of octets, what follows it is known.
    return keys.sign(message, len(message) - len(after_digest) - len(digest))


def overhead(*, engine_id: bytes, keys: Keys, context_engine_id: bytes, context_name: bytes) -> int:
    """At most how many octets a message of this user has beside the variable bindings."""
    names = len(engine_id) + len(keys.user_name) + len(context_engine_id) + len(context_name)
    return names + keys.auth.digest_octets + usm.SALT_OCTETS + _FIXED_OVERHEAD


_FIXED_OVERHEAD = (
    4  # message
    + 3 + 2 + 6 + 6 + 3 + 3  # version, msgGlobalData
    + 3 + 3 + 2 + 6 + 6 + 2 + 2 + 2  # security parameters
    + 4 + 4 + 2 + 2  # encrypted octets, scoped PDU
    + 4 + 6 + 6 + 6 + 4  # PDU
)  # fmt: skip
