"""SNMP messages for tests, any part of them wrong on purpose; and messages taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.engine import Engine, Salts
from hsm_agent.wire.snmp.pdu import Pdu, PduType, Version, encode_community_message, encode_pdu, open_message, read_pdu
from hsm_agent.wire.snmp.usm import AuthProtocol, Keys, PrivacyProtocol, User

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.wire.snmp.ber import Oid

ENGINE_ID = bytes.fromhex("80001f8805") + b"hsmagent"
STARTED = 1000.0
NOW = STARTED + 5000.0
SYS_NAME: Oid = (1, 3, 6, 1, 2, 1, 1, 5, 0)

AUTH_USER = User.from_secrets(name="auth", auth=AuthProtocol.SHA256, auth_secret="authentic-1")
PRIV_USER = User.from_secrets(
    name="priv",
    auth=AuthProtocol.SHA512,
    auth_secret="authentic-2",
    privacy=PrivacyProtocol.AES256,
    privacy_secret="encrypted-2",
)


def engine(*, boots: int = 7, engine_id: bytes = ENGINE_ID) -> Engine:
    """The agent's engine, 5000 seconds old at NOW."""
    return Engine(engine_id=engine_id, boots=boots, started=STARTED, salts=Salts(42))


def encode_value(tag: int, value: ber.Value) -> bytes:
    """A value by its tag, as read_value gives them."""
    match value:
        case None if tag in {ber.NULL_TAG, ber.NO_SUCH_OBJECT_TAG, ber.NO_SUCH_INSTANCE_TAG, ber.END_OF_MIB_VIEW_TAG}:
            return bytes((tag, 0))
        case int() if tag in _INTEGERS:
            return _INTEGERS[tag](value)
        case bytes() if tag in {ber.IP_ADDRESS, ber.OCTET_STRING, ber.OPAQUE}:
            return ber.encode(tag, value)
        case tuple() if tag == ber.OBJECT_IDENTIFIER:
            return ber.encode_oid(value)
        case _:
            raise AssertionError(f"no value of tag {tag:#x}: {value!r}")


_INTEGERS = {
    ber.INTEGER: ber.encode_integer,
    ber.COUNTER32: ber.encode_counter32,
    ber.GAUGE32: ber.encode_gauge32,
    ber.TIMETICKS: ber.encode_timeticks,
    ber.COUNTER64: ber.encode_counter64,
}


def pdu(
    pdu_type: PduType = PduType.GET, names: Sequence[Oid] = (SYS_NAME,), *, first: int = 0, second: int = 0
) -> bytes:
    """A request with request ID 4711."""
    return encode_pdu(pdu_type, 4711, first, second, [ber.encode_varbind(name, ber.NULL) for name in names])


def community_message(inner: bytes, *, community: bytes = b"public", version: Version = Version.V2C) -> bytes:
    """A v1 or v2c message."""
    return encode_community_message(version, community, inner)


def level_of(keys: Keys | bytes) -> int:
    """The flags of a security level."""
    if isinstance(keys, bytes):
        return 0
    return v3.LEVEL if keys.privacy else v3.AUTH


@dataclass(frozen=True, kw_only=True)
class V3:
    """A v3 request; each part can be something else. `flags` None: the level of the keys, and reportable."""

    keys: Keys | bytes
    inner: bytes = pdu()
    flags: int | None = None
    message_id: int = 99
    max_size: int = 65507
    model: int = v3.USM_MODEL
    engine_id: bytes = ENGINE_ID
    boots: int = 7
    time: int = 5000
    context_engine_id: bytes = ENGINE_ID
    context_name: bytes = b""

    def encode(self) -> bytes:
        """The message, with a right digest if there are keys."""
        flags = level_of(self.keys) | v3.REPORTABLE if self.flags is None else self.flags
        return v3.encode_message(
            v3.Header(self.message_id, self.max_size, flags, self.model),
            engine_id=self.engine_id,
            boots=self.boots,
            time=self.time,
            keys=self.keys,
            scoped=v3.encode_scoped(self.context_engine_id, self.context_name, self.inner),
            salt=bytes(range(8)) if flags & v3.PRIVACY else b"",
        )


class V3Answer(NamedTuple):
    """A v3 message taken apart."""

    header: v3.Header
    parameters: v3.Parameters
    scoped: v3.Scoped
    pdu: Pdu


def open_v3(message: bytes, keys: Keys | None = None) -> V3Answer:
    """Take a v3 message apart; what claims to be authentic must have a right digest."""
    version, position, end = open_message(message)
    assert version == Version.V3
    header, position = v3.read_header(message, position, end)
    parameters, position = v3.read_parameters(message, position, end)
    if header.flags & v3.AUTH:
        assert keys is not None
        assert keys.verify(message, parameters.digest_offset, parameters.digest)
    if header.flags & v3.PRIVACY:
        assert keys is not None
        encrypted, _ = ber.read_octets(message, position, end)
        plain = keys.decrypt(encrypted, parameters.boots, parameters.time, parameters.salt)
        scoped = v3.read_scoped(plain, 0, len(plain))
    else:
        scoped = v3.read_scoped(message, position, end)
    return V3Answer(header, parameters, scoped, read_pdu(scoped.data, scoped.position, scoped.end))


def open_community(message: bytes) -> tuple[int, bytes, Pdu]:
    """Version, community and PDU of a v1 or v2c message."""
    version, position, end = open_message(message)
    community, position = ber.read_octets(message, position, end)
    return version, community, read_pdu(message, position, end)


def parameters_of(message: bytes) -> v3.Parameters:
    """The security parameters of a v3 message."""
    _, position, end = open_message(message)
    _, position = v3.read_header(message, position, end)
    return v3.read_parameters(message, position, end)[0]


def rebuilt(message: bytes, digest: bytes, *, flags: int = 5, salt: bytes = b"", data: bytes = b"") -> bytes:
    """The message built anew around any digest."""
    _, position, end = open_message(message)
    header_start = position
    _, position = v3.read_header(message, position, end)
    parameters, data_position = v3.read_parameters(message, position, end)
    header = bytearray(message[header_start:position])
    header[header.index(bytes((0x04, 1))) + 2] = flags
    fields = b"".join(
        (
            ber.encode_octets(parameters.engine_id),
            ber.encode_integer(parameters.boots),
            ber.encode_integer(parameters.time),
            ber.encode_octets(parameters.user_name),
            ber.encode_octets(digest),
            ber.encode_octets(salt),
        )
    )
    security = ber.encode_octets(ber.encode(ber.SEQUENCE, fields))
    content = ber.encode_integer(3) + bytes(header) + security + (data or message[data_position:end])
    return ber.encode(ber.SEQUENCE, content)
