"""A connected UDP socket to one peer, a receiver of notifications or an appliance; knows no SNMP."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, cast

from hsm_agent.net.address import describe, endpoints, let_routers_fragment

if TYPE_CHECKING:
    from hsm_agent.net.address import Address, Endpoint

_MAX_UNREAD = 256
"""Datagrams kept until they are read: a few windows of answers. A flood pushes out the oldest."""
_MAX_STRAYS = 64
"""The same for those from elsewhere, apart, so that strangers cannot push out what the peer says."""


class LinkError(Exception):
    """The network refused to carry something, or the receiver's host to take it. `errno` says what; 0 if unknown."""

    def __init__(self, reason: str, errno: int = 0) -> None:
        super().__init__(reason)
        self.errno = errno


class Link(asyncio.DatagramProtocol):
    """An open socket. What comes from the receiver's own address and port arrives here, and apart from it the rest."""

    def __init__(self) -> None:
        self._unread: deque[bytes] = deque(maxlen=_MAX_UNREAD)
        self._strays: deque[tuple[bytes, str]] = deque(maxlen=_MAX_STRAYS)
        self._ear: asyncio.DatagramTransport | None = None
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

    def stray(self, datagram: bytes, place: str) -> None:
        """A datagram came to the same port from somewhere else."""
        self._strays.append((datagram, place))
        self._changed.set()

    def listen(self, ear: asyncio.DatagramTransport) -> None:
        """`ear` is what strays come by; it is closed with this."""
        self._ear = ear

    async def receive_from(self) -> tuple[bytes, str]:
        """The next datagram, and where it comes from: empty for the peer itself. Raises LinkError.

        The caller has the deadline.
        """
        while not self._unread and not self._strays:
            self.check()
            self._changed.clear()
            await self._changed.wait()
        return (self._unread.popleft(), "") if self._unread else self._strays.popleft()

    def close(self) -> None:
        """UDP has no goodbye."""
        for transport in (self._transport, self._ear):
            if transport is not None:
                transport.abort()


class _Ear(asyncio.DatagramProtocol):
    """A second socket on a link's own port: the kernel gives it what is not from the peer."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Called by asyncio."""
        host = f"[{addr[0]}]" if ":" in addr[0] else addr[0]
        self._link.stray(data, f"{host}:{addr[1]}")


async def open_link(
    address: Address,
    *,
    bind: str | None,
    turn: int,
    timeout: float,  # noqa: ASYNC109 - becomes part of the message
    strays: bool = False,
) -> Link:
    """A socket to one of the receiver's addresses: another one each turn. Raises LinkError.

    With `strays` it also hears answers that come from another address.
    """
    try:
        async with asyncio.timeout(timeout):
            found = await endpoints(address, kind=socket.SOCK_DGRAM, bind=bind)
            if address.scheme == "udp6":
                found = [endpoint for endpoint in found if endpoint.family == socket.AF_INET6]
            if not found:
                raise LinkError(f"{address.host} has no IPv6 address")
            return await _opened(found[turn % len(found)], strays=strays)
    except TimeoutError as error:
        raise LinkError(f"no address for {address.host} within {timeout:g} s") from error
    except OSError as error:
        raise LinkError(describe(error), error.errno or 0) from error


async def _opened(endpoint: Endpoint, *, strays: bool) -> Link:
    loop = asyncio.get_running_loop()
    sockets = [socket.socket(endpoint.family, socket.SOCK_DGRAM)]
    try:
        plain = sockets[0]
        plain.setblocking(False)
        let_routers_fragment(plain)
        if endpoint.local is not None:
            plain.bind(endpoint.local)
        plain.connect(endpoint.remote)  # sends nothing; without it neither refusals nor strangers are told apart
        if strays:
            sockets.append(_ear_of(plain))
        _, link = await loop.create_datagram_endpoint(Link, sock=plain)
        for ear in sockets[1:]:
            link.listen((await loop.create_datagram_endpoint(lambda: _Ear(link), sock=ear))[0])
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return link


def _ear_of(connected: socket.socket) -> socket.socket:
    """A socket on the same address and port that is not connected: nobody else can share the port with the two."""
    ear = socket.socket(connected.family, socket.SOCK_DGRAM)
    try:
        ear.setblocking(False)
        for one in (connected, ear):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind(connected.getsockname())
        for one in (connected, ear):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except BaseException:
        ear.close()
        raise
    return ear
