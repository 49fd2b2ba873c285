"""A connection as asyncio drives it, and what is said of its failures."""

from __future__ import annotations

import asyncio
import errno
import ssl

import pytest

from hsm_agent.net.address import describe
from hsm_agent.net.streams import Connection


class Wire(asyncio.Transport):
    """Takes octets and goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = False


def connected(*, keep: bool = True) -> tuple[Connection, Wire]:
    connection, wire = Connection(keep=keep), Wire()
    connection.connection_made(wire)
    return connection, wire


async def test_what_was_received_is_read_once_and_before_the_end_is_told() -> None:
    connection, _ = connected()
    connection.data_received(b"one")
    connection.data_received(b"two")
    connection.eof_received()

    assert connection.unread
    assert await connection.read() == b"onetwo"
    with pytest.raises(ConnectionError, match="closed by the receiver"):
        await connection.read()


async def test_a_reader_is_woken_by_the_end() -> None:
    connection, _ = connected()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_failure(connection))
        await asyncio.sleep(0)
        connection.connection_lost(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    assert reading.result() == "connection reset by peer"


async def _failure(connection: Connection) -> str:
    with pytest.raises(ConnectionError) as caught:
        await connection.read()
    return str(caught.value)


async def test_nothing_is_written_into_a_broken_connection() -> None:
    connection, wire = connected()
    connection.write(b"before")
    connection.eof_received()

    with pytest.raises(ConnectionError, match="closed by the receiver"):
        connection.write(b"after")
    with pytest.raises(ConnectionError, match="closed by the receiver"):
        await connection.acknowledged()
    with pytest.raises(ConnectionError, match="closed by the receiver"):
        await connection.outlives(1)
    assert wire.written == b"before"


async def test_nothing_is_written_before_there_is_a_connection() -> None:
    with pytest.raises(ConnectionError, match="not connected"):
        Connection(keep=True).write(b"x")
    await Connection(keep=True).close()


async def test_a_receiver_that_talks_without_end_is_dropped() -> None:
    connection, wire = connected()
    for _ in range(70):
        connection.data_received(b"x" * 1024)

    assert wire.aborted
    assert connection.broken == "the receiver sends more than was asked for"


async def test_what_nobody_reads_is_not_kept() -> None:
    connection, wire = connected(keep=False)
    for _ in range(100):
        connection.data_received(b"x" * 1024)

    assert not connection.unread
    assert not wire.aborted
    await connection.outlives(0.001)


def test_the_first_reason_stays() -> None:
    connection = Connection(keep=True)
    connection.connection_lost(ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert (_ssl.c:2580)"))
    connection.eof_received()

    assert "tlsv13 alert" in connection.broken


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connection refused"),
        (OSError("no address"), "no address"),
        (ConnectionAbortedError(), "ConnectionAbortedError"),
        (ssl.SSLError(1, "odd"), "TLS: odd"),
    ],
)
def test_failures_are_one_plain_line(error: BaseException, line: str) -> None:
    assert describe(error) == line
