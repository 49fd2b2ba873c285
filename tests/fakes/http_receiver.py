"""Scripts for `StreamServer` that speak HTTP: one that answers as told, one that is a proxy. Read with no parser of ours."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.stream_server import Peer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Received:
    """One request, its header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


async def read_request(peer: Peer) -> Received | None:
    """The next request of a connection, None at its end."""
    try:
        head = await peer.reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *fields = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
    body = await peer.reader.readexactly(int(headers.get("content-length", "0")))
    return Received(line, headers, body)


@dataclass(slots=True)
class Receiver:
    """Answers each request with the next of these octets, then with 200; None ends the connection instead."""

    answers: list[bytes | None] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    by_request: Callable[[Received], bytes] | None = None

    async def __call__(self, peer: Peer) -> None:
        while (request := await read_request(peer)) is not None:
            self.requests.append(request)
            answer = self.answers.pop(0) if self.answers else OK
            if self.by_request is not None:
                answer = self.by_request(request)
            if answer is None:
                peer.reset()
                return
            peer.writer.write(answer)
            await peer.writer.drain()
            if b"connection: close" in answer.lower() or b"content-length" not in answer.lower():
                return


@dataclass(slots=True)
class Proxy:
    """A forward proxy to one port of this host: a tunnel for CONNECT, else the request as it is."""

    port: int
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    requests: list[Received] = field(default_factory=list)

    async def __call__(self, peer: Peer) -> None:
        request = await read_request(peer)
        if request is None:
            return
        self.requests.append(request)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            if request.line.startswith("CONNECT "):
                peer.writer.write(self.answer)
            else:
                fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
                writer.write(f"{request.line}\r\n{fields}\r\n".encode() + request.body)
            await asyncio.gather(_pump(peer.reader, writer), _pump(reader, peer.writer))
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()
