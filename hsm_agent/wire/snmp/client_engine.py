"""The engine that sends requests and notifications to one peer, and decodes what the peer answers.

No I/O and no clock. For v3 the peer is authoritative for what it answers: its engine ID is discovered (RFC 3414
section 4), its boots and time are learnt from authentic messages only and never go back (section 3.2 (7) b).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.ber import DecodeError
from hsm_agent.wire.snmp.engine import Count, RemoteClock
from hsm_agent.wire.snmp.pdu import (
    MAX_MESSAGE_OCTETS,
    MIN_MAX_OCTETS,
    PduType,
    Version,
    encode_community_message,
    encode_pdu,
    open_message,
    read_pdu,
    read_varbinds,
)
from hsm_agent.wire.snmp.v3 import Header, Parameters, level_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.wire.snmp.ber import Oid, VarBind
    from hsm_agent.wire.snmp.engine import Engine, Salts
    from hsm_agent.wire.snmp.pdu import Pdu
    from hsm_agent.wire.snmp.usm import Keys, User


@dataclass(slots=True, kw_only=True)
class RemoteEngine(RemoteClock):
    """An entry of the local configuration datastore of RFC 3414 section 2.3, for an engine that is not our own."""

    keys: Keys
    engine_id: bytes
    max_octets: int = MIN_MAX_OCTETS


_MAX_ID = 2**31 - 1
_MAX_REMEMBERED = 1024
_VERSIONS = {int(Version.V1): "v1", int(Version.V2C): "v2c", int(Version.V3): "v3"}
_CAUSES = {count.oid: count for count in Count}


class TooBigError(ValueError):
    """The message is larger than a datagram, or than the peer takes."""


class Discovered(NamedTuple):
    """The peer's engine or its time became known: what is outstanding must be sent anew."""


class Complaint(NamedTuple):
    """The peer reported what is wrong with our message; None if it is nothing an SNMP MIB has a name for."""

    cause: Count | None


class _Sent(NamedTuple):
    """A request that may be answered, and how many discovery steps were done when it was sent."""

    request_id: int
    discoveries: int


class SnmpResponse(NamedTuple):
    """A Response-PDU. `error_index` counts the names asked for from 1; 0 is none of them."""

    request_id: int
    error_status: int
    error_index: int = 0
    varbinds: tuple[VarBind, ...] = ()


ClientOutcome = SnmpResponse | Discovered | Complaint


class SnmpClientEngine:
    """What a manager and a notification originator have in common. Made anew after each failure."""

    def __init__(
        self,
        *,
        salts: Salts,
        first_id: int,
        community: bytes | None = None,
        user: User | None = None,
        context_engine_id: bytes | None = None,
        context: bytes = b"",
        reads_values: bool = True,
    ) -> None:
        """Either a community (v2c) or a user (v3). `first_id` is random, so that request IDs cannot be guessed.

        Context engine ID and context name are those of RFC 3411 section 3.3.1; without the former it is the peer's.
        With `reads_values` the variable bindings of responses are decoded.
        """
        if (community is None) == (user is None):
            raise ValueError("either a community or a user")
        self._context_engine_id = context_engine_id
        self._context = context
        self._reads_values = reads_values
        self._salts = salts
        self._community = community
        self._user = user
        self._last_id = first_id & _MAX_ID
        self._peer: RemoteEngine | None = None
        self._discoveries = 0
        self._outstanding: dict[int, _Sent] = {}
        """By message ID; for v2c, which has none, by request ID."""
        self.ignored = ""
        """What the last datagram without use was; part of the error when no answer comes."""

    @property
    def user_name(self) -> str:
        """The name of the v3 user; empty for a community."""
        return self._user.name if self._user else ""

    @property
    def ready(self) -> bool:
        """Whether the peer's engine ID and time are known; if not, send a probe first."""
        return self._user is None or (self._peer is not None and self._peer.authentic)

    def next_id(self) -> int:
        """The next request ID."""
        self._last_id = (self._last_id + 1) & _MAX_ID
        return self._last_id

    def forget(self, request_id: int) -> None:
        """Ignore late answers to this request."""
        self._outstanding = {
            message_id: sent for message_id, sent in self._outstanding.items() if sent.request_id != request_id
        }

    def _encode_confirmed(self, pdu: bytes, request_id: int, now: float) -> bytes:
        """A message that is answered; encoded again for each retransmission, whose message ID and time are new."""
        if self._user is None:
            self._remember(request_id, request_id)
            return self._encode_community(pdu)
        peer = self._peer
        if peer is None or not peer.authentic:
            raise ValueError("the peer is not known well enough: send a probe first")
        header = self._header(peer.keys, reportable=v3.REPORTABLE)
        moment = (peer.engine_id, peer.boots, peer.time_at(now))
        message = self._encode_v3(header, peer.keys, pdu, moment)
        self._remember(header.message_id, request_id)
        return sized(message, peer.max_octets)

    def encode_probe(self) -> bytes:
        """The request of a discovery step: for the peer's engine ID, then for its time (RFC 3414 section 4).

        Both probes carry an empty varbind list, so they fit any maximum message size.
        """
        request_id = self.next_id()
        pdu = encode_pdu(PduType.GET, request_id, 0, 0, ())
        if self._peer is not None:
            header = self._header(self._peer.keys, reportable=v3.REPORTABLE)
            self._remember(header.message_id, request_id)
            return self._encode_v3(header, self._peer.keys, pdu, (self._peer.engine_id, 0, 0))
        self._remember(request_id, request_id)
        return v3.encode_message(
            Header(request_id, MAX_MESSAGE_OCTETS, v3.REPORTABLE, v3.USM_MODEL),
            engine_id=b"",
            boots=0,
            time=0,
            keys=b"",
            scoped=v3.encode_scoped(b"", b"", pdu),
        )

    def _encode_community(self, pdu: bytes) -> bytes:
        assert self._community is not None
        return sized(encode_community_message(Version.V2C, self._community, pdu), MAX_MESSAGE_OCTETS)

    def _header(self, keys: Keys, *, reportable: int) -> Header:
        return Header(self.next_id(), MAX_MESSAGE_OCTETS, level_of(keys) | reportable, v3.USM_MODEL)

    def _encode_v3(self, header: Header, keys: Keys, pdu: bytes, moment: tuple[bytes, int, int]) -> bytes:
        engine_id, boots, time = moment
        context_engine_id = engine_id if self._context_engine_id is None else self._context_engine_id
        return v3.encode_message(
            header,
            engine_id=engine_id,
            boots=boots,
            time=time,
            keys=keys,
            scoped=v3.encode_scoped(context_engine_id, self._context, pdu),
            salt=self._salts.draw() if keys.privacy else b"",
        )

    def _remember(self, message_id: int, request_id: int) -> None:
        # Every retransmission of a v3 request has a message ID of its own, and any of them may be answered.
        while len(self._outstanding) >= _MAX_REMEMBERED:
            del self._outstanding[next(iter(self._outstanding))]
        self._outstanding[message_id] = _Sent(request_id, self._discoveries)

    def receive(self, datagram: bytes, now: float) -> ClientOutcome | None:
        """What the peer says; None for what is malformed, not authentic, late, or answers nothing we asked.

        Why it is None is in `ignored` then.
        """
        self.ignored = "a message that is late, not authentic, or no answer to what was asked"
        try:
            version, position, end = open_message(datagram)
            if version == Version.V3 and self._user is not None:
                return self._receive_v3(datagram, position, end, now)
            if version == Version.V2C and self._user is None:
                return self._receive_community(datagram, position, end)
        except DecodeError as error:
            self.ignored = f"{len(datagram)} octets that cannot be decoded ({error})"
            return None
        self.ignored = f"a message of SNMP {_VERSIONS.get(version, f'version number {version}')}"
        return None

    def _receive_community(self, datagram: bytes, position: int, end: int) -> ClientOutcome | None:
        """The community in an answer proves nothing, and some agents leave it empty: net-snmp does not look either."""
        _, position = ber.read_octets(datagram, position, end)
        pdu = read_pdu(datagram, position, end)
        return self._answer(pdu, pdu.request_id if pdu.request_id in self._outstanding else None)

    def _receive_v3(self, datagram: bytes, position: int, end: int, now: float) -> ClientOutcome | None:
        header, position = v3.read_header(datagram, position, end)
        # An answer has the message ID of its request (RFC 3412 section 7.2 (10)): others are not looked at further.
        if header.security_model != v3.USM_MODEL or header.message_id not in self._outstanding:
            return None
        parameters, position = v3.read_parameters(datagram, position, end)
        if not header.flags & v3.AUTH:
            return self._receive_report(datagram, position, end, header, parameters)
        peer = self._peer
        if peer is None or not self._is_authentic(peer, datagram, header, parameters):
            return None
        # RFC 3414 section 3.2 (7) b: first take over what is newer, then drop what is outside the window.
        is_newer = peer.learn(parameters.boots, parameters.time, now)
        if peer.is_late(parameters.boots, parameters.time, now):
            return None
        pdu = _open(peer.keys, datagram, position, end, header, parameters)
        if pdu.pdu_type is not PduType.REPORT:
            # A response below the level of its request could have been changed or read on its way.
            if header.flags & v3.LEVEL != level_of(peer.keys):
                return None
            return self._answer(pdu, self._outstanding[header.message_id].request_id)
        cause = _cause(pdu)
        if cause is not Count.NOT_IN_TIME_WINDOWS:
            return Complaint(cause)
        return self._discovered() if is_newer else self._contradicted(header, cause)

    def _discovered(self) -> Discovered:
        self._discoveries += 1
        return Discovered()

    def _contradicted(self, header: Header, cause: Count) -> Complaint | None:
        """The peer repeats what we know by now: no contradiction if the message is older than the knowledge."""
        return None if self._outstanding[header.message_id].discoveries < self._discoveries else Complaint(cause)

    @staticmethod
    def _is_authentic(peer: RemoteEngine, datagram: bytes, header: Header, parameters: Parameters) -> bool:
        keys = peer.keys
        if parameters.engine_id != peer.engine_id or parameters.user_name != keys.user_name:
            return False
        if header.flags & v3.PRIVACY and keys.privacy is None:
            return False
        return keys.verify(datagram, parameters.digest_offset, parameters.digest)

    def _receive_report(
        self, datagram: bytes, position: int, end: int, header: Header, parameters: Parameters
    ) -> ClientOutcome | None:
        """A Report in clear: it may name an engine or complain, but never set a time."""
        if header.flags & v3.PRIVACY:
            return None
        scoped = v3.read_scoped(datagram, position, end)
        pdu = read_pdu(scoped.data, scoped.position, scoped.end)
        if pdu.pdu_type is not PduType.REPORT:
            return None
        cause = _cause(pdu)
        engine_id = parameters.engine_id
        known = self._peer.engine_id if self._peer else None
        if cause is not Count.UNKNOWN_ENGINE_IDS:
            return Complaint(cause)
        if engine_id == known:
            return self._contradicted(header, cause)
        if len(engine_id) < v3.MIN_ENGINE_ID_OCTETS:
            return None
        # Anyone may claim another engine in clear, but not answer for it: its next message must be authentic with
        # keys that are localized to this engine ID (RFC 3414 section 2.6).
        assert self._user is not None
        keys = self._user.localize(engine_id)
        self._peer = RemoteEngine(keys=keys, engine_id=engine_id, max_octets=header.max_octets)
        return self._discovered()

    def _answer(self, pdu: Pdu, request_id: int | None) -> SnmpResponse | None:
        if pdu.pdu_type is not PduType.RESPONSE or pdu.request_id != request_id:
            return None
        varbinds = read_varbinds(pdu.varbinds) if self._reads_values else ()
        return SnmpResponse(pdu.request_id, pdu.first, pdu.second, varbinds)


def sized(message: bytes, max_octets: int) -> bytes:
    if len(message) > max_octets:
        raise TooBigError(f"{len(message)} octets, and {max_octets} at most are taken")
    return message


def _open(keys: Keys, datagram: bytes, position: int, end: int, header: Header, parameters: Parameters) -> Pdu:
    scoped = v3.open_scoped(keys, datagram, position, end, flags=header.flags, parameters=parameters)
    return read_pdu(scoped.data, scoped.position, scoped.end)


def _cause(report: Pdu) -> Count | None:
    varbinds = read_varbinds(report.varbinds)
    return _CAUSES.get(varbinds[0].name) if varbinds else None


class Manager(SnmpClientEngine):
    """Encodes requests to one agent and understands its answers. Made anew after each failure."""

    def encode_get(self, request_id: int, names: Iterable[Oid], now: float) -> bytes:
        """A GetRequest."""
        return self._encode_confirmed(_pdu(PduType.GET, request_id, 0, 0, names), request_id, now)

    def encode_bulk(self, request_id: int, names: Iterable[Oid], repetitions: int, now: float) -> bytes:
        """A GetBulkRequest without non-repeaters."""
        return self._encode_confirmed(_pdu(PduType.GETBULK, request_id, 0, repetitions, names), request_id, now)


def _pdu(kind: PduType, request_id: int, first: int, second: int, names: Iterable[Oid]) -> bytes:
    return encode_pdu(kind, request_id, first, second, (ber.encode_varbind(name, ber.NULL) for name in names))


class Originator(SnmpClientEngine):
    """Encodes notifications for one peer and understands what it answers. Made anew after each failure."""

    def __init__(
        self, *, engine: Engine, first_id: int, community: bytes | None = None, user: User | None = None
    ) -> None:
        """Traps are authenticated by our own `engine`, and it is the context engine of informs too."""
        super().__init__(
            salts=engine.salts,
            first_id=first_id,
            community=community,
            user=user,
            context_engine_id=engine.engine_id,
            reads_values=False,  # a response repeats the inform's own (RFC 3416 section 4.2.7)
        )
        self._engine = engine
        self._own_keys = user.localize(engine.engine_id) if user else None

    def encode_trap(self, varbinds: Iterable[bytes], now: float) -> bytes:
        """An SNMPv2-Trap; v3 ones are authenticated by our own engine (RFC 3413 section 3.3, unconfirmed)."""
        pdu = encode_pdu(PduType.TRAP, self.next_id(), 0, 0, varbinds)
        if self._own_keys is None:
            return self._encode_community(pdu)
        engine = self._engine
        header = self._header(self._own_keys, reportable=0)
        message = self._encode_v3(header, self._own_keys, pdu, (engine.engine_id, engine.boots, engine.time(now)))
        return sized(message, MAX_MESSAGE_OCTETS)

    def encode_inform(self, request_id: int, varbinds: Iterable[bytes], now: float) -> bytes:
        """An InformRequest; called again for each retransmission, whose message ID and time are new."""
        return self._encode_confirmed(encode_pdu(PduType.INFORM, request_id, 0, 0, varbinds), request_id, now)
