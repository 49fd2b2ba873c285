"""Syslog over UDP (RFC 5426), one message a datagram: best effort."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, cast

from hsm_agent.deliver.base import Refused, Retry
from hsm_agent.deliver.syslog.message import MESSAGES_A_TURN, Stamp
from hsm_agent.model import Guarantee
from hsm_agent.net.address import Address, Endpoint, describe, endpoints, let_routers_fragment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.model import Event

_WINDOW = 32
_GRACE_SECONDS = 0.02
"""How long a refusal (ICMP port unreachable) is waited for: it takes a round trip, and most networks eat it."""
_LOOK_UP_EVERY_SECONDS = 60.0
"""A receiver that moved to another address would never be noticed otherwise."""


class _Socket(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.error: OSError | None = None
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def error_received(self, exc: Exception) -> None:
        self.error = exc if isinstance(exc, OSError) else OSError(str(exc))


class DatagramSink:
    """Sends each event in one datagram."""

    guarantee = Guarantee.BEST_EFFORT
    window = _WINDOW
    kind = "syslog udp"

    def __init__(self, *, name: str, address: Address, bind: str | None, timeout: float, stamp: Stamp) -> None:
        self.name = name
        self._address = address
        self._bind = bind
        self._timeout = timeout
        self._stamp = stamp
        self._open: _Socket | None = None
        self._opened_at = 0.0
        self._refusals = 0

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """Send all, then listen for a refusal: without one, all count as accepted."""
        try:
            async with asyncio.timeout(self._timeout):
                datagrams = await self._ready()
                too_long = await self._send(datagrams, events)
                await asyncio.sleep(_GRACE_SECONDS)
            if datagrams.error is not None:
                raise datagrams.error
        except OSError as error:
            self._refusals += 1
            self._drop()
            why = "no address in time" if isinstance(error, TimeoutError) else describe(error)
            raise Retry(f"{self._address}: {why}") from error
        for event in events:
            if event is too_long:
                raise Refused(event.event_id, f"{self._address}: too long for a datagram on this path")
            accepted(event)

    async def _send(self, datagrams: _Socket, events: Sequence[Event]) -> Event | None:
        """Send up to the first event that is too long, which is returned."""
        assert datagrams.transport is not None
        for position, event in enumerate(events):
            if position % MESSAGES_A_TURN == 0:
                await asyncio.sleep(0)
            datagrams.transport.sendto(self._stamp.message(event))
            # Errors of the call itself are reported before it returns.
            if datagrams.error is not None and datagrams.error.errno == errno.EMSGSIZE:
                datagrams.error = None
                return event
        return None

    async def _ready(self) -> _Socket:
        loop = asyncio.get_running_loop()
        young = loop.time() - self._opened_at < _LOOK_UP_EVERY_SECONDS
        if self._open is not None and self._open.error is None and young:
            return self._open
        self._drop()
        found = await endpoints(self._address, kind=socket.SOCK_DGRAM, bind=self._bind)
        self._open = await _opened(found[self._refusals % len(found)])
        self._opened_at = loop.time()
        return self._open

    def _drop(self) -> None:
        if self._open is not None and self._open.transport is not None:
            self._open.transport.close()
        self._open = None

    async def close(self) -> None:
        """Close the socket. Nobody is told: UDP has no goodbye."""
        self._drop()


async def _opened(endpoint: Endpoint) -> _Socket:
    plain = socket.socket(endpoint.family, socket.SOCK_DGRAM)
    try:
        plain.setblocking(False)
        let_routers_fragment(plain)
        if endpoint.local is not None:
            plain.bind(endpoint.local)
        plain.connect(endpoint.remote)  # sends nothing; without it refusals are not reported
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(_Socket, sock=plain)
    except BaseException:
        plain.close()
        raise
    return protocol
