"""A trap receiver that knows when each datagram arrived: the kernel stamps it, whenever it is read."""

from __future__ import annotations

import socket
import struct

_SO_TIMESTAMPNS = 35  # socket(7); the socket module has no name for it
_TIMESPEC = struct.Struct("ll")
_LARGEST = 65535
_BUFFER_OCTETS = 1 << 20


class TrapWire:
    """A UDP socket of 127.0.0.1 that is read after the fact."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.arrived: list[float] = []
        """When each datagram was put into the buffer, in seconds of the wall clock."""

    @property
    def address(self) -> str:
        """For a sink's `to:`."""
        return f"udp:127.0.0.1:{self._socket.getsockname()[1]}"

    def read(self) -> int:
        """Take everything that has arrived; returns how many datagrams there were in all."""
        while True:
            try:
                _, ancillary, _, _ = self._socket.recvmsg(_LARGEST, socket.CMSG_SPACE(_TIMESPEC.size))
            except BlockingIOError:
                return len(self.arrived)
            ((_, _, stamp),) = ancillary
            seconds, nanoseconds = _TIMESPEC.unpack(stamp)
            self.arrived.append(seconds + nanoseconds / 1e9)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
