"""The `kind: snmp` sinks: traps, each sent once (best effort), and informs, sent until acknowledged (at least once)."""

from __future__ import annotations

import asyncio
import errno
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.deliver.base import Refused, Retry
from hsm_agent.model import Guarantee
from hsm_agent.net.snmp_session import NoAnswerError, OtherAddresses, SessionError, SnmpSession
from hsm_agent.net.udp import LinkError, UdpLink, open_link
from hsm_agent.wire.snmp.client_engine import Originator, TooBigError
from hsm_agent.wire.snmp.mib import encode_event, encode_notification
from hsm_agent.wire.snmp.pdu import ErrorStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.deliver.base import SinkContext
    from hsm_agent.model import Event
    from hsm_agent.net.address import Address
    from hsm_agent.settings.snmp import AnswersFrom
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.usm import User

_TRAP_WINDOW = 32
_GRACE_SECONDS = 0.02
"""How long a refusal (ICMP port unreachable) is waited for: it takes a round trip, and most networks eat it."""
_LOOK_UP_EVERY_SECONDS = 60.0
"""A receiver that moved to another address would never be noticed otherwise."""

_INFORM_WINDOW = 16
_UNENCODABLE = -1
_MAX_REMEMBERED = 16 * _INFORM_WINDOW
_NO_ERROR = int(ErrorStatus.NO_ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A receiver as it is configured."""

    address: Address
    bind: str | None
    timeout: float
    retries: int
    context: SinkContext
    community: bytes | None = field(default=None, repr=False)
    user: User | None = None
    answers_from: AnswersFrom = "same"

    def other_addresses(self) -> OtherAddresses:
        """Whether answers from other addresses are taken, and which were logged."""
        return OtherAddresses(str(self.address), are_trusted=self.user is not None or self.answers_from == "any")

    def originator(self) -> Originator:
        """A new protocol state: what was learnt of the receiver is forgotten."""
        return Originator(
            engine=self.context.engine, first_id=secrets.randbits(31), community=self.community, user=self.user
        )

    def up_seconds(self, now: float) -> float:
        """How long the engine is up, for sysUpTime."""
        return max(now - self.context.engine.started, 0.0)

    def varbinds(self, event: Event) -> tuple[bytes, ...]:
        """An event's variable bindings. Raises ValueError if it has none."""
        up_seconds = self.up_seconds(asyncio.get_running_loop().time())
        return encode_event(event, self.context.base_oid, up_seconds=up_seconds)

    async def open(self, turn: int, *, strays: bool = False) -> UdpLink:
        """A socket to one of its addresses, another one each turn. Raises LinkError."""
        if self.user is not None and self.context.engine.is_held:
            raise LinkError("SNMPv3 is held back until the engine's boots can be stored")
        return await open_link(self.address, bind=self.bind, turn=turn, timeout=self.timeout, strays=strays)


class TrapSink:
    """Sends SNMPv2-Trap PDUs.

    A trap is accepted once it left the host and no refusal came back. A receiver whose host answers port unreachable
    is a failure like any other: what was lost that way can be seen, so it is sent again.
    """

    guarantee = Guarantee.BEST_EFFORT
    window = _TRAP_WINDOW
    kind = "snmp trap"

    def __init__(self, *, name: str, peer: Peer) -> None:
        self.name = name
        self._peer = peer
        self._originator: Originator = peer.originator()
        self._link: UdpLink | None = None
        self._opened_at = 0.0
        self._refusals = 0

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """Send all, then listen for a refusal: without one, all count as accepted."""
        refused: Refused | None = None
        sent = []
        try:
            link = await self._ready()
            for event in events:
                refused = self._send(link, event)
                if refused is not None:
                    break
                sent.append(event)
            await asyncio.sleep(_GRACE_SECONDS)
            link.check()
        except LinkError as error:
            self._refusals += 1
            self._drop()
            raise Retry(f"{self._peer.address}: {error}") from error
        for event in sent:
            accepted(event)
        if refused is not None:
            raise refused

    def _send(self, link: UdpLink, event: Event) -> Refused | None:
        try:
            varbinds = self._peer.varbinds(event)
            link.send(self._originator.encode_trap(varbinds, asyncio.get_running_loop().time()))
        except ValueError as error:  # TooBigError is a ValueError
            why = f"{self._peer.address}: no notification can carry it: {error}"
            return Refused(event.event_id, why, certain=True)
        except LinkError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            return Refused(event.event_id, f"{self._peer.address}: too long for a datagram on this path")
        return None

    async def notify(self, oid: Oid, varbinds: Sequence[bytes] = ()) -> None:
        """Send a notification that is not spooled, such as coldStart. Raises Retry; it need not be repeated."""
        now = asyncio.get_running_loop().time()
        listed = encode_notification(oid, varbinds, up_seconds=self._peer.up_seconds(now))
        try:
            link = await self._ready()
            link.send(self._originator.encode_trap(listed, now))
        except (LinkError, TooBigError) as error:
            self._drop()
            raise Retry(f"{self._peer.address}: {error}") from error

    async def _ready(self) -> UdpLink:
        now = asyncio.get_running_loop().time()
        if self._link is not None and now - self._opened_at < _LOOK_UP_EVERY_SECONDS:
            return self._link
        link = await self._peer.open(self._refusals)
        self._drop()
        self._link, self._opened_at = link, now
        return link

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None

    async def close(self) -> None:
        """Close the socket."""
        self._drop()


class _Batch:
    """Answers come in any order, and are reported in the order of the events."""

    def __init__(self, events: Sequence[Event], acknowledged: set[str], accepted: Callable[[Event], None]) -> None:
        self._events = events
        self._accepted = accepted
        self._verdicts = {
            position: _NO_ERROR for position, event in enumerate(events) if event.event_id in acknowledged
        }
        self._reported = 0
        self._why_unencodable = ""

    def notifications(self, encode: Callable[[Event], tuple[bytes, ...]]) -> list[tuple[int, tuple[bytes, ...]]]:
        """What is still to be sent; up to the first event that no notification can carry."""
        found = []
        for position, event in enumerate(self._events):
            if position in self._verdicts:
                continue
            try:
                found.append((position, encode(event)))
            except ValueError as error:
                self._why_unencodable = str(error)
                self.answered(position, _UNENCODABLE)
                break
        return found

    def answered(self, position: int, error_status: int) -> None:
        """The receiver's answer to one."""
        self._verdicts[position] = error_status
        self.report()

    def report(self) -> None:
        """Report what was accepted, as far as it is known without a gap."""
        while self._reported < len(self._events) and self._verdicts.get(self._reported) == _NO_ERROR:
            self._reported += 1
            self._accepted(self._events[self._reported - 1])

    @property
    def reported(self) -> set[str]:
        """The events reported as accepted."""
        return {event.event_id for event in self._events[: self._reported]}

    @property
    def acknowledged(self) -> set[str]:
        """The events accepted behind a gap, which need not be sent again."""
        return {
            self._events[position].event_id
            for position, verdict in self._verdicts.items()
            if verdict == _NO_ERROR and position >= self._reported
        }

    def check(self, receiver: str) -> None:
        """Raise Refused for the first event that was not accepted, if the receiver answered it."""
        if self._reported == len(self._events) or self._reported not in self._verdicts:
            return
        event, verdict = self._events[self._reported], self._verdicts[self._reported]
        if verdict == _UNENCODABLE:
            why = f"{receiver}: no notification can carry it: {self._why_unencodable}"
            raise Refused(event.event_id, why, certain=True)
        if verdict == ErrorStatus.TOO_BIG:
            raise Refused(event.event_id, f"{receiver}: too big for the receiver or for a datagram")
        raise Refused(event.event_id, f"{receiver}: it answered with error-status {_name(verdict)}")


def _name(error_status: int) -> str:
    if error_status in set(ErrorStatus):
        return f"{ErrorStatus(error_status).name.lower().replace('_', ' ')} ({error_status})"
    return str(error_status)


class InformSink:
    """Sends InformRequests, up to a window of them at once; remembers the receiver's engine between calls."""

    guarantee = Guarantee.AT_LEAST_ONCE
    window = _INFORM_WINDOW
    kind = "snmp inform"

    def __init__(self, *, name: str, peer: Peer) -> None:
        self.name = name
        self._peer = peer
        self._session: tuple[SnmpSession, Originator] | None = None
        self._others = peer.other_addresses()
        self._failures = 0
        self._acknowledged: set[str] = set()

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """Send in a window; an event is accepted when the receiver's Response says noError."""
        receiver = str(self._peer.address)
        batch = _Batch(events, self._acknowledged, accepted)
        notifications = batch.notifications(self._peer.varbinds)
        batch.report()
        try:
            if notifications:
                if self._session is None:
                    self._session = await self._opened()
                await _inform(*self._session, notifications, batch.answered)
            self._remember(batch)
            batch.check(receiver)
        except (LinkError, SessionError) as error:
            self._fail(batch)
            batch.check(receiver)
            # Perhaps nothing so long gets through: the pump finds out whether others do.
            unanswered = isinstance(error, NoAnswerError) and error.is_ready
            raise Retry(f"{receiver}: {error}", sent=unanswered) from error
        except Refused:
            self._fail(batch)  # the next try goes to another of its addresses
            raise

    def _remember(self, batch: _Batch) -> None:
        self._acknowledged -= batch.reported
        self._acknowledged |= batch.acknowledged
        if len(self._acknowledged) > _MAX_REMEMBERED:  # some left the spool another way, and won't be asked for again
            self._acknowledged = batch.acknowledged

    def _fail(self, batch: _Batch) -> None:
        self._remember(batch)
        self._failures += 1
        self._drop()

    async def notify(self, oid: Oid, varbinds: Sequence[bytes] = ()) -> None:
        """Send a notification that is not spooled, such as coldStart, on a link of its own.

        Raises Retry; it need not be repeated.
        """
        receiver = str(self._peer.address)
        up_seconds = self._peer.up_seconds(asyncio.get_running_loop().time())
        answers: list[int] = []
        session = None
        try:
            session, originator = await self._opened()
            listed = encode_notification(oid, varbinds, up_seconds=up_seconds)
            await _inform(session, originator, [(0, listed)], lambda _, error_status: answers.append(error_status))
        except (LinkError, SessionError) as error:
            raise Retry(f"{receiver}: {error}") from error
        finally:
            if session is not None:
                session.link.close()
        if answers != [_NO_ERROR]:
            raise Retry(f"{receiver}: it answered with error-status {_name(answers[0])}")

    async def _opened(self) -> tuple[SnmpSession, Originator]:
        peer = self._peer
        link = await peer.open(self._failures, strays=True)
        originator = peer.originator()
        session = SnmpSession(
            link,
            originator,
            window=_INFORM_WINDOW,
            try_seconds=peer.timeout,
            tries=peer.retries + 1,
            others=self._others,
        )
        return session, originator

    def _drop(self) -> None:
        if self._session is not None:
            self._session[0].link.close()
        self._session = None

    async def close(self) -> None:
        """Close the socket."""
        self._drop()


async def _inform(
    session: SnmpSession,
    originator: Originator,
    notifications: Sequence[tuple[int, tuple[bytes, ...]]],
    answered: Callable[[int, int], None],
) -> None:
    """Send each until it is answered; `answered` is given its number and the response's error-status."""

    def encoder(varbinds: tuple[bytes, ...]) -> Callable[[int, float], bytes]:
        return lambda request_id, now: originator.encode_inform(request_id, varbinds, now)

    await session.run(
        [encoder(varbinds) for _, varbinds in notifications],
        lambda position, response: answered(notifications[position][0], response.error_status),
    )
