"""Connections to receivers over TCP and TLS, with a deadline for everything. Knows no protocol above TLS.

A connection reads from its socket all the time: a receiver's close or alert is known before the next event is sent.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import socket
import ssl
import struct
import termios
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from hsm_agent.net.address import Address, Endpoint, describe, endpoints
from hsm_agent.threads import deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.net.tls import TlsSettings

_READ_LIMIT_BYTES = 64 * 1024
_SHUTDOWN_SECONDS = 1.0
_SETTLE_SECONDS, _MAX_SETTLE_SECONDS = 0.05, 1.0
_MIN_SHARE_SECONDS = 0.2
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.0005, 0.02
_BROKEN_OFF = "the receiver broke off the TLS handshake and did not say why"
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Connection(asyncio.Protocol):
    """One open connection. Everything raises OSError once it is broken."""

    def __init__(self, *, keep: bool, limit_bytes: int = _READ_LIMIT_BYTES, pauses: bool = False) -> None:
        """`keep`: received octets are kept for `read`, at most so many; otherwise they are discarded.

        `pauses`: no more is read from the socket while there are so many; else the connection ends.
        """
        self._keep = keep
        self._pauses = pauses
        self._limit_bytes = limit_bytes
        self._received = bytearray()
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._tcp_transport: asyncio.Transport | None = None
        """The one below TLS, or the same."""
        self._ended = asyncio.Event()
        self.broken = ""
        """Why nothing more can be sent; empty while it can."""
        self.at_end = False
        """The receiver closed it in order, after everything that was received."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._tcp_transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        if self.broken:  # it was given up meanwhile
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._keep:
            return
        self._received += data
        if len(self._received) > self._limit_bytes:
            if self._pauses and self._transport is not None:
                self._transport.pause_reading()
            else:
                self.abort("the receiver sends more than was asked for")
        self._changed.set()

    def eof_received(self) -> None:
        # No receiver of syslog half-closes a connection and goes on reading: this one is gone.
        self.at_end = not self.broken
        self._break("closed by the receiver")

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(describe(exc) if exc is not None else "closed by the receiver")
        self._ended.set()

    def _break(self, why: str) -> None:
        self.broken = self.broken or why
        self._changed.set()

    def write(self, data: bytes) -> None:
        """Hand over octets; `acknowledged` waits until they have arrived."""
        if self.broken or self._transport is None:
            raise ConnectionError(self.broken or "not connected")
        self._transport.write(data)

    @property
    def backed_up(self) -> bool:
        """Whether octets that were written wait in this process still: the kernel takes no more now."""
        layers = (self._transport, self._tcp_transport)
        return any(layer is not None and layer.get_write_buffer_size() > 0 for layer in layers)

    @property
    def unread(self) -> bool:
        """Whether received octets wait for `read`."""
        return bool(self._received)

    async def read(self) -> bytes:
        """The octets received since the last call; waits for at least one."""
        while not self._received:
            if self.broken:
                raise ConnectionError(self.broken)
            self._changed.clear()
            await self._changed.wait()
        data = bytes(self._received)
        self._received.clear()
        if self._pauses and self._transport is not None:
            self._transport.resume_reading()  # does nothing where it was not paused, or is closing
        return data

    async def handed_over(self) -> None:
        """Wait until the kernel has taken everything written."""
        pause_seconds = _FIRST_LOOK_SECONDS
        while self.backed_up:
            if self.broken:
                raise ConnectionError(self.broken)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LAST_LOOK_SECONDS)

    async def acknowledged(self) -> None:
        """Wait until the receiver's kernel has acknowledged everything written.

        Without that, events would be written to a vanished receiver for a quarter of an hour, until TCP gives up, and
        all of them would be lost.
        """
        pause_seconds = _FIRST_LOOK_SECONDS
        while True:
            if self.broken:
                raise ConnectionError(self.broken)
            if not self._unacknowledged():
                # What asyncio still held below TLS would have been written in these turns of the loop.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                if not self._unacknowledged() and not self.broken:
                    return
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LAST_LOOK_SECONDS)

    def _unacknowledged(self) -> int:
        if self._transport is None or self._transport.is_closing():
            return 0
        # The kernel's queue holds what is not acknowledged, and asyncio's buffer what the kernel did not take yet.
        queued = bytearray(4)
        fcntl.ioctl(self._socket().fileno(), termios.TIOCOUTQ, queued)  # SIOCOUTQ of tcp(7), same number
        return int(struct.unpack("i", queued)[0]) + self._transport.get_write_buffer_size()

    def _socket(self) -> socket.socket:
        assert self._transport is not None
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    def keep_alive(self) -> None:
        """Let the kernel detect a receiver that vanished while nothing was sent."""
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            self._socket().setsockopt(socket.IPPROTO_TCP, option, value)

    def certificate(self) -> bytes | None:
        """The receiver's certificate (DER); None without TLS."""
        found = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return found.getpeercert(binary_form=True) if isinstance(found, ssl.SSLObject) else None

    def certificate_valid_until(self) -> float:
        """UTC seconds; infinite without TLS, and where the certificate was not verified."""
        found = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        fields = found.getpeercert() if isinstance(found, ssl.SSLObject) else None
        ends = fields.get("notAfter") if fields else None
        return float(ssl.cert_time_to_seconds(ends)) if isinstance(ends, str) else math.inf

    async def encrypt(self, tls: TlsSettings, *, name: str, timeout_seconds: float) -> None:
        """Speak TLS from now on, with a receiver of this name. Raises OSError."""
        assert self._transport is not None
        try:
            upgraded = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                tls.context,
                server_hostname=name,
                ssl_handshake_timeout=timeout_seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except ConnectionError as error:
            raise OSError(_BROKEN_OFF) from error
        if upgraded is None:  # asyncio says so of a transport that was closed meanwhile
            raise OSError(_BROKEN_OFF)
        self.connection_made(upgraded)

    async def outlives(self, seconds: float) -> None:
        """Return after so many seconds; raises ConnectionError if the connection ends earlier."""
        try:
            async with asyncio.timeout(seconds):
                while not self.broken:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return
        raise ConnectionError(self.broken)

    def abort(self, why: str) -> None:
        """Drop the connection and what was not sent yet."""
        self._break(why)
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Close the connection after what was written, within a second; then abort it."""
        if self._transport is None:
            return
        self._break("closed")
        self._transport.close()
        try:
            async with deadline(_SHUTDOWN_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            self._transport.abort()


class NoConnectionError(OSError):
    """None of a receiver's addresses could be connected to; `causes` are why, one for each."""

    def __init__(self, text: str, causes: Sequence[OSError]) -> None:
        super().__init__(text)
        self.causes = tuple(causes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a receiver is reached."""

    address: Address
    tls: TlsSettings | None
    bind: str | None
    timeout_seconds: float

    async def connect(self, *, keep: bool, limit_bytes: int = _READ_LIMIT_BYTES, pauses: bool = False) -> Connection:
        """A connection to the first of the receiver's addresses that answers, within the time-out.

        `limit_bytes`: how many received octets may wait to be read, and `pauses` what is done with more. Raises OSError
        with a line for the operator.
        """
        try:
            async with asyncio.timeout(self.timeout_seconds):
                found = await endpoints(self.address, kind=socket.SOCK_STREAM, bind=self.bind)
                return await self._first_of(
                    found, partial(Connection, keep=keep, limit_bytes=limit_bytes, pauses=pauses)
                )
        except TimeoutError as error:
            raise OSError(f"no connection within {self.timeout_seconds:g} s") from error

    async def _first_of(self, found: list[Endpoint], make: Callable[[], Connection]) -> Connection:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.timeout_seconds
        failures: list[str] = []
        causes: list[OSError] = []
        for position, endpoint in enumerate(found):
            place = "" if len(found) == 1 and endpoint.remote[0] == self.address.host else f"{endpoint}: "
            share_seconds = max((deadline - clock()) / (len(found) - position), _MIN_SHARE_SECONDS)
            try:
                async with asyncio.timeout(share_seconds):
                    return await self._connect(endpoint, make)
            except TimeoutError as error:
                failures.append(f"{place}no connection within {share_seconds:.1f} s")
                causes.append(error)
            except OSError as error:
                failures.append(f"{place}{describe(error)}")
                causes.append(error)
        raise NoConnectionError("; ".join(dict.fromkeys(failures)), causes)

    async def _connect(self, endpoint: Endpoint, make: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        started = loop.time()
        plain = socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            plain.setblocking(False)
            if endpoint.local is not None:
                plain.bind(endpoint.local)
            await loop.sock_connect(plain, endpoint.remote)
        except BaseException:
            plain.close()
            raise
        connection = make()
        try:
            await self._wrap(plain, connection)
            connection.keep_alive()
            if self.tls is not None:
                await _settle(connection, self.tls, since=started)
        except BaseException:
            connection.abort("not the receiver")
            raise
        return connection

    async def _wrap(self, plain: socket.socket, connection: Connection) -> None:
        """From here on the connection's transport closes the socket: whoever else does, closes another one's later.

        What was given up before asyncio had begun the handshake is dropped when that ends.
        """
        loop = asyncio.get_running_loop()
        if self.tls is None:
            await loop.create_connection(lambda: connection, sock=plain)
            return
        try:
            await loop.create_connection(
                lambda: connection,
                sock=plain,
                ssl=self.tls.context,
                server_hostname=self.address.host.partition("%")[0],
                ssl_handshake_timeout=self.timeout_seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except ConnectionError as error:
            raise OSError(_BROKEN_OFF) from error


async def secure(connection: Connection, tls: TlsSettings, *, host: str, timeout_seconds: float) -> None:
    """TLS with a receiver at the end of a tunnel, by the same rules as at the end of a route. Raises OSError.

    The caller drops the connection then.
    """
    started = asyncio.get_running_loop().time()
    await connection.encrypt(tls, name=host.partition("%")[0], timeout_seconds=timeout_seconds)
    await _settle(connection, tls, since=started)


async def _settle(connection: Connection, tls: TlsSettings, *, since: float) -> None:
    _check_fingerprint(tls, connection)
    # With TLS 1.3 the handshake is over for the client before the receiver has seen its certificate: a refusal arrives
    # a round trip later.
    taken_seconds = asyncio.get_running_loop().time() - since
    await connection.outlives(min(taken_seconds + _SETTLE_SECONDS, _MAX_SETTLE_SECONDS))


def _check_fingerprint(tls: TlsSettings, connection: Connection) -> None:
    if not tls.trusts(connection.certificate()):
        raise OSError("its certificate has none of the known fingerprints")
