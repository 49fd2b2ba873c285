"""The inform receiver on a UDP socket of 127.0.0.1 or ::1."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.inform_receiver import InformReceiver


class _Server(asyncio.DatagramProtocol):
    def __init__(self, receiver: InformReceiver) -> None:
        self.receiver = receiver
        self.peers: list[str] = []
        self.transport: asyncio.DatagramTransport | None = None
        self.mouth: socket.socket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.peers.append(addr[0])
        answer = self.receiver.answer(data, asyncio.get_running_loop().time())
        if answer is not None:
            if self.mouth is not None:
                self.mouth.sendto(answer, addr)
                return
            assert self.transport is not None
            self.transport.sendto(answer, addr)


class Served:
    """Where it listens, and who spoke to it."""

    def __init__(self, server: _Server, host: str, port: int) -> None:
        self._server = server
        self.host = host
        self.port = port

    @property
    def address(self) -> str:
        """For a sink's `to:`."""
        return f"udp6:[{self.host}]:{self.port}" if ":" in self.host else f"udp:{self.host}:{self.port}"

    @property
    def peers(self) -> list[str]:
        """The source address of each datagram."""
        return self._server.peers


@asynccontextmanager
async def served(
    receiver: InformReceiver, *, host: str = "127.0.0.1", port: int = 0, answers_from: str = ""
) -> AsyncIterator[Served]:
    """Have it listen; it answers from the address `answers_from`, if that is given."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: _Server(receiver), local_addr=(host, port))
    try:
        with socket.socket(socket.AF_INET6 if ":" in answers_from else socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            if answers_from:
                mouth.bind((answers_from, 0))
                server.mouth = mouth
            yield Served(server, host, transport.get_extra_info("sockname")[1])
    finally:
        transport.close()
