"""Accepts TCP and TLS connections, and keeps their number and their patience bounded.

At most `limit` connections at a time. When there are more, one that is without a request is cut: of the address that
has most of them, the one that has been so for longest. Whoever opens connections and says nothing keeps nobody else
out. It knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from hsm_agent.serve.http.turns import place_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

BACKLOG = 128
HANDSHAKE_SECONDS = 5.0
PAUSE_AFTER_ERROR_SECONDS = 1.0


class Guest(Protocol):
    """The protocol of one connection, as far as its host needs to know it."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered at this moment."""

    @property
    def gone(self) -> asyncio.Event:
        """Set when the connection is lost."""

    def as_protocol(self) -> asyncio.Protocol:
        """Itself, for the event loop."""


class Connections:
    """A listening socket and the connections it brought: a task each, all of them cancelled with `serve`."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        guest: Callable[[], Guest],
        context: Callable[[], Awaitable[ssl.SSLContext | None]],
        limit: int,
    ) -> None:
        """`context` is asked for each connection, so that a new certificate counts from the next one on."""
        self._listener = listener
        self._guest = guest
        self._context = context
        self._limit = limit
        self._guests: dict[asyncio.Task[None], Guest] = {}
        self._places: dict[asyncio.Task[None], str] = {}

    async def serve(self) -> None:
        """Accept until cancelled; then cut what is left. What befalls one connection ends no other."""
        try:
            while True:
                connection, place = await self._accept()
                await self._make_room(place)
                guest = self._guest()
                task = asyncio.create_task(self._attend(connection, guest))
                self._guests[task] = guest
                self._places[task] = place
                task.add_done_callback(self._leave)
                await asyncio.sleep(0)  # let it begin: a task cancelled before that would leave its socket open
        finally:
            for task in self._guests:
                task.cancel()
            if self._guests:
                await asyncio.wait(self._guests)

    async def _accept(self) -> tuple[socket.socket, str]:
        loop = asyncio.get_running_loop()
        complained = False
        while True:
            try:
                connection, peer = await loop.sock_accept(self._listener)
            except ConnectionError:  # gone before it was accepted
                continue
            except OSError as error:  # out of descriptors, as a rule
                if not complained:
                    log.warning("http: cannot accept connections: %s", error.strerror)
                complained = True
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)
            else:
                return connection, place_of(peer[0])

    async def _make_room(self, place: str) -> None:
        """For one more from there."""
        while len(self._guests) >= self._limit:
            counts = Counter((*self._places.values(), place))
            waiting = [task for task, guest in self._guests.items() if not guest.busy]
            if waiting:
                max(waiting, key=lambda task: counts[self._places[task]]).cancel()  # the first of the greatest
            await asyncio.wait(self._guests, return_when=asyncio.FIRST_COMPLETED)

    async def _attend(self, connection: socket.socket, guest: Guest) -> None:
        loop = asyncio.get_running_loop()
        try:
            context = await self._context()
        except BaseException:
            connection.close()
            raise
        patience = None if context is None else HANDSHAKE_SECONDS
        try:
            transport, _ = await loop.connect_accepted_socket(
                guest.as_protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=patience,
                ssl_shutdown_timeout=patience,
            )
        except OSError as error:  # ssl.SSLError is one
            log.debug("http: no connection: %s", error)
            return
        try:
            await guest.gone.wait()
        finally:
            # Python 3.11: a TLS transport that was closed twice can't abort; its shutdown has a deadline of its own.
            with suppress(AttributeError):
                transport.abort()

    def _leave(self, task: asyncio.Task[None]) -> None:
        del self._guests[task], self._places[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("http: a connection ended with a bug", exc_info=error)


async def listen(host: str, port: int) -> socket.socket:
    """A listening socket on a numeric address. Raises OSError."""
    # Numbers only: no resolver is asked.
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a task of one's own and wait until it is over; its errors are its done callback's business."""
    task.cancel()
    await asyncio.wait((task,))
