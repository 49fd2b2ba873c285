"""The authoritative side of SNMP: judges each datagram that asks something, and wraps what is answered.

No I/O and no clock: datagrams, addresses and times come in, records and datagrams go out. Reads no object and knows
no view; a request that is handed out has passed every check of RFC 3412 section 7.2 and RFC 3414 section 3.2, or
of RFC 3584 section 5.2 and the community's own networks.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.text import ip_of
from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.ber import DecodeError
from hsm_agent.wire.snmp.engine import MAX_BOOTS, TIME_WINDOW_SECONDS, Count, Counters
from hsm_agent.wire.snmp.pdu import (
    COMMUNITY_OVERHEAD_OCTETS,
    CONFIRMED,
    MAX_MESSAGE_OCTETS,
    Community,
    CommunityReply,
    ErrorStatus,
    Pdu,
    PduType,
    Request,
    V3Reply,
    Version,
    encode_community_message,
    encode_pdu,
    open_message,
    read_names,
    read_pdu,
)
from hsm_agent.wire.snmp.v3 import Header, level_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.engine import Engine
    from hsm_agent.wire.snmp.pdu import Pdu
    from hsm_agent.wire.snmp.usm import Keys, User
    from hsm_agent.wire.snmp.v3 import Parameters


REQUESTS = frozenset({PduType.GET, PduType.GETNEXT, PduType.GETBULK, PduType.SET})
"""What a command responder handles. A receiver of notifications handles informs, and those of any context."""
MAX_NAMES = 500
MAX_ASKED_OCTETS = 16384
"""A request for more names, or longer ones, is answered tooBig: one of a full datagram would take 80 ms."""
_CACHED_ADDRESSES = 1024

LOCAL_ENGINE_ID = bytes.fromhex("8000000006")
"""The local name of any engine (RFC 5343). As context engine it gives access to snmpEngineID.0 and nothing else.

The engine ID is no secret (every Report has it), so a known user may ask without authentication, as with snmpd.
"""
_ENGINE_ID: Oid = (1, 3, 6, 1, 6, 3, 10, 2, 1, 1)
_ASKED = {PduType.GET: ((*_ENGINE_ID, 0),), PduType.GETNEXT: (_ENGINE_ID,)}


class Refusal(NamedTuple):
    """A datagram that is no request to answer. `answer` is what its sender gets nevertheless, if anything.

    `cause` is what was counted; None for the two answers that are no refusal of the sender: an engine ID that was
    asked for in clear (RFC 5343), and tooBig.
    """

    cause: Count | None
    answer: bytes | None = None


class Incoming(NamedTuple):
    """A v3 message on its way through the checks."""

    datagram: bytes
    address: str
    now: float
    header: Header
    parameters: Parameters
    data_position: int
    data_end: int

    @property
    def encrypted(self) -> bool:
        """Whether msgData is encrypted, as its flags say."""
        return bool(self.header.flags & v3.PRIVACY)


def peek(incoming: Incoming, context_engine_id: bytes | None = None) -> Pdu | None:
    """The PDU of a message in clear, as far as it can be read; only one for this context engine, if it is given."""
    try:
        scoped = v3.read_scoped(incoming.datagram, incoming.data_position, incoming.data_end)
        if context_engine_id not in {None, scoped.context_engine_id} or (context_engine_id and scoped.context_name):
            return None
        return read_pdu(scoped.data, scoped.position, scoped.end)
    except DecodeError:
        return None


def asks_for_engine_id(pdu_type: PduType, names: tuple[Oid, ...]) -> bool:
    """Whether this reads snmpEngineID.0, and it alone."""
    return names == _ASKED.get(pdu_type)


def _encode_own(engine: Engine, message_id: int, level: int, keys: Keys | bytes, scoped: bytes, now: float) -> bytes:
    """A v3 message whose authority is our own engine. `keys`: only the user's name at the level 0."""
    return v3.encode_message(
        Header(message_id, MAX_MESSAGE_OCTETS, level, v3.USM_MODEL),
        engine_id=engine.engine_id,
        boots=engine.boots,
        time=engine.time(now),
        keys=keys,
        scoped=scoped,
        salt=engine.salts.draw() if level & v3.PRIVACY else b"",
    )


class _Known(NamedTuple):
    """A user at this engine: the level and the room of its messages worked out once."""

    principal: str
    keys: Keys
    level: int
    overhead: int


def _is_bounded(pdu: Pdu, names: tuple[Oid, ...]) -> bool:
    return len(names) <= MAX_NAMES and len(pdu.varbinds) <= MAX_ASKED_OCTETS


def _known(user: User, engine_id: bytes) -> _Known:
    keys = user.localize(engine_id)
    overhead = v3.overhead(engine_id=engine_id, keys=keys, context_engine_id=engine_id, context_name=b"")
    return _Known(user.name, keys, level_of(keys), overhead)


class Authority:
    """Decides which messages are processed. One for each set of users and communities; the engine outlives it."""

    def __init__(
        self,
        *,
        engine: Engine,
        users: Iterable[User] = (),
        communities: Iterable[Community] = (),
        v1: bool = False,
        counters: Counters | None = None,
        authentication_failed: Callable[[str], None] | None = None,
        handled: frozenset[PduType] = REQUESTS,
    ) -> None:
        """`authentication_failed` is called with the address of each sender that could not prove who it is."""
        self.engine = engine
        self.counters = Counters() if counters is None else counters
        self._users = {user.name.encode(): _known(user, engine.engine_id) for user in users}
        self._communities = tuple(communities)
        self._v1 = v1
        self._handled = handled
        self._any_context = handled is not REQUESTS
        self._authentication_failed = authentication_failed or (lambda _address: None)
        self._communities_of = lru_cache(_CACHED_ADDRESSES)(self._communities_for)

    def receive(self, datagram: bytes, address: str, now: float) -> Request | Refusal:
        """A request to answer, or why there is none: counted, and perhaps with a Report to send back."""
        self.counters.add(Count.IN_PKTS)
        try:
            version, position, end = open_message(datagram)
            if version == Version.V3 and self._users and not self.engine.is_held:
                return self._receive_v3(datagram, position, end, address, now)
            if self._communities and (version == Version.V2C or (version == Version.V1 and self._v1)):
                return self._receive_community(Version(version), datagram, (position, end), address, now)
        except DecodeError:
            return self._dropped(Count.IN_ASN_PARSE_ERRS)
        return self._dropped(Count.IN_BAD_VERSIONS)

    def _dropped(self, cause: Count) -> Refusal:
        self.counters.add(cause)
        return Refusal(cause)

    def _communities_for(self, address: str) -> tuple[Community, ...]:
        source = ip_of(address)
        return tuple(one for one in self._communities if source and any(source in network for network in one.networks))

    def _receive_community(
        self, version: Version, datagram: bytes, bounds: tuple[int, int], address: str, now: float
    ) -> Request | Refusal:
        position, end = bounds
        given, position = ber.read_octets(datagram, position, end)
        principal = None
        for community in self._communities_of(address):
            # No early end: how long the comparison takes says nothing of which secret came near.
            if hmac.compare_digest(community.secret, given) and principal is None:
                principal = community.name
        if principal is None:
            self._authentication_failed(address)
            return self._dropped(Count.IN_BAD_COMMUNITY_NAMES)
        pdu = read_pdu(datagram, position, end)
        if pdu.pdu_type not in self._handled or (version is Version.V1 and pdu.pdu_type is PduType.GETBULK):
            return self._dropped(Count.UNKNOWN_PDU_HANDLERS)
        names = self._names(pdu)
        if pdu.pdu_type is PduType.SET:  # RFC 3418 section 2, snmpInBadCommunityUses: no community may write
            self.counters.add(Count.IN_BAD_COMMUNITY_USES)
        room = MAX_MESSAGE_OCTETS - COMMUNITY_OVERHEAD_OCTETS - len(given)
        request = Request(
            version, principal, address, now, *pdu[:4], names, MAX_MESSAGE_OCTETS, room, pdu.varbinds,
            CommunityReply(given),
        )  # fmt: skip
        return request if _is_bounded(pdu, names) else Refusal(None, self._too_big(request))

    def _receive_v3(self, datagram: bytes, position: int, end: int, address: str, now: float) -> Request | Refusal:
        header, position = v3.read_header(datagram, position, end)
        if header.security_model != v3.USM_MODEL:
            return self._dropped(Count.UNKNOWN_SECURITY_MODELS)
        if header.flags & v3.LEVEL == v3.PRIVACY:
            return self._dropped(Count.INVALID_MSGS)
        parameters, position = v3.read_parameters(datagram, position, end)
        incoming = Incoming(datagram, address, now, header, parameters, position, end)
        if parameters.engine_id != self.engine.engine_id:
            return self._report(incoming, Count.UNKNOWN_ENGINE_IDS)
        known = self._users.get(parameters.user_name)
        if known is None:
            self._authentication_failed(address)
            return self._report(incoming, Count.UNKNOWN_USER_NAMES)
        keys = known.keys
        if header.flags & v3.LEVEL != known.level:
            if not header.flags & v3.LEVEL and (answer := self._engine_id_in_clear(incoming)) is not None:
                return Refusal(None, answer)
            # Also below the user's own level: what has a privacy key is never answered in clear.
            self._authentication_failed(address)
            return self._report(incoming, Count.UNSUPPORTED_SEC_LEVELS)
        if not keys.verify(datagram, parameters.digest_offset, parameters.digest):
            self._authentication_failed(address)
            return self._report(incoming, Count.WRONG_DIGESTS)
        if not self._in_time_window(parameters, now):
            return self._report(incoming, Count.NOT_IN_TIME_WINDOWS, keys, v3.AUTH)
        return self._receive_authentic(incoming, known)

    def _in_time_window(self, parameters: Parameters, now: float) -> bool:
        """The window of an authoritative engine (RFC 3414 section 3.2 (7) a), which knows its own boots and time.

        A time ahead of it is refused as well: this engine has sent none that a sender could have reckoned it from.
        """
        boots = self.engine.boots
        if boots >= MAX_BOOTS or parameters.boots != boots:
            return False
        return abs(parameters.time - self.engine.time(now)) <= TIME_WINDOW_SECONDS

    def _receive_authentic(self, incoming: Incoming, known: _Known) -> Request | Refusal:
        keys, level = known.keys, known.level
        try:
            scoped = v3.open_scoped(
                keys,
                incoming.datagram,
                incoming.data_position,
                incoming.data_end,
                flags=incoming.header.flags,
                parameters=incoming.parameters,
            )
        except v3.DecryptionError:  # the digest was right, so the sender has a wrong privacy key and should be told
            return self._report(incoming, Count.DECRYPTION_ERRORS)
        pdu = read_pdu(scoped.data, scoped.position, scoped.end)
        if pdu.pdu_type not in self._handled:
            return self._report(incoming, Count.UNKNOWN_PDU_HANDLERS, keys, level, pdu)
        if scoped.context_name and not self._any_context:
            return self._report(incoming, Count.UNKNOWN_CONTEXTS, keys, level, pdu)
        names = self._names(pdu)
        # Any context engine is taken for our own, as by snmpd, and given back; but RFC 5343's may ask one thing only.
        context = scoped.context_engine_id or (b"" if self._any_context else self.engine.engine_id)
        if context == LOCAL_ENGINE_ID and not asks_for_engine_id(pdu.pdu_type, names) and not self._any_context:
            return self._report(incoming, Count.UNKNOWN_PDU_HANDLERS, keys, level, pdu)
        max_octets = min(incoming.header.max_octets, MAX_MESSAGE_OCTETS)
        room = max_octets - known.overhead - max(0, len(context) - len(self.engine.engine_id))
        request = Request(
            Version.V3, known.principal, incoming.address, incoming.now, *pdu[:4], names, max_octets, room,
            pdu.varbinds, V3Reply(incoming.header.message_id, keys, context, scoped.context_name),
        )  # fmt: skip
        return request if _is_bounded(pdu, names) else Refusal(None, self._too_big(request))

    def _engine_id_in_clear(self, incoming: Incoming) -> bytes | None:
        """The answer to RFC 5343's discovery without authentication; None if this is something else."""
        pdu = peek(incoming, LOCAL_ENGINE_ID)
        if pdu is None or self._any_context or not asks_for_engine_id(pdu.pdu_type, read_names(pdu.varbinds, 2)):
            return None
        varbind = ber.encode_varbind((*_ENGINE_ID, 0), ber.encode_octets(self.engine.engine_id))
        response = encode_pdu(PduType.RESPONSE, pdu.request_id, 0, 0, (varbind,))
        scoped = v3.encode_scoped(LOCAL_ENGINE_ID, b"", response)
        user_name = incoming.parameters.user_name
        return _encode_own(self.engine, incoming.header.message_id, 0, user_name, scoped, incoming.now)

    def _names(self, pdu: Pdu) -> tuple[Oid, ...]:
        """What is asked for; empty for notifications, whose values are read apart, as some may be damaged."""
        if self._any_context or len(pdu.varbinds) > MAX_ASKED_OCTETS:
            return ()
        return read_names(pdu.varbinds, MAX_NAMES + 1)

    def _report(
        self,
        incoming: Incoming,
        cause: Count,
        keys: Keys | None = None,
        level: int = 0,
        pdu: Pdu | None = None,
    ) -> Refusal:
        """A Report if the sender may have one (RFC 3412 section 7.1 (3)); counted either way.

        It takes both the reportable flag and, where the PDU can be read, one of the Confirmed Class: a request without
        the flag gets nothing, and no Report ever answers a Report.
        """
        count = self.counters.add(cause)
        if not incoming.header.flags & v3.REPORTABLE:
            return Refusal(cause)
        if pdu is None and not incoming.encrypted:
            pdu = peek(incoming)
        if pdu is not None and pdu.pdu_type not in CONFIRMED:
            return Refusal(cause)
        varbind = ber.encode_varbind(cause.oid, ber.encode_counter32(count))
        report = encode_pdu(PduType.REPORT, pdu.request_id if pdu else 0, 0, 0, (varbind,))
        scoped = v3.encode_scoped(self.engine.engine_id, b"", report)
        user = incoming.parameters.user_name if keys is None else keys
        message = _encode_own(self.engine, incoming.header.message_id, level, user, scoped, incoming.now)
        return Refusal(cause, message)

    def respond(self, request: Request, error_status: int, error_index: int, varbinds: Sequence[bytes]) -> bytes | None:
        """The response; its varbinds are those given, or those asked for if there is an error (RFC 3416 section 4.2).

        GETBULK is cut to what fits; anything else that doesn't fit becomes tooBig, and if not even that fits, None.
        """
        if error_status:
            return self._fitting(request, error_status, error_index, (request.varbinds,)) or self._too_big(request)
        if request.pdu_type is PduType.GETBULK:
            varbinds = _cut(varbinds, request.room_octets)
        return self._fitting(request, 0, 0, varbinds) or self._too_big(request)

    def _too_big(self, request: Request) -> bytes | None:
        asked = (request.varbinds,) if request.version is Version.V1 else ()
        response = self._fitting(request, ErrorStatus.TOO_BIG, 0, asked)
        if response is None:
            self.counters.add(Count.SILENT_DROPS)
        return response

    def _fitting(
        self, request: Request, error_status: int, error_index: int, varbinds: Sequence[bytes]
    ) -> bytes | None:
        message = encode_response(self.engine, request, error_status, error_index, varbinds)
        return message if len(message) <= request.max_octets else None


def _cut(varbinds: Sequence[bytes], room: int) -> Sequence[bytes]:
    """As many as fit, from the front (RFC 3416 section 4.2.3).

    By their own sizes against the most that the rest of the message can take: it is encoded, and encrypted, once.
    """
    for fitting, varbind in enumerate(varbinds):
        room -= len(varbind)
        if room < 0:
            return varbinds[:fitting]
    return varbinds


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
    scoped = v3.encode_scoped(reply.context_engine_id, reply.context_name, pdu)
    return _encode_own(engine, reply.message_id, level_of(reply.keys), reply.keys, scoped, request.received)


_V1_ERRORS: dict[int, int] = {
    ErrorStatus.NO_ACCESS: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.NO_CREATION: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.AUTHORIZATION_ERROR: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.NOT_WRITABLE: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.INCONSISTENT_NAME: ErrorStatus.NO_SUCH_NAME,
    ErrorStatus.RESOURCE_UNAVAILABLE: ErrorStatus.GEN_ERR,
}
"""RFC 3584 section 4.4, as far as a responder that only reads can need it."""
