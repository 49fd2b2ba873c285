"""A receiver of informs without a socket, that can be told to misbehave."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.pdu import Pdu, PduType, Version, encode_community_message, encode_pdu, open_message, read_pdu
from hsm_agent.wire.snmp.usm import Keys, User
from hsm_agent.wire.snmp.v3 import Header
from tests.fakes.snmp_messages import level_of

RECEIVER_ENGINE = bytes.fromhex("8000000001020304") + b"trapd"


@dataclass(kw_only=True)
class InformReceiver:
    """Answers as a correct receiver would; the fields below say in what it differs."""

    community: bytes = b"public"
    user: User | None = None
    engine_id: bytes = RECEIVER_ENGINE
    boots: int = 3
    started: float = 0.0
    error_status: int = 0
    deaf_to: set[int] = field(default_factory=set)
    """Which informs (counted from 0, repetitions included) get no answer."""
    declines: dict[bytes, int] = field(default_factory=dict)
    """An error-status for informs that contain these octets; None in its place would be silence."""
    ignores: bytes | None = None
    """Informs that contain these octets get no answer."""
    complaint: Count | None = None
    """Every authentic message gets this Report."""
    max_size: int = 65507
    forged: bool = False
    """Answers have a wrong digest or community."""
    informs: list[Pdu] = field(default_factory=list)
    """All that arrived, repetitions included."""
    traps: list[Pdu] = field(default_factory=list)

    def answer(self, message: bytes, now: float) -> bytes | None:
        """What is sent back."""
        version, position, end = open_message(message)
        if version == Version.V3:
            return self._answer_v3(message, position, end, now)
        community, position = ber.read_octets(message, position, end)
        pdu = read_pdu(message, position, end)
        if community != self.community:
            return None
        response = self._respond(pdu)
        if response is None:
            return None
        return encode_community_message(Version.V2C, b"forged" if self.forged else community, response)

    def _respond(self, pdu: Pdu) -> bytes | None:
        if pdu.pdu_type is PduType.TRAP:
            self.traps.append(pdu)
            return None
        number = len(self.informs)
        self.informs.append(pdu)
        if number in self.deaf_to or (self.ignores is not None and self.ignores in pdu.varbinds):
            return None
        error = next((status for octets, status in self.declines.items() if octets in pdu.varbinds), self.error_status)
        return encode_pdu(PduType.RESPONSE, pdu.request_id, error, 0, (pdu.varbinds,))

    def _answer_v3(self, message: bytes, position: int, end: int, now: float) -> bytes | None:
        header, position = v3.read_header(message, position, end)
        parameters, position = v3.read_parameters(message, position, end)
        if parameters.engine_id != self.engine_id:
            return self._report(header, b"", Count.UNKNOWN_ENGINE_IDS, now)
        if self.user is None or parameters.user_name != self.user.name.encode():
            return self._report(header, parameters.user_name, Count.UNKNOWN_USER_NAMES, now)
        keys = self.user.localize(self.engine_id)
        if not keys.verify(message, parameters.digest_offset, parameters.digest):
            return self._report(header, parameters.user_name, Count.WRONG_DIGESTS, now)
        if self.complaint is not None:
            return self._report(header, keys, self.complaint, now)
        if parameters.boots != self.boots or abs(parameters.time - int(now - self.started)) > 150:
            return self._report(header, keys, Count.NOT_IN_TIME_WINDOWS, now)
        if header.flags & v3.PRIVACY:
            encrypted, _ = ber.read_octets(message, position, end)
            plain = keys.decrypt(encrypted, parameters.boots, parameters.time, parameters.salt)
            scoped = v3.read_scoped(plain, 0, len(plain))
        else:
            scoped = v3.read_scoped(message, position, end)
        response = self._respond(read_pdu(scoped.data, scoped.position, scoped.end))
        return None if response is None else self._encode(header, keys, response, level_of(keys), now)

    def _report(self, header: Header, keys: Keys | bytes, cause: Count, now: float) -> bytes:
        varbind = ber.encode_varbind(cause.oid, ber.encode_counter32(1))
        report = encode_pdu(PduType.REPORT, 0, 0, 0, (varbind,))
        return self._encode(header, keys, report, 0 if isinstance(keys, bytes) else v3.AUTH, now)

    def _encode(self, header: Header, keys: Keys | bytes, pdu: bytes, level: int, now: float) -> bytes:
        if self.forged and isinstance(keys, Keys):
            keys = replace(keys, auth_key=b"forged")
        return v3.encode_message(
            Header(header.message_id, self.max_size, level, v3.USM_MODEL),
            engine_id=self.engine_id,
            boots=self.boots,
            time=int(now - self.started),
            keys=keys,
            scoped=v3.encode_scoped(self.engine_id, b"", pdu),
            salt=bytes(8) if level & v3.PRIVACY else b"",
        )
