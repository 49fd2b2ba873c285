"""Informs: each event is sent until the receiver acknowledges it. At least once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hsm_agent.deliver.base import Refused, Retry
from hsm_agent.deliver.snmp.exchange import WINDOW, Exchange, ExchangeError
from hsm_agent.model import Guarantee
from hsm_agent.net.udp_client import LinkError
from hsm_agent.wire.snmp.notification import encode_notification
from hsm_agent.wire.snmp.pdu import ErrorStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.deliver.snmp.peer import Peer
    from hsm_agent.model import Event
    from hsm_agent.wire.snmp.ber import Oid

_UNENCODABLE = -1
_MAX_REMEMBERED = 16 * WINDOW
_NO_ERROR = int(ErrorStatus.NO_ERROR)


class _Batch:
    """Answers come in any order, and are told in the order of the events."""

    def __init__(self, events: Sequence[Event], acknowledged: set[str], accepted: Callable[[Event], None]) -> None:
        self._events = events
        self._accepted = accepted
        self._verdicts = {place: _NO_ERROR for place, event in enumerate(events) if event.event_id in acknowledged}
        self._told = 0
        self._why_unencodable = ""

    def notifications(self, encode: Callable[[Event], tuple[bytes, ...]]) -> list[tuple[int, tuple[bytes, ...]]]:
        """What is still to be sent; up to the first event that no notification can carry."""
        found = []
        for place, event in enumerate(self._events):
            if place in self._verdicts:
                continue
            try:
                found.append((place, encode(event)))
            except ValueError as error:
                self._why_unencodable = str(error)
                self.answered(place, _UNENCODABLE)
                break
        return found

    def answered(self, place: int, error_status: int) -> None:
        """The receiver's answer to one."""
        self._verdicts[place] = error_status
        self.tell()

    def tell(self) -> None:
        """Tell what was accepted, as far as it is known without a gap."""
        while self._told < len(self._events) and self._verdicts.get(self._told) == _NO_ERROR:
            self._told += 1
            self._accepted(self._events[self._told - 1])

    @property
    def told(self) -> set[str]:
        """The events told as accepted."""
        return {event.event_id for event in self._events[: self._told]}

    @property
    def acknowledged(self) -> set[str]:
        """The events accepted behind a gap, which need not be sent again."""
        return {
            self._events[place].event_id
            for place, verdict in self._verdicts.items()
            if verdict == _NO_ERROR and place >= self._told
        }

    def check(self, receiver: str) -> None:
        """Raise what is to be said of the first event that was not accepted, if the receiver said anything."""
        if self._told == len(self._events) or self._told not in self._verdicts:
            return
        event, verdict = self._events[self._told], self._verdicts[self._told]
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
    window = WINDOW
    kind = "snmp inform"

    def __init__(self, *, name: str, peer: Peer) -> None:
        self.name = name
        self._peer = peer
        self._exchange: Exchange | None = None
        self._elsewhere = peer.elsewhere()
        self._failures = 0
        self._acknowledged: set[str] = set()

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """Send in a window; an event is accepted when the receiver's Response says noError."""
        receiver = str(self._peer.address)
        batch = _Batch(events, self._acknowledged, accepted)
        notifications = batch.notifications(self._peer.varbinds)
        batch.tell()
        try:
            if notifications:
                exchange = await self._ready()
                await exchange.run(notifications, batch.answered)
            self._remember(batch)
            batch.check(receiver)
        except (LinkError, ExchangeError) as error:
            self._fail(batch)
            batch.check(receiver)
            # Perhaps nothing so long gets through: the pump finds out whether others do.
            unanswered = isinstance(error, ExchangeError) and error.unanswered
            raise Retry(f"{receiver}: {error}", sent=unanswered) from error
        except Refused:
            self._fail(batch)  # the next try goes to another of its addresses
            raise

    def _remember(self, batch: _Batch) -> None:
        self._acknowledged -= batch.told
        self._acknowledged |= batch.acknowledged
        if len(self._acknowledged) > _MAX_REMEMBERED:  # some left the spool another way, and won't be asked for again
            self._acknowledged = batch.acknowledged

    def _fail(self, batch: _Batch) -> None:
        self._remember(batch)
        self._failures += 1
        self._drop()

    async def notify(self, oid: Oid, varbinds: Sequence[bytes] = ()) -> None:
        """Send a notification that is not spooled, such as coldStart, on a link of its own.

        Raises Retry; nobody need try again.
        """
        receiver = str(self._peer.address)
        up_seconds = self._peer.up_seconds(asyncio.get_running_loop().time())
        answers: list[int] = []
        exchange = None
        try:
            exchange = await self._opened()
            listed = encode_notification(oid, varbinds, up_seconds=up_seconds)
            await exchange.run([(0, listed)], lambda _, error_status: answers.append(error_status))
        except (LinkError, ExchangeError) as error:
            raise Retry(f"{receiver}: {error}") from error
        finally:
            if exchange is not None:
                exchange.link.close()
        if answers != [_NO_ERROR]:
            raise Retry(f"{receiver}: it answered with error-status {_name(answers[0])}")

    async def _ready(self) -> Exchange:
        if self._exchange is None:
            self._exchange = await self._opened()
        return self._exchange

    async def _opened(self) -> Exchange:
        peer = self._peer
        link = await peer.open(self._failures, strays=True)
        return Exchange(link, peer.originator(), timeout=peer.timeout, retries=peer.retries, elsewhere=self._elsewhere)

    def _drop(self) -> None:
        if self._exchange is not None:
            self._exchange.link.close()
        self._exchange = None

    async def close(self) -> None:
        """Close the socket. Nobody is told: UDP has no goodbye."""
        self._drop()
