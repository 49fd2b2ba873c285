"""The host of connections, with guests that say only whether they are busy."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from hsm_agent.serve.http.listener import Connections, listen, stop

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator


class Guest(asyncio.Protocol):
    """Busy from its first octet on; ends when its client does."""

    def __init__(self) -> None:
        self.busy = False
        self.gone = asyncio.Event()

    def as_protocol(self) -> asyncio.Protocol:
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        self.busy = True

    def connection_lost(self, exc: BaseException | None) -> None:
        self.gone.set()


class Clumsy(Guest):
    """One that can't even say whether it has gone."""

    @property
    def gone(self) -> asyncio.Event:
        raise ZeroDivisionError

    @gone.setter
    def gone(self, event: asyncio.Event) -> None:
        pass

    def connection_lost(self, exc: BaseException | None) -> None:
        pass


async def plain() -> ssl.SSLContext | None:
    return None


@contextlib.asynccontextmanager
async def hosting(limit: int, guests: list[type[Guest]] | None = None) -> AsyncIterator[socket.socket]:
    kinds = iter(guests or [])
    listener = await listen("127.0.0.1", 0)

    def admit() -> Guest:
        return next(kinds, Guest)()

    connections = Connections(listener, guest=admit, context=plain, limit=limit)
    task = asyncio.create_task(connections.serve())
    try:
        yield listener
    finally:
        await stop(task)
        listener.close()


async def arrive(
    listener: socket.socket, address: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from an address of this host, and wait to be let in."""
    reader, writer = await asyncio.open_connection(*listener.getsockname(), local_addr=(address, 0))
    async with asyncio.timeout(2):
        assert await reader.readexactly(5) == b"hello"
    return reader, writer


async def is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.2):
            return await reader.read() == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


async def test_the_one_that_waits_longest_makes_room() -> None:
    async with hosting(limit=2) as listener:
        (first, one), (second, two), (third, three) = [await arrive(listener) for _ in range(3)]

        assert [await is_cut(reader) for reader in (first, second, third)] == [True, False, False]
        for writer in (one, two, three):
            writer.close()


async def test_a_busy_one_is_not_cut_for_another() -> None:
    async with hosting(limit=2) as listener:
        first, one = await arrive(listener)
        one.write(b"x")
        await asyncio.sleep(0.05)
        second, two = await arrive(listener)
        _, three = await arrive(listener)

        assert [await is_cut(reader) for reader in (first, second)] == [False, True]
        for writer in (one, two, three):
            writer.close()


async def test_where_all_are_busy_the_next_one_waits_for_one_to_go() -> None:
    async with hosting(limit=1) as listener:
        _, one = await arrive(listener)
        one.write(b"x")
        await asyncio.sleep(0.05)
        reader, two = await asyncio.open_connection(*listener.getsockname())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readexactly(5)

        one.close()

        async with asyncio.timeout(2):
            assert await reader.readexactly(5) == b"hello"
        two.close()


async def test_a_bug_in_one_connection_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with hosting(limit=5, guests=[Guest, Clumsy, Guest]) as listener:
        first, one = await arrive(listener)
        _, two = await arrive(listener)
        _, three = await arrive(listener)

        assert not await is_cut(first)
        for writer in (one, two, three):
            writer.close()

    assert [record.getMessage() for record in caplog.records] == ["http: a connection ended with a bug"]


async def test_when_the_host_stops_all_are_cut() -> None:
    async with hosting(limit=5) as listener:
        arrived = [await arrive(listener) for _ in range(3)]

    for reader, writer in arrived:
        assert await is_cut(reader)
        writer.close()


async def test_an_address_that_connects_without_end_cuts_its_own_connections() -> None:
    async with hosting(limit=4) as listener:
        quiet, quiet_writer = await arrive(listener, "127.0.0.2")
        flood = [await arrive(listener) for _ in range(12)]

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await quiet.read()
        ended = [reader.at_eof() or reader.exception() is not None for reader, _ in flood]
        assert ended == [True] * 9 + [False] * 3
        for writer in (quiet_writer, *(writer for _, writer in flood)):
            writer.close()
