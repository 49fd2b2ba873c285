"""The server's side of RELP for tests: strict about what it hears, told by a script what to answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fakes.stream_server import Peer

OFFERS = b"200 OK\nrelp_version=0\nrelp_software=fake\ncommands=syslog"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of the client."""

    txnr: int
    command: str
    data: bytes


@dataclass(slots=True)
class RelpPeer:
    """A session as the server sees it."""

    peer: Peer
    expected: int = 1
    heard: list[Frame] = field(default_factory=list)

    async def frame(self) -> Frame:
        """The next frame, checked: the numbers have no gap, the trailer is there, DATALEN 0 has no space."""
        txnr = int((await self.peer.reader.readuntil(b" ")).rstrip())
        command = (await self.peer.reader.readuntil(b" ")).rstrip().decode("ascii")
        digits = b""
        while (octet := await self.peer.reader.readexactly(1)).isdigit():
            digits += octet
        length = int(digits)
        assert octet == (b" " if length else b"\n"), (digits, octet)
        data = b""
        if length:
            data = await self.peer.reader.readexactly(length)
            assert await self.peer.reader.readexactly(1) == b"\n"
        assert txnr == self.expected, f"{txnr} instead of {self.expected}"
        self.expected += 1
        frame = Frame(txnr, command, data)
        self.heard.append(frame)
        return frame

    async def answer(self, txnr: int, data: bytes = b"200 OK") -> None:
        """A `rsp`."""
        await self.say(b"%d rsp %d%b%b\n" % (txnr, len(data), b" " if data else b"", data))

    async def say(self, octets: bytes) -> None:
        """Anything at all."""
        self.peer.writer.write(octets)
        await self.peer.writer.drain()

    async def open(self) -> None:
        """Take the `open`, accept the session."""
        frame = await self.frame()
        assert (frame.txnr, frame.command) == (1, "open")
        await self.answer(1, OFFERS)

    async def syslog(self) -> Frame:
        """The next frame, which is a message; a `close` is answered and ends the script."""
        frame = await self.frame()
        if frame.command == "close":
            await self.answer(frame.txnr, b"")
            await self.say(b"0 serverclose 0\n")
            raise ConnectionAbortedError("closed by the client")
        assert frame.command == "syslog"
        return frame


@dataclass(slots=True)
class RelpScript:
    """Opens each session, then follows the script of its number (the last one for all further sessions)."""

    scripts: list[Callable[[RelpPeer], Awaitable[None]]]
    sessions: list[RelpPeer] = field(default_factory=list)

    async def __call__(self, peer: Peer) -> None:
        session = RelpPeer(peer)
        self.sessions.append(session)
        await session.open()
        await self.scripts[min(len(self.sessions), len(self.scripts)) - 1](session)

    def messages(self, session: int) -> list[bytes]:
        """What one session was sent."""
        return [frame.data for frame in self.sessions[session].heard if frame.command == "syslog"]


async def accept_all(session: RelpPeer) -> None:
    """Accept every message at once."""
    while True:
        frame = await session.syslog()
        await session.answer(frame.txnr)


async def never_answer(session: RelpPeer) -> None:
    """Take every message and say nothing."""
    while True:
        await session.syslog()


async def end(session: RelpPeer) -> None:
    """End the connection at once."""
    await asyncio.sleep(0)
