"""A TCP or TLS server on 127.0.0.1:0 that does to each connection what a test's script says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable


@dataclass(slots=True)
class Peer:
    """One connection as the server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def address(self) -> str:
        """Where the client connected from."""
        return str(self.writer.get_extra_info("peername")[0])

    def reset(self) -> None:
        """End the connection as a dying process does: nothing flushed, RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


@dataclass(slots=True, kw_only=True)
class StreamServer:
    """Runs `script` on every connection; a connection ends with its script."""

    script: Callable[[Peer], Awaitable[None]]
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    small_buffers: bool = False
    port: int = 0
    connections: int = 0
    failures: list[BaseException] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.small_buffers:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind((self.host, self.port))
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._run, sock=listener, ssl=self.tls, limit=4096)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self.failures, self.failures

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self.script(Peer(reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away: its right
        except asyncio.CancelledError:
            writer.transport.abort()
        except AssertionError as error:
            self.failures.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@dataclass(slots=True)
class Collector:
    """A script that takes octet-counted messages; the messages of all connections."""

    messages: list[bytes] = field(default_factory=list)

    async def __call__(self, peer: Peer) -> None:
        while (digits := (await peer.reader.read(1))) != b"":
            while not digits.endswith(b" "):
                digits += await peer.reader.readexactly(1)
            self.messages.append(await peer.reader.readexactly(int(digits)))

    async def until(self, count: int) -> list[bytes]:
        """All messages once there are so many."""
        async with asyncio.timeout(5):
            while len(self.messages) < count:
                await asyncio.sleep(0.005)
        return self.messages
