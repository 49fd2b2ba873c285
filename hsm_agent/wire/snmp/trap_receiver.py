"""The receiver of notifications: decides which to accept, and what an inform is answered.

No I/O and no clock. Communities are compared in constant time. A v3 trap's authority is its sender: only engines that
are configured for a user are accepted, each within its own time window (RFC 3414 section 3.2 (7) b). A v3 inform's
authority is our own engine: Authority does those checks, and answers the discovery before them.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.authority import Authority, Refusal
from hsm_agent.wire.snmp.ber import DecodeError
from hsm_agent.wire.snmp.engine import Count, RemoteClock
from hsm_agent.wire.snmp.notification import MAX_OCTETS, Drop, Trap, TrapOrigin, read_notification, read_trap_v1
from hsm_agent.wire.snmp.pdu import PduType, Version, encode_community_message, encode_pdu, open_message, read_pdu
from hsm_agent.wire.snmp.request import level_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hsm_agent.wire.snmp.engine import Engine
    from hsm_agent.wire.snmp.usm import Keys, User
    from hsm_agent.wire.snmp.v3 import Header, Parameters

_REASONS: dict[Count | None, Drop] = {
    Count.IN_ASN_PARSE_ERRS: Drop.MALFORMED,
    Count.INVALID_MSGS: Drop.MALFORMED,
    Count.UNKNOWN_PDU_HANDLERS: Drop.PDU,
    Count.UNKNOWN_ENGINE_IDS: Drop.ENGINE,
    Count.UNKNOWN_USER_NAMES: Drop.USER,
    Count.UNSUPPORTED_SEC_LEVELS: Drop.LEVEL,
    Count.WRONG_DIGESTS: Drop.DIGEST,
    Count.NOT_IN_TIME_WINDOWS: Drop.TIME,
    Count.DECRYPTION_ERRORS: Drop.DECRYPTION,
}
_DISCOVERY = frozenset({Count.UNKNOWN_ENGINE_IDS, Count.NOT_IN_TIME_WINDOWS})
"""DiscoveryReply with a Report these are steps by which a sender learns our engine ID and time (RFC 3414 section 4)."""


class AcceptedTrap(NamedTuple):
    """A notification to process; `answer` acknowledges an inform, and is to be sent once it is stored."""

    trap: Trap
    answer: bytes | None = None


class DroppedTrap(NamedTuple):
    """A datagram that is dropped. `answer`, if there is one, reports the cause; `detail` helps to configure the sender.

    `authentic`: the sender proved who it is, so that no other can have sent what could not be read.
    """

    why: Drop
    answer: bytes | None = None
    detail: str = ""
    authentic: bool = False


class DiscoveryReply(NamedTuple):
    """A Report to a sender that discovers our engine ID and time (RFC 3414 section 4)."""

    answer: bytes


TrapOutcome = AcceptedTrap | DroppedTrap | DiscoveryReply


class SendingUser(NamedTuple):
    """A user, and the engines whose traps it may send."""

    user: User
    engine_ids: tuple[bytes, ...]


class _Sender(NamedTuple):
    """An engine that sends traps: its clock, and its users' keys there."""

    clock: RemoteClock
    keys: dict[bytes, Keys]


class TrapReceiver:
    """Takes datagrams apart. `clocks`, by engine ID, is what must outlive the process against replays."""

    def __init__(
        self,
        *,
        engine: Engine,
        communities: Iterable[bytes] = (),
        users: Iterable[SendingUser] = (),
        clocks: Mapping[bytes, RemoteClock] | None = None,
    ) -> None:
        users = tuple(users)
        self._communities = tuple(communities)
        self._authority = Authority(
            engine=engine, users=[sending.user for sending in users], handled=frozenset({PduType.INFORM})
        )
        self._senders: dict[bytes, _Sender] = {}
        known = clocks or {}
        for user, engine_ids in users:
            for engine_id in engine_ids:
                fresh = _Sender(known.get(engine_id) or RemoteClock(), {})
                sender = self._senders.setdefault(engine_id, fresh)
                sender.keys[user.name.encode()] = user.localize(engine_id)

    @property
    def clocks(self) -> dict[bytes, RemoteClock]:
        """The clocks of the engines whose messages were authentic."""
        return {engine_id: one.clock for engine_id, one in self._senders.items() if one.clock.authentic}

    def receive(self, datagram: bytes, address: str, now: float) -> TrapOutcome:
        """What a datagram comes to; `now` is on the clock of the engine's start."""
        if len(datagram) > MAX_OCTETS:
            return DroppedTrap(Drop.TOO_LONG)
        try:
            version, position, end = open_message(datagram)
            if version == Version.V3:
                return self._receive_v3(datagram, position, end, address, now)
            if version in {Version.V1, Version.V2C}:
                return self._receive_community(Version(version), datagram, position, end)
        except DecodeError as error:
            return DroppedTrap(Drop.MALFORMED, detail=str(error))
        return DroppedTrap(Drop.VERSION)

    def _receive_community(self, version: Version, datagram: bytes, position: int, end: int) -> TrapOutcome:
        given, position = ber.read_octets(datagram, position, end)
        # Every one is compared: how long it takes says nothing of which secret came near.
        if True not in [hmac.compare_digest(secret, given) for secret in self._communities]:
            return DroppedTrap(Drop.COMMUNITY)
        try:
            return self._read_community(version, given, datagram, position, end)
        except DecodeError as error:
            return DroppedTrap(Drop.MALFORMED, None, str(error), authentic=True)

    @staticmethod
    def _read_community(version: Version, given: bytes, datagram: bytes, position: int, end: int) -> TrapOutcome:
        if version is Version.V1:
            if ber.read_header(datagram, position, end)[0] != PduType.TRAP_V1:
                return DroppedTrap(Drop.PDU)
            return AcceptedTrap(read_trap_v1(datagram, position, end))
        pdu = read_pdu(datagram, position, end)
        if pdu.pdu_type not in {PduType.TRAP, PduType.INFORM}:
            return DroppedTrap(Drop.PDU)
        inform = pdu.pdu_type is PduType.INFORM
        trap = read_notification(pdu.varbinds, version, inform=inform, request_id=pdu.request_id)
        if not inform:
            return AcceptedTrap(trap)
        response = encode_pdu(PduType.RESPONSE, pdu.request_id, 0, 0, (pdu.varbinds,))
        return AcceptedTrap(trap, encode_community_message(version, given, response))

    def _receive_v3(self, datagram: bytes, position: int, end: int, address: str, now: float) -> TrapOutcome:
        header, after = v3.read_header(datagram, position, end)
        if header.security_model != v3.USM_MODEL:
            return DroppedTrap(Drop.VERSION)
        parameters, after = v3.read_parameters(datagram, after, end)
        sender = self._senders.get(parameters.engine_id)
        if sender is not None:
            return self._receive_trap(sender, datagram, (after, end), header, parameters, now)
        request = self._authority.receive(datagram, address, now)
        if not isinstance(request, Refusal):
            try:
                trap = read_notification(request.varbinds, Version.V3, inform=True, request_id=request.request_id)
            except DecodeError as error:
                return DroppedTrap(Drop.MALFORMED, None, str(error), authentic=True)
            answer = self._authority.respond(request, 0, 0, (request.varbinds,))
            return AcceptedTrap(trap._replace(origin=_origin(parameters)), answer)
        cause, answer = request
        if answer is not None and cause in _DISCOVERY:
            return DiscoveryReply(answer)
        why = _REASONS.get(cause, Drop.VERSION)
        detail = f"engine ID {parameters.engine_id.hex() or 'empty'}" if why is Drop.ENGINE else ""
        return DroppedTrap(why, answer, detail)

    @staticmethod
    def _receive_trap(
        sender: _Sender, datagram: bytes, data: tuple[int, int], header: Header, parameters: Parameters, now: float
    ) -> TrapOutcome:
        detail = f"engine ID {parameters.engine_id.hex()}"
        keys = sender.keys.get(parameters.user_name)
        if keys is None:
            return DroppedTrap(Drop.USER, None, detail)
        if header.flags & v3.LEVEL != level_of(keys):
            return DroppedTrap(Drop.LEVEL, None, detail)
        if not keys.verify(datagram, parameters.digest_offset, parameters.digest):
            return DroppedTrap(Drop.DIGEST, None, detail)
        sender.clock.learn(parameters.boots, parameters.time, now)
        if sender.clock.is_late(parameters.boots, parameters.time, now):
            return DroppedTrap(Drop.TIME, None, detail)
        try:
            scoped = v3.open_scoped(keys, datagram, *data, flags=header.flags, parameters=parameters)
        except DecodeError:  # the digest was right, so what cannot be read was encrypted with another key
            return DroppedTrap(Drop.DECRYPTION, None, detail)
        try:
            pdu = read_pdu(scoped.data, scoped.position, scoped.end)
            if pdu.pdu_type is not PduType.TRAP:
                return DroppedTrap(Drop.PDU, None, detail)
            trap = read_notification(pdu.varbinds, Version.V3, inform=False, request_id=pdu.request_id)
        except DecodeError as error:
            return DroppedTrap(Drop.MALFORMED, None, f"{error}; {detail}", authentic=True)
        return AcceptedTrap(trap._replace(origin=_origin(parameters)))


def _origin(parameters: Parameters) -> TrapOrigin:
    return TrapOrigin(parameters.engine_id, parameters.boots, parameters.time, parameters.digest)
