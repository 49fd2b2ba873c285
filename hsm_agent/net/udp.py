"""UDP sockets: a link to one peer that is sent to, and a listener that answers datagrams. Knows no protocol.

A listener on every address of the host answers from the address that was asked: managers drop what comes from
another. It is read by hand and not through a transport: several datagrams a wake-up and no 256 KiB buffer for each
halve the CPU a request costs.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, cast

from hsm_agent.log import SparingLog
from hsm_agent.net.address import describe, endpoints, let_routers_fragment

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsm_agent.net.address import Address, Endpoint

log = logging.getLogger(__name__)

_MAX_UNREAD = 256
"""Datagrams kept until they are read: a few windows of answers. A flood pushes out the oldest."""
_MAX_STRAYS = 64
"""The same for those from other addresses: kept apart, so that they cannot push out what the peer sends."""
_LARGEST_DATAGRAM = 65535
_DATAGRAMS_A_WAKE_UP = 16
_SECONDS_A_WAKE_UP = 0.005  # whichever is reached first; then others get their turn
_IP_PKTINFO = 8  # ip(7); the socket module has no name for it before 3.14
_ANCILLARY_OCTETS = 128
_SO_MEMINFO = 55  # asm-generic/socket.h, as the next two in linux/sock_diag.h
_MEMINFO = struct.Struct("9I")
_MEMINFO_DROPS = 8
_ANY = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to


class LinkError(Exception):
    """The network refused to carry something, or the receiver's host to take it. `errno` says what; 0 if unknown."""

    def __init__(self, reason: str, errno: int = 0) -> None:
        super().__init__(reason)
        self.errno = errno


class UdpLink(asyncio.DatagramProtocol):
    """A connected socket to one peer; what comes to its port from other addresses is kept apart."""

    def __init__(self) -> None:
        self._unread: deque[bytes] = deque(maxlen=_MAX_UNREAD)
        self._strays: deque[tuple[bytes, str]] = deque(maxlen=_MAX_STRAYS)
        self._stray_transport: asyncio.DatagramTransport | None = None
        self._changed = asyncio.Event()
        self._error: OSError | None = None
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's signature; connected
        self._unread.append(data)
        self._changed.set()

    def error_received(self, exc: Exception) -> None:
        # An ICMP refusal of an earlier datagram, or an error of `sendto` itself. asyncio calls back for both: they are
        # kept for the next call of ours, which is the first that can report them.
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

    def stray(self, datagram: bytes, address: str) -> None:
        """A datagram came to the same port from somewhere else."""
        self._strays.append((datagram, address))
        self._changed.set()

    def listen(self, transport: asyncio.DatagramTransport) -> None:
        """`transport` is what strays come by; it is closed with this one."""
        self._stray_transport = transport

    async def receive_from(self) -> tuple[bytes, str]:
        """The next datagram, and its address: empty for the peer itself. Raises LinkError.

        The caller has the deadline.
        """
        while not self._unread and not self._strays:
            self.check()
            self._changed.clear()
            await self._changed.wait()
        return (self._unread.popleft(), "") if self._unread else self._strays.popleft()

    def close(self) -> None:
        for transport in (self._transport, self._stray_transport):
            if transport is not None:
                transport.abort()


class _StrayReceiver(asyncio.DatagramProtocol):
    """A second, unconnected socket on a link's own port: the kernel gives it what is not from the peer."""

    def __init__(self, link: UdpLink) -> None:
        self._link = link

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        host = f"[{addr[0]}]" if ":" in addr[0] else addr[0]
        self._link.stray(data, f"{host}:{addr[1]}")


async def open_link(
    address: Address,
    *,
    bind: str | None,
    turn: int,
    timeout_seconds: float,
    strays: bool = False,
) -> UdpLink:
    """A socket to one of the receiver's addresses: another one each turn. Raises LinkError.

    With `strays` it also receives answers that come from another address.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await endpoints(address, kind=socket.SOCK_DGRAM, bind=bind)
            if address.scheme == "udp6":
                found = [endpoint for endpoint in found if endpoint.family == socket.AF_INET6]
            if not found:
                raise LinkError(f"{address.host} has no IPv6 address")
            return await _opened(found[turn % len(found)], strays=strays)
    except TimeoutError as error:
        raise LinkError(f"no address for {address.host} within {timeout_seconds:g} s") from error
    except OSError as error:
        raise LinkError(describe(error), error.errno or 0) from error


async def _opened(endpoint: Endpoint, *, strays: bool) -> UdpLink:
    loop = asyncio.get_running_loop()
    link = UdpLink()
    sockets = [socket.socket(endpoint.family, socket.SOCK_DGRAM)]
    try:
        plain = sockets[0]
        plain.setblocking(False)
        let_routers_fragment(plain)
        if endpoint.local is not None:
            plain.bind(endpoint.local)
        plain.connect(endpoint.remote)  # sends nothing; gives us ICMP errors, and only the peer's datagrams
        if strays:
            sockets.append(_unconnected_twin(plain))
        await loop.create_datagram_endpoint(lambda: link, sock=plain)
        for twin in sockets[1:]:
            link.listen((await loop.create_datagram_endpoint(lambda: _StrayReceiver(link), sock=twin))[0])
    except BaseException:
        link.close()  # before its socket is, which a transport still reads
        for one in sockets:
            one.close()
        raise
    return link


def _unconnected_twin(connected: socket.socket) -> socket.socket:
    """A socket on the same address and port that is not connected: no other process can share the port with the two."""
    twin = socket.socket(connected.family, socket.SOCK_DGRAM)
    try:
        twin.setblocking(False)
        for one in (connected, twin):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        twin.bind(connected.getsockname())
        for one in (connected, twin):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except BaseException:
        twin.close()
        raise
    return twin


_Sender = tuple[str, int] | tuple[str, int, int, int]
_Ancillary = list[tuple[int, int, bytes]]


class UdpListener:
    """A bound socket that hands each datagram to `handle` with its sender's address, and sends back what it returns."""

    def __init__(self, host: str, port: int, handle: Callable[[bytes, str], bytes | None]) -> None:
        """Bind. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if host in _ANY and family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            elif host in _ANY:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            found = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)
            self._socket.bind(found[0][4])
        except OSError:
            self._socket.close()
            raise
        self._receive = self._receive_anywhere if host in _ANY else self._receive_here
        self._handle = handle
        self._at_hand: tuple[_Sender, _Ancillary] | None = None
        self._sparing_log = SparingLog(log)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, with the port the kernel chose where 0 was asked for."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def dropped(self) -> int:
        """Datagrams that the kernel dropped since the socket was bound, as its buffer was full."""
        try:
            found = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:  # a kernel before 4.12
            return 0
        return int(_MEMINFO.unpack(found)[_MEMINFO_DROPS]) if len(found) == _MEMINFO.size else 0

    def start(self) -> None:
        """Answer from now on."""
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """Answer no more."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _receive_here(self) -> tuple[bytes, _Sender, _Ancillary]:
        datagram, sender = self._socket.recvfrom(_LARGEST_DATAGRAM)
        return datagram, sender, []

    def _receive_anywhere(self) -> tuple[bytes, _Sender, _Ancillary]:
        datagram, ancillary, _flags, sender = self._socket.recvmsg(_LARGEST_DATAGRAM, _ANCILLARY_OCTETS)
        return datagram, sender, [_answer_from(*one) for one in ancillary]

    def _read(self) -> None:
        until = time.monotonic() + _SECONDS_A_WAKE_UP
        for _ in range(_DATAGRAMS_A_WAKE_UP):
            try:
                datagram, sender, asked_at = self._receive()
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error for an earlier answer
                self._sparing_log.warning("snmp: cannot receive: %s", error.strerror)
                return
            self._at_hand = sender, asked_at
            answer = self._handle(datagram, sender[0])
            if answer is not None:
                self._answer(answer, sender, asked_at)
            if time.monotonic() >= until:
                return

    def later(self) -> Callable[[bytes], None]:
        """For `handle`: what sends an answer to the datagram at hand when its time has come; not once it is closed."""
        assert self._at_hand is not None, "called while a datagram is handled"
        sender, asked_at = self._at_hand

        def send(answer: bytes) -> None:
            if self._socket.fileno() >= 0:
                self._answer(answer, sender, asked_at)

        return send

    def _answer(self, answer: bytes, sender: _Sender, asked_at: _Ancillary) -> None:
        try:
            self._send(answer, sender, asked_at)
        except OSError as error:
            self._sparing_log.warning("snmp: cannot answer %s: %s", sender[0], error.strerror)

    def _send(self, answer: bytes, sender: _Sender, asked_at: _Ancillary) -> None:
        if asked_at:
            self._socket.sendmsg([answer], asked_at, 0, sender)
        else:
            self._socket.sendto(answer, sender)


def _answer_from(level: int, kind: int, info: bytes) -> tuple[int, int, bytes]:
    """The same packet info for an answer: its source is where the datagram was sent to, its way out is routing's."""
    if level == socket.IPPROTO_IP:  # struct in_pktinfo: interface, our address, address in the header
        info = bytes(4) + info[4:8] + bytes(4)
    elif not ipaddress.IPv6Address(info[:16]).is_link_local:  # struct in6_pktinfo: address, interface
        info = info[:16] + bytes(4)
    return level, kind, info
