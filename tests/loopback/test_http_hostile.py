"""The HTTP side against clients that are hostile, silent, slow or greedy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.serve.http import server as http
from hsm_agent.serve.http.connection import HttpTimeouts
from hsm_agent.serve.http.exposition import exposition
from hsm_agent.serve.http.server import HttpServer
from hsm_agent.serve.settings import HttpSettings
from tests.fakes.http_client import get, running, send
from tests.fakes.present import known_snapshot, make_reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hsm_agent.serve.snapshot import Snapshot


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with running() as started:
        yield started


HOSTILE = [
    pytest.param(b"BREW /metrics HTTP/1.1\r\nHost: x\r\n\r\n", id="a method nobody knows"),
    pytest.param(b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", id="no path"),
    pytest.param(b"rubbish\r\n\r\n", id="not HTTP"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 60 + b"\r\n\r\n", id="TLS to a plain port"),
    pytest.param(b"GET /metrics HTTP/9.9\r\n\r\n", id="a version from the future"),
    pytest.param(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="a long line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", id="a long field"),
    pytest.param(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n", id="many fields"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", id="a folded field"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX\0: y\r\n\r\n", id="a NUL"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="a negative length"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", id="two lengths"
    ),
]


@pytest.mark.parametrize("octets", HOSTILE)
async def test_a_hostile_request_is_refused_and_leaves_no_trace(
    server: HttpServer, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await send(server, octets)

    assert answer.status == 400
    assert (await get(server, "/healthz")).status == 200
    assert [record for record in caplog.records if record.name.startswith("hsm_agent")] == []


async def test_a_body_nobody_asked_for_is_not_read_for_ever(server: HttpServer) -> None:
    began = time.monotonic()
    head = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"

    answer = await send(server, head + b"x" * 1000)

    assert answer.status == 405
    assert time.monotonic() - began < 3


async def test_silent_connections_keep_nobody_out(server: HttpServer) -> None:
    silent = [socket.create_connection(server.address) for _ in range(http.MAX_CONNECTIONS + 20)]
    try:
        for connection in silent[::2]:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        await asyncio.sleep(0.1)

        began = time.monotonic()
        answer = await get(server, "/metrics")

        assert answer.status == 200
        assert time.monotonic() - began < 1
        cut = [connection for connection in silent if ended(connection)]
        assert len(cut) >= 20
    finally:
        for connection in silent:
            connection.close()


def ended(connection: socket.socket) -> bool:
    """Whether the server has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_who_asks_much_and_reads_nothing_is_not_answered_for_ever(server: HttpServer) -> None:
    """Requests in a row on one connection, unread: the server stops making answers when the kernel takes no more."""
    served = 0

    def counting() -> Snapshot:
        nonlocal served
        served += 1
        return large

    large = replace(
        known_snapshot(), readings=[make_reading("token_objects", n, resource=f"t{n}") for n in range(2000)]
    )
    greedy = HttpServer(HttpSettings(listen="127.0.0.1:0"), snapshot=counting, missing=list)
    await greedy.start()
    client = socket.socket()
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(greedy.address)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        before = -1
        async with asyncio.timeout(40):
            while served != before:
                before = served
                await asyncio.sleep(1)

        assert 0 < served < 100
        assert (await get(greedy, "/healthz")).status == 200
    finally:
        client.close()
        await greedy.close()


async def test_a_request_that_drips_is_cut() -> None:
    async with running(timeouts=HttpTimeouts(request_seconds=0.3)) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for octet in b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200:
                writer.write(bytes((octet,)))
                await writer.drain()
                await asyncio.sleep(0.02)
            pytest.fail("the server listened to the end")
        assert time.monotonic() - began < 2
        assert reader.at_eof() or reader.exception() is not None
        writer.close()


async def test_a_client_that_does_not_read_is_cut() -> None:
    many = [make_reading("token_objects", n, resource=f"token {n}" * 10) for n in range(40_000)]
    present = replace(known_snapshot(), readings=many)
    async with running(present=present, timeouts=HttpTimeouts(answer_seconds=0.5)) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.address)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1.0)  # twice the time for an answer

        assert read_all(client) < len(exposition(present, "")[0])
        client.close()


def read_all(client: socket.socket) -> int:
    """How many octets there are until the end, however it comes."""
    client.settimeout(2)
    total = 0
    with contextlib.suppress(ConnectionResetError):
        while octets := client.recv(65536):
            total += len(octets)
    return total


async def test_an_idle_connection_is_closed() -> None:
    async with running(timeouts=HttpTimeouts(idle_seconds=0.2)) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(2):
            assert (await reader.read()).endswith(b"ok\n")
        writer.close()
