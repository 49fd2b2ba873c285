"""One UDP socket of the responder: datagrams in, datagrams out.

A socket that listens on every address of the host answers from the address that was asked: managers drop what comes
from another. Read by hand and not through a transport: several datagrams a wake-up and no 256 KiB buffer for each
halve the CPU a request costs. Must not look into a datagram.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
import time
from typing import TYPE_CHECKING

from hsm_agent.log import SparingLog

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_LARGEST_DATAGRAM = 65535
_DATAGRAMS_A_WAKE_UP = 16
_SECONDS_A_WAKE_UP = 0.005  # whichever is reached first; then others get their turn
_IP_PKTINFO = 8  # ip(7); the socket module has no name for it before 3.14
_ANCILLARY_OCTETS = 128
_SO_MEMINFO = 55  # asm-generic/socket.h, as the next two in linux/sock_diag.h
_MEMINFO = struct.Struct("9I")
_MEMINFO_DROPS = 8
_ANY = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to


_Sender = tuple[str, int] | tuple[str, int, int, int]
_Ancillary = list[tuple[int, int, bytes]]


class Listener:
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
            except OSError as error:  # the kernel tells of an earlier answer that found nobody
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
