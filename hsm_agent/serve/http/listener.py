"""Accepts TCP and TLS connections for the HTTP server, and bounds how many there are.

At most `limit` at a time. When there are more, one that has no request under way is cut: of the address that has most
of them, the oldest. A client that opens connections and sends nothing keeps no other client out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from hsm_agent.log import SparingLog
from hsm_agent.serve.http.connection import READ_BYTES
from hsm_agent.serve.http.fair_lock import network_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from hsm_agent.serve.http.connection import HttpConnection

log = logging.getLogger(__name__)

BACKLOG = 128
HANDSHAKE_SECONDS = 5.0
PAUSE_AFTER_ERROR_SECONDS = 1.0
LOOK_FOR_IDLE_SECONDS = 0.1


class HttpListener:
    """A listening socket and the connections that came in by it, a task each."""

    def __init__(
        self,
        bound: socket.socket,
        *,
        connection: Callable[[], HttpConnection],
        context: Callable[[], Awaitable[ssl.SSLContext | None]],
        limit: int,
    ) -> None:
        """`context` is asked for each connection, so that a new certificate is shown from the next one on."""
        self._bound = bound
        self._connection = connection
        self._context = context
        self._limit = limit
        self._connections: dict[asyncio.Task[None], tuple[HttpConnection, str]] = {}
        """Oldest first, each with the network it came from."""
        self._sparing_log = SparingLog(log)

    async def accept(self) -> None:
        """Accept until cancelled. What happens to one connection ends no other."""
        while True:
            accepted, peer = await self._accept_one()
            network = network_of(peer)
            try:
                await self._make_room(network)
            except asyncio.CancelledError:
                accepted.close()
                raise
            connection = self._connection()
            task = asyncio.create_task(self._attend(accepted, connection, peer))
            self._connections[task] = connection, network
            task.add_done_callback(self._forget)
            await asyncio.sleep(0)  # let it begin: a task cancelled before that would leave its socket open

    async def close(self, grace_seconds: float) -> None:
        """Cut what is idle, let answers under way end for so long, cut the rest. `accept` must have ended."""
        for task, (connection, _) in self._connections.items():
            connection.close_after_answer()
            if not connection.is_busy:
                task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=grace_seconds)
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _accept_one(self) -> tuple[socket.socket, str]:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(self._bound)
            except ConnectionError:  # gone before it was accepted
                continue
            except OSError as error:  # out of descriptors, as a rule
                self._sparing_log.warning("http: cannot accept connections: %s", error.strerror)
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)
            else:
                return accepted, peer[0]

    async def _make_room(self, network: str) -> None:
        """For one more from there."""
        while len(self._connections) >= self._limit:
            counts = Counter([network, *(from_where for _, from_where in self._connections.values())])
            idle = [task for task, (connection, _) in self._connections.items() if not connection.is_busy]
            if idle:
                # max() takes the first of several, hence the oldest.
                max(idle, key=lambda task: counts[self._connections[task][1]]).cancel()
            # With a timeout, as a busy one may become idle instead of ending.
            await asyncio.wait(self._connections, timeout=LOOK_FOR_IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    async def _attend(self, accepted: socket.socket, connection: HttpConnection, peer: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            context = await self._context()
        except BaseException:
            accepted.close()
            raise
        reader = asyncio.StreamReader(limit=READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        seconds = None if context is None else HANDSHAKE_SECONDS
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=context, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=seconds
            )
        except OSError as error:  # ssl.SSLError is one
            log.debug("http: no connection: %s", error)
            return
        try:
            await connection.serve(reader, asyncio.StreamWriter(transport, protocol, reader, loop), peer)
        except OSError as error:
            log.debug("http: a connection ended: %s", error)
        finally:
            # Python 3.11: a TLS transport that was closed twice can't abort; its shutdown has a deadline of its own.
            with suppress(AttributeError):
                transport.abort()

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("http: a connection ended with a bug", exc_info=error)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on a numeric address. Raises OSError."""
    # Numbers only: no resolver is asked.
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound
