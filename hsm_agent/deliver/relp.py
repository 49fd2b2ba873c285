"""Syslog over RELP: at least once. Accepted means that the receiver acknowledged the message itself."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.deliver.base import MESSAGES_A_TURN, OrderedBatch, Refused, Retry, Withheld, always
from hsm_agent.model import Guarantee
from hsm_agent.net.address import describe
from hsm_agent.threads import deadline
from hsm_agent.wire.syslog.relp import Accepted, Opened, Rejected, RelpAnswer, RelpError, RelpSession, RelpState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from hsm_agent.deliver.base import MaySend
    from hsm_agent.model import Event
    from hsm_agent.net.address import Address
    from hsm_agent.net.streams import Connection, Route

_CLOSE_SECONDS = 0.9


@dataclass(slots=True, kw_only=True)
class _Link:
    """A session on its connection. `confirmed` once it has accepted a message."""

    connection: Connection
    session: RelpSession
    confirmed: bool = False


class _Batch(OrderedBatch):
    """With what is still to be sent, and the transactions on their way."""

    def __init__(
        self,
        events: Sequence[Event],
        accepted: Callable[[Event], None],
        acknowledged: Collection[str],
        may_send: MaySend = always,
    ) -> None:
        super().__init__(events, accepted, acknowledged)
        self.is_withheld = False
        self._may_send = may_send
        self._to_send = deque(self.unanswered())
        self._sent: dict[int, tuple[int, Event]] = {}

    def next(self) -> Event | None:
        """The next event to send; None if there is none, or one was refused or withheld and the rest must wait."""
        return self._to_send[0][1] if self._to_send and self.refused is None and not self.is_withheld else None

    def ahead(self, count: int) -> list[Event]:
        """So many of those that are sent next."""
        return [] if self.next() is None else [event for _, event in islice(self._to_send, count)]

    def may_go(self) -> bool:
        """Whether the next event may be sent now; else none of the rest is."""
        event = self.next()
        self.is_withheld = event is not None and not self._may_send(event)
        return event is not None and not self.is_withheld

    def sent(self, txnr: int) -> None:
        self._sent[txnr] = self._to_send.popleft()

    def note(self, answer: Accepted | Rejected, address: Address) -> None:
        position, event = self._sent.pop(answer.txnr)
        if isinstance(answer, Accepted):
            self.answered(position)
            return
        why = f"{address}: the receiver answered {answer.status} {answer.text}".rstrip()
        self.answered(position, Refused(event.event_id, why))


class RelpSink:
    """Sends events in a window over one RELP session that is kept between calls."""

    guarantee = Guarantee.AT_LEAST_ONCE

    def __init__(self, *, name: str, route: Route, message: Callable[[Event], bytes], window: int) -> None:
        self.name = name
        self.kind = f"syslog {route.address.scheme}"
        self.window = window
        self._route = route
        self._message = message
        self._link: _Link | None = None
        self._acknowledged: set[str] = set()
        """Ids of events accepted behind a refused one: they come with a later `deliver`, and must not be sent twice."""

    async def deliver(
        self, events: Sequence[Event], accepted: Callable[[Event], None], may_send: MaySend = always
    ) -> None:
        """Send in order, up to the window ahead of the answers; report each answer."""
        batch = _Batch(events, accepted, self._acknowledged, may_send)
        self._acknowledged -= {event.event_id for event in events}
        batch.report()
        if batch.next() is not None:
            link = await self._ready()
            await self._exchange(link, batch)
        if batch.refused is not None:
            self._acknowledged |= batch.acknowledged
            raise batch.refused
        if batch.is_withheld:
            raise Withheld

    async def _exchange(self, link: _Link, batch: _Batch) -> None:
        whole = False
        try:
            await self._fill(link, batch)
            while link.session.outstanding and link.session.state is RelpState.READY:
                self._note(link, batch, await self._answers(link))
                await self._fill(link, batch)
            whole = link.session.state is RelpState.READY
            self._check_end(link, batch)
        except TimeoutError as error:
            why = f"{self._route.address}: no answer within {self._route.timeout_seconds:g} s"
            raise Retry(why, sent=link.session.outstanding > 0) from error
        except (OSError, RelpError) as error:
            raise Retry(f"{self._route.address}: {describe(error)}", sent=link.session.outstanding > 0) from error
        finally:
            if not whole:
                self._drop()

    async def _answers(self, link: _Link) -> list[RelpAnswer]:
        """The next answers. Octets that complete no answer do not extend the receiver's time."""
        async with asyncio.timeout(self._route.timeout_seconds):
            answers: list[RelpAnswer] = []
            while not answers:
                answers = link.session.receive(await link.connection.read())
        return answers

    @staticmethod
    def _check_end(link: _Link, batch: _Batch) -> None:
        if link.session.state is not RelpState.READY and (link.session.outstanding or batch.next() is not None):
            link.session.receive(b"")  # raises what the receiver did wrong, if that was it
            raise RelpError("the receiver ended the session")

    async def _fill(self, link: _Link, batch: _Batch) -> None:
        """Send what the window takes; one event only, until the session has accepted one.

        So the event that ends session after session is known: it is alone on its way.
        """
        room = link.session.room if link.confirmed else min(link.session.room, 1 - link.session.outstanding)
        # Not while octets wait in this process: they would leave however much later.
        while room > 0 and batch.next() is not None and not (link.session.outstanding and link.connection.backed_up):
            if link.connection.broken:
                raise ConnectionError(link.connection.broken)
            turn = min(room, MESSAGES_A_TURN)
            messages = [self._message(event) for event in batch.ahead(turn)]
            link.connection.write(b"".join(self._frames(link, batch, messages)))
            room -= turn
            await asyncio.sleep(0)

    def _frames(self, link: _Link, batch: _Batch, messages: Sequence[bytes]) -> Iterator[bytes]:
        for message in messages:
            if not batch.may_go():
                return
            txnr, octets = link.session.syslog(message)
            batch.sent(txnr)
            yield octets

    def _note(self, link: _Link, batch: _Batch, answers: Sequence[RelpAnswer]) -> None:
        for answer in answers:
            if isinstance(answer, Accepted | Rejected):
                link.confirmed |= isinstance(answer, Accepted)
                batch.note(answer, self._route.address)

    async def _ready(self) -> _Link:
        link = self._link
        if link is not None and not link.connection.broken and not self._spent(link):
            return link
        if link is not None and link.session.exhausted:
            await self.close()
        self._drop()
        try:
            self._link = await self._opened()
        except TimeoutError as error:
            why = f"no answer to open within {self._route.timeout_seconds:g} s"
            raise Retry(f"{self._route.address}: {why}") from error
        except (OSError, RelpError) as error:
            raise Retry(f"{self._route.address}: {describe(error)}") from error
        return self._link

    def _spent(self, link: _Link) -> bool:
        return link.session.exhausted or link.session.state is not RelpState.READY or link.connection.unread

    async def _opened(self) -> _Link:
        """A session that the receiver has accepted.

        In TLS 1.3 a handshake alone does not mean that the receiver took the client's certificate.
        """
        connection = await self._route.connect(keep=True)
        session = RelpSession(window=self.window)
        ready = False
        try:
            connection.write(session.open())
            async with asyncio.timeout(self._route.timeout_seconds):
                while not ready:
                    ready = any(isinstance(answer, Opened) for answer in session.receive(await connection.read()))
                    if session.state is RelpState.CLOSED:
                        raise RelpError("the receiver ended the session at once")
        finally:
            if not ready:
                connection.abort("not opened")
        return _Link(connection=connection, session=session)

    def _drop(self) -> None:
        if self._link is not None:
            self._link.connection.abort("given up")
        self._link = None
        self._acknowledged = set()

    async def close(self) -> None:
        """End the session and the connection, each within a second."""
        link, self._link = self._link, None
        if link is None:
            return
        if link.session.state is RelpState.READY and not link.connection.broken:
            await self._close_session(link)
        await link.connection.close()

    async def _close_session(self, link: _Link) -> None:
        try:
            link.connection.write(link.session.close())
            async with deadline(_CLOSE_SECONDS):
                while link.session.state is not RelpState.CLOSED:
                    link.session.receive(await link.connection.read())
        except (OSError, RelpError):
            link.connection.abort("the session was not closed")
