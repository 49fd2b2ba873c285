"""One SNMP peer that is asked: requests over one link, discovery, a window of outstanding ones, repetitions, deadlines.

Polls ask one request at a time, informs are sent in a window; the rest is the same for both. Knows no configuration.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.net.udp import LinkError
from hsm_agent.wire.snmp.client_engine import Complaint, Discovered, SnmpResponse, TooBigError
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.pdu import ErrorStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.net.udp import UdpLink
    from hsm_agent.wire.snmp.client_engine import ClientOutcome, SnmpClientEngine

    Encode = Callable[[int, float], bytes]
    """Makes a request's message of its request ID and the time; called for each repetition."""

log = logging.getLogger(__name__)

_MOST_ADDRESSES = 8
_MOST_DISCOVERIES = 6
"""Discovery takes two steps (RFC 3414 section 4); a peer that restarts meanwhile one or two more."""

_COMPLAINTS = {
    Count.UNKNOWN_USER_NAMES: "it knows no user '{user}' (usmStatsUnknownUserNames): check user.name, and that the peer"
    " has it",
    Count.WRONG_DIGESTS: "wrong authentication key of user '{user}' (usmStatsWrongDigests): check protocol and secret"
    " of user.auth",
    Count.DECRYPTION_ERRORS: "wrong privacy key of user '{user}' (usmStatsDecryptionErrors): check protocol and secret"
    " of user.privacy",
    Count.UNSUPPORTED_SEC_LEVELS: "user '{user}' is not allowed at this level (usmStatsUnsupportedSecLevels): with"
    " user.privacy it is authPriv, without it authNoPriv; check which one the peer has",
    Count.NOT_IN_TIME_WINDOWS: "it goes on refusing our messages as too old (usmStatsNotInTimeWindows): its clock or"
    " boot count may jump",
    Count.UNKNOWN_ENGINE_IDS: "it denies its own engine ID (usmStatsUnknownEngineIDs)",
    Count.UNKNOWN_CONTEXTS: "it has no such context (snmpUnknownContexts); a source's is its key `context`",
    Count.UNAVAILABLE_CONTEXTS: "its context is not available (snmpUnavailableContexts); a source's is its key"
    " `context`",
    Count.UNKNOWN_PDU_HANDLERS: "it takes no messages of this kind (snmpUnknownPDUHandlers)",
}
"""What an operator should check when the peer answers with a Report of this counter."""


class SessionError(Exception):
    """The peer refuses what we are, or cannot be talked to. The session is of no more use."""


class NoAnswerError(SessionError):
    """The peer is silent. `is_ready`: it was known by then, so that a request was sent and not only a probe."""

    def __init__(self, reason: str, *, is_ready: bool) -> None:
        super().__init__(reason)
        self.is_ready = is_ready


def _may_always(position: int) -> bool:
    del position
    return True


class OtherAddresses:
    """From which other addresses the answers of one peer come: each is logged once. Outlives its sessions."""

    def __init__(self, peer: str, *, are_trusted: bool) -> None:
        """`are_trusted`: answers from anywhere are taken."""
        self.are_trusted = are_trusted
        self._peer = peer
        self._addresses: set[str] = set()

    def note(self, address: str) -> None:
        """An answer came from there."""
        if address in self._addresses or len(self._addresses) >= _MOST_ADDRESSES:
            return
        self._addresses.add(address)
        taken = "and is taken" if self.are_trusted else "and is not taken: `answers_from: any` would take it"
        log.warning("%s: an answer comes from %s %s", self._peer, address, taken)


@dataclass(slots=True)
class Traffic:
    """What was sent: datagrams by the name of the request, and the seconds until the slowest answer."""

    calls: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float | None = None


@dataclass(slots=True)
class _Outstanding:
    position: int
    encode: Encode
    tries_left: int
    due: float = 0.0
    sent: float = 0.0
    first_sent: float = 0.0


class SnmpSession:
    """Sends requests to one peer over one link. After any other error than NoAnswerError it is of no more use."""

    def __init__(
        self,
        link: UdpLink,
        engine: SnmpClientEngine,
        *,
        window: int,
        try_seconds: float,
        tries: int,
        others: OtherAddresses,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock` is what the peer's time is computed by: the loop's, unless a test has another."""
        self.link = link
        self.deadline = math.inf
        """On the loop's clock: nothing is waited for beyond it."""
        self.traffic = Traffic()
        self._engine = engine
        self._window = window
        self._try_seconds = try_seconds
        self._tries = tries
        self._others = others
        self._clock = clock or asyncio.get_running_loop().time
        self._outstanding: dict[int, _Outstanding] = {}
        self._discoveries = 0
        self._oddity = ""
        """What came last and was of no use; empty if nothing did."""
        self._is_answered = False

    async def run(
        self,
        requests: Sequence[Encode],
        answered: Callable[[int, SnmpResponse], None],
        name: str = "request",
        *,
        may_send: Callable[[int], bool] | None = None,
    ) -> None:
        """Send each until it is answered; `answered` is given its position and the response as they come in.

        One that is too long for the path or the peer is answered with tooBig. Raises SessionError or LinkError when
        one of them stays without an answer. `may_send` is asked before each is sent, or sent again: where it says no
        to a position, that one is given up.
        """
        waiting = deque(enumerate(requests))
        self._oddity = ""
        try:
            while waiting or self._outstanding:
                await self._get_ready()
                while waiting and len(self._outstanding) < self._window:
                    position, encode = waiting.popleft()
                    self._outstanding[self._engine.next_id()] = _Outstanding(position, encode, self._tries)
                self._send_due(answered, name, may_send or _may_always)
                if self._outstanding:
                    outcome = await self._receive(min(one.due for one in self._outstanding.values()))
                    self._take(outcome, answered)
        finally:
            # Late answers to requests that were given up must not be taken for answers to the next ones.
            for request_id in self._outstanding:
                self._engine.forget(request_id)
            self._outstanding = {}

    async def _get_ready(self) -> None:
        """Discover the peer's engine ID, then its boots and time (RFC 3414 section 4)."""
        loop = asyncio.get_running_loop()
        tries, began = self._tries, loop.time()
        while not self._engine.ready:
            sent = loop.time()
            if not tries or sent >= self.deadline:
                raise self._no_answer(sent - began)
            tries -= 1
            self.traffic.calls["discovery"] += 1
            self.link.send(self._engine.encode_probe())
            outcome = await self._receive(sent + self._try_seconds)
            if isinstance(outcome, Complaint):
                raise SessionError(self._complaint(outcome.cause))
            if isinstance(outcome, Discovered):
                self._note_seconds(loop.time() - sent)
                self._count_discovery()
                tries, began = self._tries, loop.time()

    def _send_due(
        self, answered: Callable[[int, SnmpResponse], None], name: str, may_send: Callable[[int], bool]
    ) -> None:
        now = asyncio.get_running_loop().time()
        for request_id, one in list(self._outstanding.items()):
            if one.due > now:
                continue
            if not may_send(one.position):
                self._give_up(request_id)
                continue
            if not one.tries_left or now >= self.deadline:
                raise self._no_answer(now - (one.first_sent or now))
            one.tries_left -= 1
            one.first_sent = one.first_sent or now
            one.sent, one.due = now, min(now + self._try_seconds, self.deadline)
            self.traffic.calls[name] += 1
            try:
                octets = one.encode(request_id, self._clock())
                if may_send(one.position):  # once more: nothing may come between that and the sending
                    self.link.send(octets)
                else:
                    self._give_up(request_id)
            except TooBigError:
                self._settle(SnmpResponse(request_id, ErrorStatus.TOO_BIG), answered)
            except LinkError as error:
                if error.errno != errno.EMSGSIZE:  # else the path takes no datagram of this length: only this one fails
                    raise
                self._settle(SnmpResponse(request_id, ErrorStatus.TOO_BIG), answered)

    def _give_up(self, request_id: int) -> None:
        self._engine.forget(request_id)
        del self._outstanding[request_id]

    async def _receive(self, due: float) -> ClientOutcome | None:
        """What the peer answers next that is of use; None if nothing is until `due` on the loop's clock."""
        try:
            async with asyncio.timeout_at(min(due, self.deadline)):
                while True:
                    datagram, address = await self.link.receive_from()
                    outcome = self._decode(datagram, address)
                    if outcome is not None:
                        self._oddity = ""
                        return outcome
        except TimeoutError:
            return None

    def _decode(self, datagram: bytes, address: str) -> ClientOutcome | None:
        outcome = self._engine.receive(datagram, self._clock())
        if outcome is None:
            self._oddity = self._engine.ignored + (f" from {address}" if address else "")
            return None
        if address:
            self._others.note(address)
            if not self._others.are_trusted:
                self._oddity = f"an answer from {address}, another address: `answers_from: any` would take it"
                return None
        return outcome

    def _take(self, outcome: ClientOutcome | None, answered: Callable[[int, SnmpResponse], None]) -> None:
        match outcome:
            case None:
                return
            case SnmpResponse():
                self._is_answered = True
                self._settle(outcome, answered)
            case Discovered():
                self._count_discovery()
                # What is outstanding was encoded with the engine ID or time that was believed before.
                for one in self._outstanding.values():
                    one.due = 0.0
                    one.tries_left = max(one.tries_left, 1)
            case Complaint(cause=cause):
                raise SessionError(self._complaint(cause))

    def _settle(self, response: SnmpResponse, answered: Callable[[int, SnmpResponse], None]) -> None:
        one = self._outstanding.pop(response.request_id, None)
        self._engine.forget(response.request_id)
        if one is not None:  # None: a second answer, to a repetition
            self._discoveries = 0
            self._note_seconds(asyncio.get_running_loop().time() - one.sent)
            answered(one.position, response)

    def _count_discovery(self) -> None:
        self._discoveries += 1
        if self._discoveries > _MOST_DISCOVERIES:
            raise SessionError("its engine ID or its time changes with every answer")

    def _note_seconds(self, seconds: float) -> None:
        self.traffic.slowest_seconds = max(self.traffic.slowest_seconds or 0.0, seconds)

    def _no_answer(self, waited_seconds: float) -> NoAnswerError:
        engine = self._engine
        full_seconds = self._tries * self._try_seconds
        # The configured time and not the measured one: a text that changes with each poll would be logged each time.
        # The last try of a request that was sent at the beginning is cut by some milliseconds, which does not count.
        is_cut = waited_seconds < full_seconds - self._try_seconds / 2
        text = "no answer in what was left of the time" if is_cut else f"no answer within {full_seconds:g} s"
        if self._oddity:
            text = f"{text} that is of use: what came last is {self._oddity}"
        elif engine.user_name and engine.ready and not self._is_answered:
            # Discovery is authentic, but neither encrypted nor in a context.
            hint = "check protocol and secret of user.privacy, and `context`"
            text = f"{text}, though it takes the authentication of user '{engine.user_name}': {hint}"
        else:
            hint = "" if engine.user_name else "; a wrong community gets no answer either"
            text = f"{text}: check address, firewall and that it listens there{hint}"
        return NoAnswerError(text, is_ready=engine.ready)

    def _complaint(self, cause: Count | None) -> str:
        if cause is None:
            return "it answered with a Report of something that is no standard counter"
        known = _COMPLAINTS.get(cause, f"it answered with a Report: {cause.name.lower().replace('_', ' ')}")
        return known.format(user=self._engine.user_name)
