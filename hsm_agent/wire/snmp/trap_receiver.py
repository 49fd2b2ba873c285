"""The receiver of notifications: decides which to accept, and what an inform is answered.

SNMPv1 traps are given the form of SNMPv2 ones (RFC 3584 section 3.1). No I/O and no clock. Communities are compared in
constant time. A v3 trap's authority is its sender: only engines that are configured for a user are accepted, each
within its own time window (RFC 3414 section 3.2 (7) b). A v3 inform's authority is our own engine: Authority does those
checks, and answers the discovery before them.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.authority import Authority, Refusal
from hsm_agent.wire.snmp.ber import DecodeError, Reason
from hsm_agent.wire.snmp.engine import Count, RemoteClock
from hsm_agent.wire.snmp.mib import SNMP_TRAP_OID
from hsm_agent.wire.snmp.pdu import (
    PduType,
    Version,
    encode_community_message,
    encode_pdu,
    open_message,
    read_pdu,
    read_varbinds,
)
from hsm_agent.wire.snmp.v3 import level_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hsm_agent.wire.snmp.ber import Oid, VarBind
    from hsm_agent.wire.snmp.engine import Engine
    from hsm_agent.wire.snmp.usm import Keys, User
    from hsm_agent.wire.snmp.v3 import Header, Parameters

MAX_OCTETS = 8192
"""The longest datagram that is looked into: notifications have a few hundred octets, and reading one takes time."""
MAX_VARBINDS = 128
"""As many are read, for the same reason: a list of 128 takes about a millisecond."""
CONTENT_OCTETS = 12
_GENERIC_TRAPS: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 5)
_ENTERPRISE_SPECIFIC = 6


class Drop(Enum):
    """Why a datagram came to nothing; a closed set, fit for counters.

    The value is a label's: `auth-` where the sender could not prove who it is, `-full` where there was no room.
    """

    SENDER = "sender"
    TOO_LONG = "too-long"
    MALFORMED = "malformed"
    VERSION = "version"
    COMMUNITY = "auth-community"
    PDU = "pdu"
    ENGINE = "auth-engine"
    USER = "auth-user"
    LEVEL = "auth-level"
    DIGEST = "auth-digest"
    TIME = "auth-time"
    DECRYPTION = "auth-privacy"
    REPEATED = "repeated"
    OUTDATED = "outdated"
    SOCKET = "socket-full"
    QUEUE = "queue-full"
    ALARMS = "alarms-full"


class TrapOrigin(NamedTuple):
    """The engine a notification came from, and that engine's time. Any copy of the message has the same `digest`."""

    engine_id: bytes
    boots: int
    time: int
    digest: bytes


class Trap(NamedTuple):
    """A notification. `varbinds` are those behind sysUpTime and snmpTrapOID, in order.

    Two OIDs are made from a v1 trap: RFC 3584 puts a 0 between enterprise and number, and many vendors number their
    SNMPv2 notifications without it, which that RFC cannot give back. `plain_oid` is the one without, else the same.
    `request_id` and `content`, a hash of all variable bindings with sysUpTime, are the same in every repetition of an
    inform; a v1 trap has neither. `origin` is that of an authentic v3 message.
    """

    oid: Oid
    plain_oid: Oid
    varbinds: tuple[VarBind, ...]
    version: Version
    inform: bool
    request_id: int = 0
    content: bytes = b""
    origin: TrapOrigin | None = None


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
"""Answered with a Report, these are steps by which a sender learns our engine ID and time (RFC 3414 section 4)."""


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


def read_trap_v1(data: bytes, position: int, end: int) -> Trap:
    """The SNMPv1 Trap-PDU at `position` (RFC 1157 section 4.1.6).

    Its agent-addr and time-stamp are not used, so they may be whatever the sender makes of them.
    """
    start, stop = ber.enter(data, position, end, PduType.TRAP_V1)
    enterprise, start = ber.read_oid(data, start, stop)
    _, _, start = ber.read_header(data, start, stop)
    generic, start = ber.read_integer(data, start, stop)
    specific, start = ber.read_integer(data, start, stop)
    _, _, start = ber.read_header(data, start, stop)
    start, list_end = ber.enter(data, start, stop, ber.SEQUENCE)
    if not 0 <= generic <= _ENTERPRISE_SPECIFIC or specific < 0:
        raise DecodeError(Reason.RANGE)
    oid = plain = (*_GENERIC_TRAPS, generic + 1)
    if generic == _ENTERPRISE_SPECIFIC:
        oid, plain = (*enterprise, 0, specific), (*enterprise, specific)
    return Trap(oid, plain, read_varbinds(data[start:list_end], MAX_VARBINDS), Version.V1, False)


def read_notification(varbinds: bytes, version: Version, *, inform: bool, request_id: int = 0) -> Trap:
    """The notification in an encoded list of variable bindings (RFC 3416 section 4.2.6)."""
    found = read_varbinds(varbinds, MAX_VARBINDS)
    for position, varbind in enumerate(found[:2]):  # some agents leave sysUpTime out
        if varbind.name == SNMP_TRAP_OID and isinstance(varbind.value, tuple):
            content = hashlib.blake2b(varbinds, digest_size=CONTENT_OCTETS).digest()
            return Trap(varbind.value, varbind.value, found[position + 1 :], version, inform, request_id, content)
    raise DecodeError(Reason.OID)
