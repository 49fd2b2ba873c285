"""The client of HTTP/1.1 servers: h11's grammar on our own connections, with bounds on sizes and times.

One receiver, one exchange at a time; a task that needs two at once makes two clients. The connection is kept for a
while after an exchange: a TLS handshake costs more than all else here, and a receiver's close is known before the next
request since the connection reads all the time. Redirects, cookies, compression and proxies of the environment are not
followed, kept, asked for or looked up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11

from hsm_agent.net.address import describe
from hsm_agent.net.streams import Route, secure
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.net.http_settings import HttpUrl, ProxySettings
    from hsm_agent.net.streams import Connection
    from hsm_agent.net.tls import TlsSettings

MOST_HEAD_BYTES = 16 * 1024
"""Of one head of an answer; also of a chunk's header and of trailers."""
_KEPT_SECONDS = 30.0
_FRAMING_FACTOR = 2
"""What a body may cost on the wire by its chunks; more than that is no answer but a way to keep us busy."""

Headers = tuple[tuple[str, str], ...]


class HttpTrouble(Exception):
    """No whole answer came. `sent`: the request had been handed to the connection, and may have been obeyed.

    `status`: that of the answer whose head came, and whose body did not, or not within its bounds.
    """

    def __init__(self, reason: str, *, sent: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.sent = sent
        self.status = status


class _BadAnswerError(Exception):
    """The server's answer breaks the protocol or our bounds."""


class _TooLongError(_BadAnswerError):
    """The answer's body is longer than what is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """A whole answer. Names of headers are lower case."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """The first value of a header, empty if there is none."""
        return next((value for known, value in self.headers if known == name.lower()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPeer:
    """A server as it is configured, and how long it may take."""

    url: HttpUrl
    tls: TlsSettings | None
    proxy: ProxySettings | None
    bind: str | None
    connect_seconds: float
    """For all that comes before a request: look-up, TCP, the proxy's tunnel and TLS together."""
    exchange_seconds: float
    """From the first octet of a request to the last one of its answer."""
    most_body_bytes: int = 64 * 1024

    def __str__(self) -> str:
        """For messages: without path and query, which may hold what only the receiver should know."""
        return f"{self.url.scheme}://{self.url.authority}"


class HttpClient:
    """Sends requests to one server."""

    def __init__(self, peer: HttpPeer) -> None:
        self._peer = peer
        self._connection: Connection | None = None
        self._used_at = 0.0
        self._status: int | None = None

    async def exchange(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> HttpAnswer:
        """One request and its answer, whatever its status is. Raises HttpTrouble where no whole answer came.

        `target`: path and query. Host, Content-Length and User-Agent are added.
        """
        request = self._request(method, target, headers, body)
        connection = await self._ready()
        is_reusable = False
        self._status = None
        try:
            async with asyncio.timeout(self._peer.exchange_seconds):
                answer, is_reusable = await self._exchange(connection, request, body)
        except TimeoutError as error:
            why = f"{self._peer}: no whole answer within {self._peer.exchange_seconds:g} s"
            raise HttpTrouble(why, sent=True, status=self._status) from error
        except (OSError, _BadAnswerError) as error:
            raise HttpTrouble(f"{self._peer}: {describe(error)}", sent=True, status=self._status) from error
        finally:
            if not is_reusable:
                self._drop()
        self._used_at = asyncio.get_running_loop().time()
        return answer

    async def close(self) -> None:
        """Close the connection, within a second."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _request(self, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes) -> h11.Request:
        peer = self._peer
        whole = [("Host", peer.url.host_field), ("User-Agent", f"hsm-agent/{VERSION}"), *headers]
        if body or method in {"POST", "PUT"}:
            whole.append(("Content-Length", str(len(body))))
        if peer.proxy is not None and peer.url.scheme == "http":
            target = f"http://{peer.url.authority}{target}"  # the absolute form, RFC 9112 section 3.2.2
            whole += _proxy_headers(peer.proxy)
        try:
            return h11.Request(method=method, target=target, headers=whole)
        except h11.LocalProtocolError:  # such as a token of the server's own; h11 quotes it, which we do not
            raise HttpTrouble(f"{peer}: the request holds what no header can") from None

    async def _exchange(self, connection: Connection, request: h11.Request, body: bytes) -> tuple[HttpAnswer, bool]:
        """The answer, and whether the connection can take another request."""
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)
        octets = parser.send(request) or b""
        if body:
            octets += parser.send(h11.Data(data=body)) or b""
        connection.write(octets + (parser.send(h11.EndOfMessage()) or b""))
        incoming = _Incoming(connection, parser, self._peer.most_body_bytes)
        head = await _head(incoming)
        self._status = head.status_code
        answer = await _answer(head, incoming)
        is_done = parser.our_state is h11.DONE and parser.their_state is h11.DONE
        return answer, is_done and not parser.trailing_data[0] and not connection.unread

    async def _ready(self) -> Connection:
        connection = self._connection
        now = asyncio.get_running_loop().time()
        is_fresh = now - self._used_at < _KEPT_SECONDS
        if connection is not None and not connection.broken and not connection.unread and is_fresh:
            return connection
        self._drop()
        try:
            async with asyncio.timeout(self._peer.connect_seconds):
                self._connection = await self._connected()
        except TimeoutError as error:
            raise HttpTrouble(f"{self._peer}: no connection within {self._peer.connect_seconds:g} s") from error
        except (OSError, _BadAnswerError) as error:
            raise HttpTrouble(f"{self._peer}: {describe(error)}") from error
        return self._connection

    async def _connected(self) -> Connection:
        peer = self._peer
        route = Route(
            address=peer.url.address if peer.proxy is None else peer.proxy.url.address,
            tls=peer.tls if peer.proxy is None else None,
            bind=peer.bind,
            timeout_seconds=peer.connect_seconds,
        )
        most = MOST_HEAD_BYTES + _FRAMING_FACTOR * peer.most_body_bytes + _ONE_READ_BYTES
        try:
            connection = await route.connect(keep=True, limit_bytes=most)
        except OSError as error:
            raise OSError(f"{'' if peer.proxy is None else 'the proxy: '}{describe(error)}") from error
        if peer.proxy is None or peer.url.scheme == "http":
            return connection
        is_open = False
        try:
            await _tunnel(connection, peer.url, peer.proxy)
            assert peer.tls is not None
            await secure(connection, peer.tls, host=peer.url.host, timeout_seconds=peer.connect_seconds)
            is_open = True
        finally:
            if not is_open:
                connection.abort("no tunnel")
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort("given up")
        self._connection = None


def was_too_long(trouble: HttpTrouble) -> bool:
    """Whether the answer was longer than what is taken. What was asked for may have been done."""
    return isinstance(trouble.__cause__, _TooLongError)


_ONE_READ_BYTES = 256 * 1024
"""What asyncio may hand over at once, before anything of it can be read."""


class _Incoming:
    """The events of one answer, with a bound on all the octets they are made of."""

    def __init__(self, connection: Connection, parser: h11.Connection, most_body_bytes: int) -> None:
        self._connection = connection
        self._parser = parser
        self.most_body_bytes = most_body_bytes
        self._left = 2 * MOST_HEAD_BYTES + _FRAMING_FACTOR * most_body_bytes
        self._is_at_end = False

    async def next(self) -> h11.Event | None:
        """The next event of h11, None where nothing can follow. Raises OSError or _BadAnswerError."""
        while True:
            try:
                event = self._parser.next_event()
                if event is not h11.NEED_DATA:
                    return event if isinstance(event, h11.Event) else None
                self._parser.receive_data(await self._read())
            except h11.RemoteProtocolError as error:
                if self._is_at_end and not self._parser.trailing_data[0]:
                    raise _BadAnswerError("the connection ended without a whole answer") from error
                raise _BadAnswerError(f"not a proper HTTP answer: {error}") from error

    async def _read(self) -> bytes:
        """The next octets, empty at the end of the connection."""
        try:
            data = await self._connection.read()
        except OSError:
            if self._connection.at_end:
                self._is_at_end = True
                return b""
            raise
        self._left -= len(data)
        if self._left < 0:
            raise _TooLongError("the answer is longer than what was asked for can be")
        return data


async def _head(incoming: _Incoming) -> h11.Response:
    """The final answer's head; those of RFC 9110 section 15.2 before it are passed over."""
    while True:
        event = await incoming.next()
        if isinstance(event, h11.Response):
            return event
        if not isinstance(event, h11.InformationalResponse):
            raise _BadAnswerError("the connection ended before an answer came")


async def _answer(head: h11.Response, incoming: _Incoming) -> HttpAnswer:
    body = bytearray()
    while isinstance(event := await incoming.next(), h11.Data):
        body += event.data
        if len(body) > incoming.most_body_bytes:
            raise _TooLongError(f"the answer is longer than {incoming.most_body_bytes} octets")
    if not isinstance(event, h11.EndOfMessage):
        raise _BadAnswerError("the connection ended within the answer")
    fields = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
    return HttpAnswer(status=head.status_code, headers=fields, body=bytes(body))


def _proxy_headers(proxy: ProxySettings) -> Headers:
    return () if proxy.auth is None else (("Proxy-Authorization", proxy.auth.header()),)


async def _tunnel(connection: Connection, url: HttpUrl, proxy: ProxySettings) -> None:
    """CONNECT of RFC 9110 section 9.3.6. The caller has the deadline."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)
    headers = [("Host", url.authority), ("User-Agent", f"hsm-agent/{VERSION}"), *_proxy_headers(proxy)]
    octets = parser.send(h11.Request(method="CONNECT", target=url.authority, headers=headers)) or b""
    connection.write(octets + (parser.send(h11.EndOfMessage()) or b""))
    head = await _head(_Incoming(connection, parser, 0))
    if parser.their_state is not h11.SWITCHED_PROTOCOL:
        raise _BadAnswerError(f"the proxy answered {head.status_code} to CONNECT")
    if parser.trailing_data[0] or connection.unread:
        raise _BadAnswerError("the proxy sent something ahead of the receiver")
