"""Syslog without acknowledgements, best effort: UDP (RFC 5426), TCP (RFC 6587, octet counting), TLS (RFC 5425).

Accepted means over TCP and TLS: the receiver's kernel has acknowledged the octets. What its program had not read yet
when it died is lost. Over UDP it means: sent, and no refusal came back at once.
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from typing import TYPE_CHECKING

from hsm_agent.deliver.base import Refused, Retry
from hsm_agent.deliver.syslog.message import MESSAGES_A_TURN, MessageBuilder
from hsm_agent.model import Guarantee
from hsm_agent.net.address import describe
from hsm_agent.net.udp import LinkError, UdpLink, open_link
from hsm_agent.wire.syslog.rfc5424 import octet_counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.model import Event
    from hsm_agent.net.address import Address
    from hsm_agent.net.streams import Connection, Route

_TCP_WINDOW = 64
_UDP_WINDOW = 32
_GRACE_SECONDS = 0.02
"""How long a refusal (ICMP port unreachable) is waited for: it takes a round trip, and many networks drop it."""
_LOOK_UP_EVERY_SECONDS = 60.0
"""A receiver that moved to another address would never be noticed otherwise."""


class TcpSink:
    """Sends events over one connection that is kept between calls."""

    guarantee = Guarantee.BEST_EFFORT
    window = _TCP_WINDOW

    def __init__(self, *, name: str, route: Route, builder: MessageBuilder) -> None:
        self.name = name
        self.kind = f"syslog {route.address.scheme}"
        self._route = route
        self._builder = builder
        self._connection: Connection | None = None
        self._confirmed = False

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """Send in order. A new connection takes one event first: if it ends then, that event was in flight alone."""
        connection = await self._ready()
        start = 0
        while start < len(events):
            part = events[start:] if self._confirmed else events[start : start + 1]
            await self._send(connection, part)
            self._confirmed = True
            start += len(part)
            for event in part:
                accepted(event)

    async def _send(self, connection: Connection, events: Sequence[Event]) -> None:
        whole = False
        try:
            async with asyncio.timeout(self._route.timeout):
                for start in range(0, len(events), MESSAGES_A_TURN):
                    turn = events[start : start + MESSAGES_A_TURN]
                    connection.write(b"".join(octet_counted(self._builder.message(event)) for event in turn))
                    await asyncio.sleep(0)
                await connection.acknowledged()
            whole = True
        except TimeoutError as error:
            raise Retry(f"{self._route.address}: nothing acknowledged within {self._route.timeout:g} s") from error
        except OSError as error:
            raise Retry(f"{self._route.address}: {describe(error)}", sent=True) from error
        finally:
            if not whole:
                self._drop()

    async def _ready(self) -> Connection:
        if self._connection is not None and not self._connection.broken:
            return self._connection
        self._drop()
        try:
            self._connection = await self._route.connect(keep=False)
        except OSError as error:
            raise Retry(f"{self._route.address}: {describe(error)}") from error
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort("given up")
        self._connection = None
        self._confirmed = False

    async def close(self) -> None:
        """Close the connection after what was written."""
        connection, self._connection = self._connection, None
        self._confirmed = False
        if connection is not None:
            await connection.close()


class UdpSink:
    """Sends each event in one datagram."""

    guarantee = Guarantee.BEST_EFFORT
    window = _UDP_WINDOW
    kind = "syslog udp"

    def __init__(
        self, *, name: str, address: Address, bind: str | None, timeout: float, builder: MessageBuilder
    ) -> None:
        self.name = name
        self._address = address
        self._bind = bind
        self._timeout = timeout
        self._builder = builder
        self._link: UdpLink | None = None
        self._opened_at = 0.0
        self._refusals = 0

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """Send all, then wait for a refusal: without one, all count as accepted."""
        try:
            link = await self._ready()
            too_long = await self._send(link, events)
            await asyncio.sleep(_GRACE_SECONDS)
            link.check()
        except LinkError as error:
            self._refusals += 1
            self._drop()
            raise Retry(f"{self._address}: {error}") from error
        for event in events:
            if event is too_long:
                raise Refused(event.event_id, f"{self._address}: too long for a datagram on this path")
            accepted(event)

    async def _send(self, link: UdpLink, events: Sequence[Event]) -> Event | None:
        """Send up to the first event that is too long, which is returned."""
        for position, event in enumerate(events):
            if position % MESSAGES_A_TURN == 0:
                await asyncio.sleep(0)
            try:
                link.send(self._builder.message(event))
            except LinkError as error:
                if error.errno == errno.EMSGSIZE:
                    return event
                raise
        return None

    async def _ready(self) -> UdpLink:
        now = asyncio.get_running_loop().time()
        if self._link is not None and now - self._opened_at < _LOOK_UP_EVERY_SECONDS:
            with suppress(LinkError):  # a late refusal of an earlier batch: a new socket shows whether it still holds
                self._link.check()
                return self._link
        self._drop()
        self._link = await open_link(self._address, bind=self._bind, turn=self._refusals, timeout=self._timeout)
        self._opened_at = now
        return self._link

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None

    async def close(self) -> None:
        """Close the socket."""
        self._drop()
