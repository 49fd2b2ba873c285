"""A connected UDP socket to one peer, a receiver of notifications or an appliance; knows no SNMP."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, cast

from hsm_agent.address import describe, endpoints, let_routers_fragment

if TYPE_CHECKING:
    from hsm_agent.address import Address, Endpoint

_MAX_UNREAD = 256
"""Datagrams kept until they are read: a few windows of answers. A flood pushes out the oldest."""


class LinkError(Exception):
    """The network refused to carry something, or the receiver's host to take it. `errno` says what; 0 if unknown."""

    def __init__(self, reason: str, errno: int = 0) -> None:
        super().__init__(reason)
        self.errno = errno


class Link(asyncio.DatagramProtocol):
    """An open socket. Only what comes from the receiver's own address and port arrives here."""

    def __init__(self) -> None:
        self._unread: deque[bytes] = deque(maxlen=_MAX_UNREAD)
        self._changed = asyncio.Event()
        self._error: OSError | None = None
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's signature; connected
        """Called by asyncio."""
        self._unread.append(data)
        self._changed.set()

    def error_received(self, exc: Exception) -> None:
        """Called by asyncio: an ICMP refusal, or an error of `sendto` itself."""
        self._error = exc if isinstance(exc, OSError) else OSError(str(exc))
        self._changed.set()

    def send(self, datagram: bytes) -> None:
        """Hand one over; raises what is known to be wrong by now."""
        assert self._transport is not None
        self._transport.sendto(datagram)
        self.check()

    def check(self) -> None:
        """Raise LinkError, once, if something was refused since the last time."""
        error, self._error = self._error, None
        if error is not None:
            raise LinkError(describe(error), error.errno or 0) from error

    async def receive(self) -> bytes:
        """The next datagram; the caller has the deadline. Raises LinkError."""
        while not self._unread:
            self.check()
            self._changed.clear()
            await self._changed.wait()
        return self._unread.popleft()

    def close(self) -> None:
        """UDP has no goodbye."""
        if self._transport is not None:
            self._transport.abort()


async def open_link(address: Address, *, bind: str | None, turn: int, timeout: float) -> Link:  # noqa: ASYNC109 - becomes part of the message
    """A socket to one of the receiver's addresses: another one each turn. Raises LinkError."""
    try:
        async with asyncio.timeout(timeout):
            found = await endpoints(address, kind=socket.SOCK_DGRAM, bind=bind)
            if address.scheme == "udp6":
                found = [endpoint for endpoint in found if endpoint.family == socket.AF_INET6]
            if not found:
                raise LinkError(f"{address.host} has no IPv6 address")
            return await _opened(found[turn % len(found)])
    except TimeoutError as error:
        raise LinkError(f"no address for {address.host} within {timeout:g} s") from error
    except OSError as error:
        raise LinkError(describe(error), error.errno or 0) from error


async def _opened(endpoint: Endpoint) -> Link:
    plain = socket.socket(endpoint.family, socket.SOCK_DGRAM)
    try:
        plain.setblocking(False)
        let_routers_fragment(plain)
        if endpoint.local is not None:
            plain.bind(endpoint.local)
        plain.connect(endpoint.remote)  # sends nothing; without it neither refusals nor strangers are told apart
        _, link = await asyncio.get_running_loop().create_datagram_endpoint(Link, sock=plain)
    except BaseException:
        plain.close()
        raise
    return link
