"""The responder's sockets: they answer, they stand on IPv6, they go away, and what can't be bound is named."""

from __future__ import annotations

import asyncio
import socket
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from hsm_agent.net.udp import UdpListener
from hsm_agent.serve.snmp.responder import SnmpServerError
from tests.fakes.snmp_present import Clock, load_settings, responder, store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def echo(datagram: bytes, address: str) -> bytes | None:
    return datagram + b" from " + address.encode() if datagram else None


async def ask(client: socket.socket, datagram: bytes, address: tuple[str, int]) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendto(client, datagram, address)
    async with asyncio.timeout(5):
        return await loop.sock_recv(client, 65535)


def udp(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_a_datagram_is_answered_to_its_sender(host: str, family: socket.AddressFamily) -> None:
    listener = UdpListener(host, 0, echo)
    listener.start()
    with udp(family) as client:
        answer = await ask(client, b"hello", listener.address)
    listener.close()

    assert answer == f"hello from {host}".encode()


async def test_a_datagram_can_be_answered_later_and_not_after_the_end() -> None:
    owed: list[Callable[[bytes], None]] = []
    listener = UdpListener("127.0.0.1", 0, lambda _datagram, _address: owed.append(listener.later()))
    listener.start()
    with udp() as client:
        await asyncio.get_running_loop().sock_sendto(client, b"hello", listener.address)
        async with asyncio.timeout(5):
            while not owed:
                await asyncio.sleep(0.01)
            owed[0](b"at last")
            answer = await asyncio.get_running_loop().sock_recv(client, 100)
        listener.close()
        owed[0](b"too late")
        await asyncio.sleep(0.05)
        with pytest.raises(BlockingIOError):
            client.recv(100)

    assert answer == b"at last"


async def test_a_socket_on_every_address_answers_from_the_one_that_was_asked() -> None:
    listener = UdpListener("0.0.0.0", 0, echo)
    listener.start()
    with udp() as client:
        client.connect(("127.0.0.2", listener.address[1]))  # from now on the kernel drops what others send
        await asyncio.get_running_loop().sock_sendall(client, b"hello")
        async with asyncio.timeout(5):
            answer = await asyncio.get_running_loop().sock_recv(client, 100)
        own = client.getsockname()[0]
    listener.close()

    assert answer == f"hello from {own}".encode()


async def test_a_socket_on_every_ipv6_address_answers() -> None:
    listener = UdpListener("::", 0, echo)
    listener.start()
    with udp(socket.AF_INET6) as client:
        client.connect(("::1", listener.address[1]))
        await asyncio.get_running_loop().sock_sendall(client, b"hello")
        async with asyncio.timeout(5):
            answer = await asyncio.get_running_loop().sock_recv(client, 100)
    listener.close()

    assert answer == b"hello from ::1"


async def test_many_at_once_are_all_answered() -> None:
    listener = UdpListener("127.0.0.1", 0, echo)
    loop = asyncio.get_running_loop()
    with udp() as client:
        for number in range(100):
            await loop.sock_sendto(client, str(number).encode(), listener.address)
        listener.start()
        async with asyncio.timeout(5):
            answers = [await loop.sock_recv(client, 100) for _ in range(100)]
    listener.close()

    assert answers == [f"{number} from 127.0.0.1".encode() for number in range(100)]


async def test_costly_requests_let_others_have_their_turn() -> None:
    def costly(datagram: bytes, _address: str) -> bytes:
        until = time.monotonic() + 0.02
        while time.monotonic() < until:
            pass
        handled.append(len(turns))
        return datagram

    handled: list[int] = []
    turns: list[float] = []
    listener = UdpListener("127.0.0.1", 0, costly)
    loop = asyncio.get_running_loop()
    with udp() as client:
        for _ in range(8):
            await loop.sock_sendto(client, b"hello", listener.address)
        listener.start()
        while len(handled) < 8:
            turns.append(time.monotonic())
            await asyncio.sleep(0)
    listener.close()

    assert all(later > earlier for earlier, later in pairwise(handled))


async def test_what_has_no_answer_stays_silent_and_does_not_stop_the_rest() -> None:
    listener = UdpListener("127.0.0.1", 0, echo)
    listener.start()
    with udp() as client:
        await asyncio.get_running_loop().sock_sendto(client, b"", listener.address)
        answer = await ask(client, b"hello", listener.address)
    listener.close()

    assert answer == b"hello from 127.0.0.1"


async def test_an_answer_that_cannot_be_sent_is_told_once_and_does_not_stop_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer(datagram: bytes, _address: str) -> bytes:
        return b"x" * 70_000 if datagram == b"much" else b"little"

    listener = UdpListener("127.0.0.1", 0, answer)
    listener.start()
    with udp() as client:
        for _ in range(3):
            await asyncio.get_running_loop().sock_sendto(client, b"much", listener.address)
        found = await ask(client, b"hello", listener.address)
    listener.close()

    assert found == b"little"
    assert [record.message for record in caplog.records] == ["snmp: cannot answer 127.0.0.1: Message too long"]


async def test_closing_twice_is_closing() -> None:
    listener = UdpListener("127.0.0.1", 0, echo)
    listener.start()
    port = listener.address[1]

    listener.close()
    listener.close()

    with udp() as again:
        again.bind(("127.0.0.1", port))


async def test_a_port_that_is_taken_is_named_and_nothing_stays_bound(tmp_path: Path) -> None:
    with udp() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        one = await responder(tmp_path, store(), Clock(), listen=["udp:127.0.0.1:0", f"udp:127.0.0.1:{port}"])

        with pytest.raises(SnmpServerError, match=rf"serve\.snmp\.listen: udp:127\.0\.0\.1:{port}: Address already"):
            await one.start()

    assert one.addresses == ()


async def test_reconfiguring_closes_what_is_no_longer_listed_and_keeps_the_rest(tmp_path: Path) -> None:
    one = await responder(tmp_path, store(), Clock(), listen=["udp:127.0.0.1:0", "udp6:[::1]:0"])
    await one.start()
    first, second = one.addresses

    await one.reconfigure(await load_settings(tmp_path, listen=["udp6:[::1]:0"]))

    assert one.addresses == (second,)
    with udp() as again:
        again.bind(first)
    await one.close()


async def test_a_place_moves_to_every_address_on_its_port_and_back_where_that_fails(
    tmp_path: Path, free_port: Callable[[socket.SocketKind], int]
) -> None:
    port = free_port(socket.SOCK_DGRAM)
    one = await responder(tmp_path, store(), Clock(), listen=[f"udp:127.0.0.1:{port}"])
    await one.start()
    with udp() as taken:
        taken.bind(("127.0.0.1", 0))
        both = [f"udp:0.0.0.0:{port}", f"udp:127.0.0.1:{taken.getsockname()[1]}"]
        with pytest.raises(SnmpServerError, match="Address already in use"):
            await one.reconfigure(await load_settings(tmp_path, listen=both))
    assert one.addresses == (("127.0.0.1", port),)

    await one.reconfigure(await load_settings(tmp_path, listen=[f"udp:0.0.0.0:{port}"]))
    assert one.addresses == (("0.0.0.0", port),)
    await one.close()
