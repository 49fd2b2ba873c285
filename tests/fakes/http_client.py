"""A server of the known present, and a client that sends any octets it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

# exposition() imports it when it is first called: not on a test's event loop.
import prometheus_client.openmetrics.exposition  # noqa: F401

from hsm_agent.serve.http.connection import HttpTimeouts
from hsm_agent.serve.http.server import HttpServer
from hsm_agent.serve.settings import HttpSettings
from tests.fakes.present import known_snapshot

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from hsm_agent.serve.snapshot import Snapshot

USUAL = HttpTimeouts()


class Answer:
    """What a client read until the server closed the connection."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}


async def settings_of(listen: str, web_config: Path | None) -> HttpSettings:
    """Settings are read off the event loop, as the agent does: they look at files."""
    return await asyncio.to_thread(HttpSettings, listen=listen, web_config=web_config)


@contextlib.asynccontextmanager
async def running(
    *,
    listen: str = "127.0.0.1:0",
    web_config: Path | None = None,
    missing: Sequence[str] = (),
    stalled: str = "",
    timeouts: HttpTimeouts = USUAL,
    present: Snapshot | None = None,
) -> AsyncIterator[HttpServer]:
    kept = present or known_snapshot()
    settings = await settings_of(listen, web_config)
    server = HttpServer(
        settings, snapshot=lambda: kept, missing=lambda: missing, stalled=lambda: stalled, timeouts=timeouts
    )
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def send(server: HttpServer, request: bytes, context: ssl.SSLContext | None = None) -> Answer:
    """Send the octets and read to the end."""
    host, port = server.address
    name = "localhost" if context is not None else None
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
        try:
            writer.write(request)
            return Answer(await reader.read())
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def request(path: str, method: str = "GET", **fields: str) -> bytes:
    """A request after whose answer the server closes."""
    headers = {"Host": "localhost", "Connection": "close"} | {
        name.replace("_", "-"): text for name, text in fields.items()
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def get(server: HttpServer, path: str, context: ssl.SSLContext | None = None, **fields: str) -> Answer:
    return await send(server, request(path, **fields), context)
