"""One UDP socket of the responder: datagrams in, datagrams out.

Read by hand and not through a transport: several datagrams a wake-up and no 256 KiB buffer for each halve the CPU
a request costs. Must not look into a datagram.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_LARGEST_DATAGRAM = 65535
_DATAGRAMS_A_WAKE_UP = 16  # at most about a millisecond each; then others get their turn
_COMPLAIN_SECONDS = 60.0


class Listener:
    """A bound socket that hands each datagram to `handle` with its sender's address, and sends back what it returns."""

    def __init__(self, host: str, port: int, handle: Callable[[bytes, str], bytes | None]) -> None:
        """Bind. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)
            self._socket.bind(found[0][4])
        except OSError:
            self._socket.close()
            raise
        self._handle = handle
        self._complained_at = -_COMPLAIN_SECONDS

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, with the port the kernel chose where 0 was asked for."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def start(self) -> None:
        """Answer from now on."""
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """Answer no more."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        for _ in range(_DATAGRAMS_A_WAKE_UP):
            try:
                datagram, sender = self._socket.recvfrom(_LARGEST_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:  # the kernel tells of an earlier answer that found nobody
                self._complain("receive", "", error)
                return
            answer = self._handle(datagram, sender[0])
            if answer is not None:
                try:
                    self._socket.sendto(answer, sender)
                except OSError as error:
                    self._complain("answer", f" {sender[0]}", error)

    def _complain(self, doing: str, whom: str, error: OSError) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_SECONDS:
            self._complained_at = now
            log.warning("snmp: cannot %s%s: %s", doing, whom, error.strerror)
