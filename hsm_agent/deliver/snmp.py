"""The `kind: snmp` sinks and their settings.

Traps are sent once each (best effort), informs until they are acknowledged (at least once).
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from hsm_agent.deliver.base import DatagramSink, OrderedBatch, Refused, Retry, SinkSettings, Withheld, always
from hsm_agent.model import Guarantee
from hsm_agent.net.snmp_session import NoAnswerError, OtherAddresses, SessionError, SnmpSession
from hsm_agent.net.udp import LinkError, UdpLink, open_link
from hsm_agent.settings.snmp import MAX_RETRIES, SnmpPeerSettings, trap_receiver_line
from hsm_agent.settings.types import Deadline
from hsm_agent.wire.snmp.client_engine import Originator, TooBigError
from hsm_agent.wire.snmp.mib import encode_event, encode_notification
from hsm_agent.wire.snmp.pdu import ErrorStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hsm_agent.deliver.base import MaySend, SinkContext
    from hsm_agent.model import Event
    from hsm_agent.net.address import Address
    from hsm_agent.settings.snmp import AnswersFrom
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.usm import User

_INFORM_WINDOW = 16
_MAX_REMEMBERED = 16 * _INFORM_WINDOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A receiver as it is configured."""

    address: Address
    bind: str | None
    timeout_seconds: float
    retries: int
    context: SinkContext
    community: bytes | None = field(default=None, repr=False)
    user: User | None = None
    answers_from: AnswersFrom = "same"

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
        return await open_link(
            self.address, bind=self.bind, turn=turn, timeout_seconds=self.timeout_seconds, strays=strays
        )


class TrapSink(DatagramSink):
    """Sends SNMPv2-Trap PDUs, each once."""

    kind = "snmp trap"

    def __init__(self, *, name: str, peer: Peer) -> None:
        super().__init__(name=name, address=peer.address)
        self._peer = peer
        self._originator: Originator = peer.originator()

    def _datagram(self, event: Event) -> bytes:
        try:
            varbinds = self._peer.varbinds(event)
            return self._originator.encode_trap(varbinds, asyncio.get_running_loop().time())
        except ValueError as error:  # TooBigError is a ValueError
            why = f"{self._address}: no notification can carry it: {error}"
            raise Refused(event.event_id, why, certain=True) from error

    async def _open(self, turn: int) -> UdpLink:
        return await self._peer.open(turn)

    async def notify(self, oid: Oid, varbinds: Sequence[bytes] = ()) -> None:
        """Send a notification that is not spooled, such as coldStart. Raises Retry; it need not be repeated.

        On a link of its own: `deliver` may be opening, using or dropping the other one at this moment.
        """
        link = None
        try:
            link = await self._open(self._refusals)
            now = asyncio.get_running_loop().time()
            listed = encode_notification(oid, varbinds, up_seconds=self._peer.up_seconds(now))
            link.send(self._originator.encode_trap(listed, now))
        except (LinkError, TooBigError) as error:
            raise Retry(f"{self._address}: {error}") from error
        finally:
            if link is not None:
                link.close()


def _name(error_status: int) -> str:
    if error_status in set(ErrorStatus):
        return f"{ErrorStatus(error_status).name.lower().replace('_', ' ')} ({error_status})"
    return str(error_status)


class _Right:
    """Whether the events of one batch may be sent, looked at before each time that one is."""

    def __init__(self, events: Sequence[Event], may_send: MaySend) -> None:
        self.is_over = False
        self.was_used = False
        """One that may not be sent any more had been sent."""
        self._events = events
        self._may_send = may_send
        self._sent: set[int] = set()

    def look(self, number: int) -> bool:
        """Whether the event of this number may be sent, or sent again."""
        if self._may_send(self._events[number]):
            self._sent.add(number)
            return True
        self.is_over = True
        self.was_used |= number in self._sent
        return False


class InformSink:
    """Sends InformRequests, up to a window of them at once; remembers the receiver's engine between calls."""

    guarantee = Guarantee.AT_LEAST_ONCE
    window = _INFORM_WINDOW
    kind = "snmp inform"

    def __init__(self, *, name: str, peer: Peer) -> None:
        self.name = name
        self._peer = peer
        self._session: tuple[SnmpSession, Originator] | None = None
        are_trusted = peer.user is not None or peer.answers_from == "any"
        self._others = OtherAddresses(str(peer.address), are_trusted=are_trusted)
        self._failures = 0
        self._acknowledged: set[str] = set()

    async def deliver(
        self, events: Sequence[Event], accepted: Callable[[Event], None], may_send: MaySend = always
    ) -> None:
        """Send in a window; an event is accepted when the receiver's Response says noError."""
        batch = OrderedBatch(events, accepted, self._acknowledged)
        notifications = self._notifications(batch)
        right = _Right([event for _, event, _ in notifications], may_send)
        batch.report()
        try:
            if notifications:
                if self._session is None:
                    self._session = await self._opened()
                await _inform(
                    *self._session,
                    [varbinds for _, _, varbinds in notifications],
                    lambda number, status: batch.answered(
                        notifications[number][0], self._verdict(notifications[number][1], status)
                    ),
                    right.look,
                )
        except (LinkError, SessionError) as error:
            self._fail(batch)
            if batch.refused is not None:
                raise batch.refused from error
            # Perhaps nothing so long gets through: the pump finds out whether others do.
            unanswered = isinstance(error, NoAnswerError) and error.is_ready
            raise Retry(f"{self._peer.address}: {error}", sent=unanswered) from error
        if batch.refused is not None:
            self._fail(batch)  # the next try goes to another of its addresses
            raise batch.refused
        if right.is_over:
            # Whatever was answered counts, also behind a gap: nobody asks here for the rest.
            for event in batch.behind():
                accepted(event)
            raise Withheld(sent=right.was_used)
        self._remember(batch)

    def _notifications(self, batch: OrderedBatch) -> list[tuple[int, Event, tuple[bytes, ...]]]:
        """What is still to be sent, with its position; up to the first event that no notification can carry."""
        found = []
        for position, event in batch.unanswered():
            try:
                found.append((position, event, self._peer.varbinds(event)))
            except ValueError as error:
                why = f"{self._peer.address}: no notification can carry it: {error}"
                batch.answered(position, Refused(event.event_id, why, certain=True))
                break
        return found

    def _verdict(self, event: Event, error_status: int) -> Refused | None:
        """What a response says of an event; None if it was accepted."""
        if error_status == ErrorStatus.NO_ERROR:
            return None
        if error_status == ErrorStatus.TOO_BIG:
            return Refused(event.event_id, f"{self._peer.address}: too big for the receiver or for a datagram")
        why = f"{self._peer.address}: it answered with error-status {_name(error_status)}"
        return Refused(event.event_id, why)

    def _remember(self, batch: OrderedBatch) -> None:
        self._acknowledged -= batch.reported
        self._acknowledged |= batch.acknowledged
        if len(self._acknowledged) > _MAX_REMEMBERED:  # some left the spool another way, and won't be asked for again
            self._acknowledged = batch.acknowledged

    def _fail(self, batch: OrderedBatch) -> None:
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
            await _inform(
                session, originator, [listed], lambda _, error_status: answers.append(error_status), lambda _: True
            )
        except (LinkError, SessionError) as error:
            raise Retry(f"{receiver}: {error}") from error
        finally:
            if session is not None:
                session.link.close()
        if answers != [ErrorStatus.NO_ERROR]:
            raise Retry(f"{receiver}: it answered with error-status {_name(answers[0])}")

    async def _opened(self) -> tuple[SnmpSession, Originator]:
        peer = self._peer
        link = await peer.open(self._failures, strays=True)
        originator = peer.originator()
        session = SnmpSession(
            link,
            originator,
            window=_INFORM_WINDOW,
            try_seconds=peer.timeout_seconds,
            tries=peer.retries + 1,
            others=self._others,
        )
        return session, originator

    def _drop(self) -> None:
        if self._session is not None:
            self._session[0].link.close()
        self._session = None

    async def close(self) -> None:
        self._drop()


async def _inform(
    session: SnmpSession,
    originator: Originator,
    notifications: Sequence[tuple[bytes, ...]],
    answered: Callable[[int, int], None],
    may_send: Callable[[int], bool],
) -> None:
    """Send each until it is answered; `answered` is given its number and the response's error-status."""

    def encoder(varbinds: tuple[bytes, ...]) -> Callable[[int, float], bytes]:
        return lambda request_id, now: originator.encode_inform(request_id, varbinds, now)

    await session.run(
        [encoder(varbinds) for varbinds in notifications],
        lambda number, response: answered(number, response.error_status),
        may_send=may_send,
    )


SnmpSink = InformSink | TrapSink
"""Both can `notify` beside what every sink can."""


class SnmpSinkSettings(SnmpPeerSettings, SinkSettings):
    """A receiver of notifications and what it is sent."""

    schemes = ("udp", "udp6")

    kind: Literal["snmp"]
    type: Literal["trap", "inform"] | None = None
    """None: inform for v3, trap for v2c."""
    timeout: Annotated[Deadline, Field(le=60)] = 2.0
    """Seconds an answer is waited for before the inform is sent again."""
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] = 3

    @property
    def transport(self) -> str:
        return f"snmp {self.notification_type}"

    @property
    def notification_type(self) -> Literal["trap", "inform"]:
        """What is sent."""
        return self.type or ("inform" if self.version == "v3" else "trap")

    @property
    def guarantee(self) -> Guarantee:
        """An inform is acknowledged, a trap is not."""
        return Guarantee.AT_LEAST_ONCE if self.notification_type == "inform" else Guarantee.BEST_EFFORT

    @property
    def answer_seconds(self) -> float:
        """To open the link, to discover the engine, and for the answer to one inform."""
        return self.timeout * (1 + 2 * (self.retries + 1))

    def build(self, context: SinkContext) -> SnmpSink:
        """The sink. Derives a user's keys, which takes a few milliseconds."""
        peer = Peer(
            address=self.address,
            bind=self.bind,
            timeout_seconds=self.timeout,
            retries=self.retries,
            context=context,
            community=self.community.reveal().encode() if self.community else None,
            user=self.user.user() if self.user else None,
            answers_from=self.answers_from,
        )
        if self.notification_type == "inform":
            return InformSink(name=self.name, peer=peer)
        return TrapSink(name=self.name, peer=peer)

    def about(self, engine_id: bytes | None) -> Iterator[str]:
        """With the line that the receiver's snmptrapd.conf needs for the user; the secrets are left to fill in."""
        yield from super().about(engine_id)
        if self.user is None:
            return
        # A trap is sent as the agent's engine, an inform as the receiver's own (RFC 3414 section 1.5.1).
        is_trap = self.notification_type == "trap"
        if is_trap and engine_id is None:
            yield "snmptrapd.conf: the line for snmptrapd is known once there is an engine ID"
        else:
            yield f"snmptrapd.conf: {trap_receiver_line(engine_id if is_trap else None, self.user)}"

    def speaks_v3(self) -> bool:
        return self.user is not None
