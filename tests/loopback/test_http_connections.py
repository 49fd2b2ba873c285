"""How many connections the HTTP server holds, which one it cuts, and what one connection carries."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from hsm_agent.serve.http.connection import HttpConnection, HttpRequest, HttpResponse, HttpTimeouts, plain
from hsm_agent.serve.http.server import HttpListener, listen
from tests.fakes.http_client import running

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """Answers at once, but for /slow, which waits until it is released."""

    def __init__(self, bound: socket.socket) -> None:
        self.address = bound.getsockname()
        self.release = asyncio.Event()
        self.has_slow_request = asyncio.Event()

    async def answer(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/slow":
            self.has_slow_request.set()
            await self.release.wait()
        return plain(HTTPStatus.OK)

    async def connect(self, address: str = "127.0.0.1") -> Streams:
        """Connect from an address of this host, and see that it was accepted."""
        reader, writer = await asyncio.open_connection(*self.address, local_addr=(address, 0))
        writer.write(REQUEST)
        async with asyncio.timeout(2):
            await reader.readuntil(b"200 OK\n")
        return reader, writer

    async def make_busy(self, streams: Streams) -> None:
        streams[1].write(REQUEST.replace(b"healthz", b"slow"))
        async with asyncio.timeout(2):
            await self.has_slow_request.wait()


async def without_tls() -> ssl.SSLContext | None:
    return None


@contextlib.asynccontextmanager
async def listening(limit: int) -> AsyncIterator[Server]:
    bound = listen("127.0.0.1", 0)
    server = Server(bound)
    listener = HttpListener(
        bound, connection=lambda: HttpConnection(server.answer, HttpTimeouts()), context=without_tls, limit=limit
    )
    accepting = asyncio.create_task(listener.accept())
    try:
        yield server
    finally:
        accepting.cancel()
        await asyncio.wait((accepting,))
        await listener.close(grace_seconds=0.1)
        bound.close()


async def is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.2):
            return await reader.read() == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def close(*connections: Streams) -> None:
    for _, writer in connections:
        writer.close()


async def test_the_oldest_one_makes_room() -> None:
    async with listening(limit=2) as server:
        found = [await server.connect() for _ in range(3)]

        assert [await is_cut(reader) for reader, _ in found] == [True, False, False]
        close(*found)


async def test_a_busy_one_is_not_cut_for_another() -> None:
    async with listening(limit=2) as server:
        first = await server.connect()
        await server.make_busy(first)
        second, third = await server.connect(), await server.connect()

        assert [await is_cut(reader) for reader, _ in (first, second)] == [False, True]
        close(first, second, third)


async def test_where_all_are_busy_the_next_one_takes_the_place_of_the_first_that_is_idle() -> None:
    async with listening(limit=1) as server:
        first = await server.connect()
        await server.make_busy(first)
        second = await asyncio.open_connection(*server.address)
        second[1].write(REQUEST)
        await asyncio.sleep(0.05)

        server.release.set()

        async with asyncio.timeout(2):
            await first[0].readuntil(b"200 OK\n")
            assert (await second[0].readline()).startswith(b"HTTP/1.1 200 ")
        assert await is_cut(first[0])
        close(first, second)


async def test_where_all_are_busy_the_next_one_waits_for_one_to_go() -> None:
    async with listening(limit=1) as server:
        first = await server.connect()
        await server.make_busy(first)
        second = await asyncio.open_connection(*server.address)
        second[1].write(REQUEST)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await second[0].readline()

        close(first)
        server.release.set()

        async with asyncio.timeout(2):
            assert (await second[0].readline()).startswith(b"HTTP/1.1 200 ")
        close(second)


async def test_an_address_that_connects_without_end_cuts_its_own_connections() -> None:
    async with listening(limit=4) as server:
        quiet = await server.connect("127.0.0.2")
        flood = [await server.connect() for _ in range(12)]

        assert not await is_cut(quiet[0])
        ended = [reader.at_eof() or reader.exception() is not None for reader, _ in flood]
        assert ended == [True] * 9 + [False] * 3
        close(quiet, *flood)


async def test_when_the_listener_closes_all_are_cut() -> None:
    async with listening(limit=5) as server:
        found = [await server.connect() for _ in range(3)]
        await server.make_busy(found[2])

    assert [await is_cut(reader) for reader, _ in found] == [True] * 3
    close(*found)


async def test_an_answer_under_way_is_given_when_the_listener_closes_and_is_the_last() -> None:
    async with listening(limit=5) as server:
        reader, writer = await server.connect()
        await server.make_busy((reader, writer))
        asyncio.get_running_loop().call_later(0.05, server.release.set)

    assert b"connection: close" in (await reader.read()).lower()
    writer.close()


class Broken(HttpConnection):
    """One that has a bug."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        raise ZeroDivisionError


async def test_a_bug_in_one_connection_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    bound = listen("127.0.0.1", 0)
    server = Server(bound)
    kinds = iter([HttpConnection, Broken, HttpConnection])
    listener = HttpListener(
        bound, connection=lambda: next(kinds)(server.answer, HttpTimeouts()), context=without_tls, limit=5
    )
    accepting = asyncio.create_task(listener.accept())
    first = await server.connect()
    second = await asyncio.open_connection(*server.address)
    third = await server.connect()

    assert await is_cut(second[0])
    assert not await is_cut(first[0])
    assert [record.getMessage() for record in caplog.records] == ["http: a connection ended with a bug"]
    close(first, second, third)
    accepting.cancel()
    await asyncio.wait((accepting,))
    await listener.close(grace_seconds=0.1)
    bound.close()


async def test_the_listener_goes_on_when_there_were_no_descriptors_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept
    failures = [OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError()]

    async def failing_first(bound: socket.socket) -> object:
        if failures:
            raise failures.pop()
        return await accept(bound)

    monkeypatch.setattr(loop, "sock_accept", failing_first)
    async with listening(limit=2) as server:
        close(await server.connect())

    assert [record.getMessage() for record in caplog.records] == [
        "http: cannot accept connections: Too many open files"
    ]


async def exchange(octets: bytes, *, half_close: bool = False) -> bytes:
    """What a server of the agent sends until it ends the connection."""
    async with running() as server, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(octets)
        if half_close:
            writer.write_eof()
        try:
            return await reader.read()
        finally:
            writer.close()


async def test_requests_in_a_row_are_answered_in_their_order() -> None:
    paths = [b"healthz", b"nowhere", b"readyz"] * 100
    requests = b"".join(REQUEST.replace(b"healthz", path) for path in paths)

    answer = await exchange(requests + LAST_REQUEST)

    expected = [200, 404, 200] * 100 + [200]
    assert [int(piece[:3]) for piece in answer.split(b"HTTP/1.1 ")[1:]] == expected


async def test_a_client_that_has_ended_its_half_gets_its_answer() -> None:
    assert (await exchange(REQUEST, half_close=True)).endswith(b"\r\n\r\nok\n")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"Content-Length: 60\r\n", id="a length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", id="chunks"),
        pytest.param(b"Content-Length: 60\r\nExpect: 100-continue\r\n", id="one that waits to be asked"),
    ],
)
async def test_what_stands_behind_an_announced_body_is_no_request(fields: bytes) -> None:
    """Whatever its length is taken to be: no second request hides in it."""
    first = REQUEST.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n")

    answer = await exchange(first + b"0\r\n\r\n" + LAST_REQUEST)

    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nok\n")


async def test_a_client_that_speaks_tls_to_a_plain_port_is_told_at_once() -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)

    assert (await exchange(hello)).startswith(b"HTTP/1.1 400 ")


async def drip(writer: asyncio.StreamWriter, octets: bytes) -> None:
    for octet in octets:
        writer.write(bytes((octet,)))
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200, id="a field"),
        pytest.param(b"\r\n" * 100, id="empty lines"),
    ],
)
async def test_a_later_request_that_drips_is_cut_as_well(octets: bytes) -> None:
    async with running(timeouts=HttpTimeouts(request_seconds=0.3)) as server, asyncio.timeout(3):
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(REQUEST)
        await reader.readuntil(b"ok\n")
        with pytest.raises(ConnectionError):
            await drip(writer, octets)
        writer.close()
