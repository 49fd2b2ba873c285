"""Answers that go on: lines as they come, bounds on each, silence, ends, and a reader that is slower than the server."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.net.http_answer import HttpTrouble, was_too_long
from hsm_agent.net.http_client import HttpClient, HttpPeer
from hsm_agent.net.http_settings import HttpUrl
from hsm_agent.net.tls import TlsSettings
from tests.fakes.http_receiver import read_request
from tests.fakes.stream_server import Peer, StreamServer
from tests.peers import pki as certificates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
MOST = 1000


def chunk(octets: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(octets), octets)


def client_of(port: int, *, tls: TlsSettings | None = None, **changes: Any) -> HttpClient:
    scheme = "http" if tls is None else "https"
    keys: dict[str, Any] = {
        "url": HttpUrl.parse(f"{scheme}://127.0.0.1:{port}"), "tls": tls, "proxy": None, "bind": None,
        "connect_seconds": 2.0, "exchange_seconds": 0.3,
    }  # fmt: skip
    return HttpClient(HttpPeer(**(keys | changes)))


def sending(*octets: bytes, then: Callable[[Peer], Awaitable[None]] | None = None) -> Callable[[Peer], Awaitable[None]]:
    async def script(peer: Peer) -> None:
        request = await read_request(peer)
        assert request is not None
        for each in octets:
            peer.writer.write(each)
            await peer.writer.drain()
            await asyncio.sleep(0.01)
        if then is not None:
            await then(peer)

    return script


async def mute(peer: Peer) -> None:
    await peer.reader.read(-1)


async def lines(server: StreamServer, *, seconds: float = 2.0) -> list[bytes | None]:
    client = client_of(server.port)
    found: list[bytes | None] = []
    async with client.stream("POST", "/v3/watch", body=b"{}") as stream:
        while not found or found[-1] is not None:
            found.append(await stream.line(most_bytes=MOST, seconds=seconds))
    return found


async def test_lines_come_as_they_are_however_they_are_divided_and_the_last_needs_no_end() -> None:
    octets = [chunk(b"one\ntw"), chunk(b"o\r\n\n"), chunk(b"\nthree"), END]
    async with StreamServer(script=sending(HEAD, *octets)) as server:
        assert await lines(server) == [b"one", b"two", b"three", None]
    async with StreamServer(script=sending(HEAD + chunk(b"one\n") + END)) as server:
        assert await lines(server) == [b"one", None]


async def test_a_line_is_there_before_the_next_one_is_sent() -> None:
    async with (
        StreamServer(script=sending(HEAD, chunk(b"one\n"), then=mute)) as server,
        client_of(server.port).stream("POST", "/") as stream,
    ):
        assert await stream.line(most_bytes=MOST, seconds=2) == b"one"
        began = time.monotonic()
        with pytest.raises(HttpTrouble, match=r"no word for 0\.2 s"):
            await stream.line(most_bytes=MOST, seconds=0.2)
        assert time.monotonic() - began < 1


async def drip(peer: Peer) -> None:
    """A line without end, an octet at a time: never silent for long."""
    while True:
        peer.writer.write(chunk(b"x"))
        await peer.writer.drain()
        await asyncio.sleep(0.01)


async def reset(peer: Peer) -> None:
    peer.reset()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (sending(HEAD, chunk(b"one\n"), then=drip), "no word for 0.4 s"),
        (sending(HEAD, chunk(b"one\n" + b"x" * (MOST + 1))), "a line of the answer is longer"),
        (sending(HEAD, chunk(b"one\n")), "ended without a whole answer"),
        (sending(HEAD, chunk(b"one\n"), then=reset), "reset|ended without"),
        (sending(HEAD, b"zz\r\n"), "not a proper HTTP answer"),
    ],
)
async def test_a_stream_that_breaks_its_bounds_or_off_ends(script: Callable[[Peer], Awaitable[None]], why: str) -> None:
    async with StreamServer(script=script) as server:
        with pytest.raises(HttpTrouble, match=why) as caught:
            await lines(server, seconds=0.4)

    assert was_too_long(caught.value) is ("longer" in why)


@pytest.mark.parametrize("script", [sending(then=mute), sending(then=reset), sending(b"nonsense\r\n\r\n")])
async def test_a_stream_without_a_head_is_none(script: Callable[[Peer], Awaitable[None]]) -> None:
    async with StreamServer(script=script) as server:
        with pytest.raises(HttpTrouble):
            await lines(server)


async def test_a_refusal_is_read_as_a_whole_and_bounded() -> None:
    refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s"
    async with (
        StreamServer(script=sending(refused % (2, b"{}"))) as server,
        client_of(server.port).stream("POST", "/") as stream,
    ):
        answer = await stream.whole(seconds=1)
        assert (stream.status, answer.status, answer.body) == (401, 401, b"{}")
    for script in (sending(refused % (9, b"{}"), then=mute), sending(refused % (70_000, b"x" * 70_000))):
        async with (
            StreamServer(script=script) as server,
            client_of(server.port).stream("POST", "/") as stream,
        ):
            with pytest.raises(HttpTrouble):
                await stream.whole(seconds=0.2)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, TlsSettings]:
    folder: Path = tmp_path_factory.mktemp("pki")
    pki = certificates.make(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.certificate, pki.server.key)
    return context, TlsSettings.model_validate({"ca": str(pki.ca)})


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_a_server_that_is_faster_waits_and_nothing_of_it_is_lost(
    tls: tuple[ssl.SSLContext, TlsSettings], *, is_encrypted: bool
) -> None:
    """32 MiB, of which the client holds a little at a time."""
    line = b"x" * 65_535 + b"\n"
    sent = 0

    async def flood(peer: Peer) -> None:
        nonlocal sent
        for _ in range(512):
            peer.writer.write(chunk(line))
            await peer.writer.drain()
            sent += len(line)
        peer.writer.write(END)

    context, settings = tls if is_encrypted else (None, None)
    async with (
        StreamServer(script=sending(HEAD, then=flood), tls=context) as server,
        client_of(server.port, tls=settings).stream("POST", "/") as stream,
    ):
        assert await stream.line(most_bytes=len(line), seconds=5) == line[:-1]
        await asyncio.sleep(0.3)
        assert sent < 512 * len(line) / 2
        count = 1
        while (found := await stream.line(most_bytes=len(line), seconds=5)) is not None:
            assert len(found) == len(line) - 1
            count += 1
    assert count == 512


async def test_the_next_request_has_a_connection_of_its_own() -> None:
    async def script(peer: Peer) -> None:
        if server.connections == 1:
            await sending(HEAD, chunk(b"one\n"), then=mute)(peer)
        else:
            await sending(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(peer)

    async with StreamServer(script=script) as server:
        client = client_of(server.port)
        async with client.stream("POST", "/") as stream:
            assert await stream.line(most_bytes=MOST, seconds=2) == b"one"
        assert (await client.exchange("GET", "/")).body == b"ok"
        await client.close()
