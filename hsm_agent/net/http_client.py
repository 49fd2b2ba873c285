"""The client of HTTP/1.1 servers: h11's grammar on our own connections, with bounds on sizes and times.

One receiver, one exchange or stream at a time; a task that needs two at once makes two clients. The connection is kept
for a while after an exchange: a TLS handshake costs more than all else here, and a receiver's close is known before the
next request since the connection reads all the time. Redirects, cookies, compression and proxies of the environment are
not followed, kept, asked for or looked up.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import h11

from hsm_agent.net.address import describe
from hsm_agent.net.http_answer import (
    FRAMING_FACTOR,
    MOST_HEAD_BYTES,
    ONE_READ_BYTES,
    BadAnswerError,
    HttpStream,
    HttpTrouble,
    IncomingAnswer,
    answer_of,
    head_of,
)
from hsm_agent.net.streams import Route, secure
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from hsm_agent.net.http_answer import Headers, HttpAnswer
    from hsm_agent.net.http_settings import HttpUrl, ProxySettings
    from hsm_agent.net.streams import Connection
    from hsm_agent.net.tls import TlsSettings

_KEPT_SECONDS = 30.0


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
    ends_with_certificate: bool = False
    """No request is made on a connection that was opened before the server's certificate expired."""

    def __str__(self) -> str:
        """For messages: without path and query, which may hold what only the receiver should know."""
        return f"{self.url.scheme}://{self.url.authority}"


class HttpClient:
    """Sends requests to one server."""

    def __init__(self, peer: HttpPeer) -> None:
        self._peer = peer
        self._connection: Connection | None = None
        self._used_at = 0.0
        self._valid_until = inf
        self._status: int | None = None

    async def exchange(
        self,
        method: str,
        target: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        check: Callable[[], None] | None = None,
    ) -> HttpAnswer:
        """One request and its answer, whatever its status is. Raises HttpTrouble where no whole answer came.

        `target`: path and query. Host, Content-Length and User-Agent are added. `check` is called just before the
        request is written: where it raises, nothing is.
        """
        request = self._request(method, target, headers, body)
        connection = await self._ready()
        is_reusable = False
        self._status = None
        try:
            async with asyncio.timeout(self._peer.exchange_seconds):
                answer, is_reusable = await self._exchange(connection, request, body, check)
        except TimeoutError as error:
            why = f"{self._peer}: no whole answer within {self._peer.exchange_seconds:g} s"
            raise HttpTrouble(why, sent=True, status=self._status) from error
        except (OSError, BadAnswerError) as error:
            raise HttpTrouble(f"{self._peer}: {describe(error)}", sent=True, status=self._status) from error
        finally:
            if not is_reusable:
                self._drop()
        self._used_at = asyncio.get_running_loop().time()
        return answer

    @asynccontextmanager
    async def stream(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> AsyncIterator[HttpStream]:
        """`async with`: an answer whose body is read while the server goes on with it; the connection ends with it.

        Raises HttpTrouble where no head of an answer came.
        """
        request = self._request(method, target, headers, body)
        self._drop()
        connection = await self._ready(is_stream=True)
        try:
            parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)
            incoming = IncomingAnswer(connection, parser, self._peer.most_body_bytes, spare_bytes=2 * ONE_READ_BYTES)
            try:
                async with asyncio.timeout(self._peer.exchange_seconds):
                    connection.write(_octets(parser, request, body))
                    head = await head_of(incoming)
            except TimeoutError as error:
                why = f"{self._peer}: no answer within {self._peer.exchange_seconds:g} s"
                raise HttpTrouble(why, sent=True) from error
            except (OSError, BadAnswerError) as error:
                raise HttpTrouble(f"{self._peer}: {describe(error)}", sent=True) from error
            yield HttpStream(str(self._peer), head, incoming)
        finally:
            self._drop()

    async def close(self) -> None:
        """Close the connection, within a second."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._drop()

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

    async def _exchange(
        self, connection: Connection, request: h11.Request, body: bytes, check: Callable[[], None] | None
    ) -> tuple[HttpAnswer, bool]:
        """The answer, and whether the connection can take another request."""
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)
        octets = _octets(parser, request, body)
        if check is not None:
            check()
        connection.write(octets)
        incoming = IncomingAnswer(connection, parser, self._peer.most_body_bytes)
        head = await head_of(incoming)
        self._status = head.status_code
        answer = await answer_of(head, incoming)
        is_done = parser.our_state is h11.DONE and parser.their_state is h11.DONE
        return answer, is_done and not parser.trailing_data[0] and not connection.unread

    async def _ready(self, *, is_stream: bool = False) -> Connection:
        connection = self._connection
        now = asyncio.get_running_loop().time()
        is_fresh = now - self._used_at < _KEPT_SECONDS
        is_over = self._peer.ends_with_certificate and self._valid_until <= time.time()
        if connection is not None and not connection.broken and not connection.unread and is_fresh and not is_over:
            return connection
        self._drop()
        try:
            async with asyncio.timeout(self._peer.connect_seconds):
                self._connection = await self._connected(is_stream=is_stream)
        except TimeoutError as error:
            raise HttpTrouble(f"{self._peer}: no connection within {self._peer.connect_seconds:g} s") from error
        except (OSError, BadAnswerError) as error:
            raise HttpTrouble(f"{self._peer}: {describe(error)}") from error
        self._valid_until = self._connection.certificate_valid_until()
        return self._connection

    async def _connected(self, *, is_stream: bool) -> Connection:
        peer = self._peer
        route = Route(
            address=peer.url.address if peer.proxy is None else peer.proxy.url.address,
            tls=peer.tls if peer.proxy is None else None,
            bind=peer.bind,
            timeout_seconds=peer.connect_seconds,
        )
        most = ONE_READ_BYTES
        if not is_stream:
            most += MOST_HEAD_BYTES + FRAMING_FACTOR * peer.most_body_bytes
        try:
            connection = await route.connect(keep=True, limit_bytes=most, pauses=is_stream)
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


def _octets(parser: h11.Connection, request: h11.Request, body: bytes) -> bytes:
    """A request as it is sent."""
    octets = parser.send(request) or b""
    if body:
        octets += parser.send(h11.Data(data=body)) or b""
    return octets + (parser.send(h11.EndOfMessage()) or b"")


def _proxy_headers(proxy: ProxySettings) -> Headers:
    return () if proxy.auth is None else (("Proxy-Authorization", proxy.auth.header()),)


async def _tunnel(connection: Connection, url: HttpUrl, proxy: ProxySettings) -> None:
    """CONNECT of RFC 9110 section 9.3.6. The caller has the deadline."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)
    headers = [("Host", url.authority), ("User-Agent", f"hsm-agent/{VERSION}"), *_proxy_headers(proxy)]
    octets = parser.send(h11.Request(method="CONNECT", target=url.authority, headers=headers)) or b""
    connection.write(octets + (parser.send(h11.EndOfMessage()) or b""))
    head = await head_of(IncomingAnswer(connection, parser, 0))
    if parser.their_state is not h11.SWITCHED_PROTOCOL:
        raise BadAnswerError(f"the proxy answered {head.status_code} to CONNECT")
    if parser.trailing_data[0] or connection.unread:
        raise BadAnswerError("the proxy sent something ahead of the receiver")
