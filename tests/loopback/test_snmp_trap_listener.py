"""The trap listener on sockets of this host: what comes is judged at once, nothing is lost, nothing grows."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.traps.held_alarms import MOST_ALARMS_EACH
from hsm_agent.collect.traps.intake import MOST_PENDING_EACH
from hsm_agent.wire.snmp.usm import load_aes
from tests.fakes.trap_listener import (
    CLEAR,
    DISK,
    INFORM,
    RAISE,
    counted,
    levels,
    listener,
    next_poll,
    received,
    secrets,
    send,
    sender,
)
from tests.fakes.traps import notification_pdu, text, v2c

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.collect.base import Poll
    from hsm_agent.collect.traps.source import TrapListener

OWN = (1, 3, 6, 1, 4, 1, 32473)
PSU_MAPS = [
    {"trap": "1.3.6.1.4.1.32473.1", "alarm": "psu", "resource": "1.3.6.1.4.1.32473.9"},
    {"trap": "1.3.6.1.4.1.32473.2", "alarm": "psu", "does": "clear", "resource": "1.3.6.1.4.1.32473.9"},
]


async def invent(one: TrapListener, count: int) -> Poll:
    """Have an address raise warnings of that many components."""
    poll = await next_poll(one)
    for start in range(0, count, 20):
        psus = range(start, min(start + 20, count))
        send(one, *[v2c(notification_pdu((*OWN, 1), text((*OWN, 9), str(number)))) for number in psus])
        async with asyncio.timeout(10):
            while counted(poll).get("received", 0) < psus.stop or (one._intake is not None and one._intake.pending):
                poll = await next_poll(one)
    return poll


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets(monkeypatch)


async def test_the_first_poll_opens_the_socket_and_does_not_wait(tmp_path: Path) -> None:
    one = listener(tmp_path)

    async with asyncio.timeout(5):
        poll = await next_poll(one)

    assert (levels(poll), counted(poll), poll.errors, poll.next_in_seconds) == ({}, {}, (), 0.0)
    assert one.addresses[0][1] > 0
    await one.close()
    assert one.addresses == ()


async def test_the_cipher_is_loaded_before_the_first_encrypted_trap(tmp_path: Path) -> None:
    one = listener(tmp_path)
    load_aes.cache_clear()

    await next_poll(one)

    assert load_aes.cache_info().currsize
    await one.close()


async def test_a_trap_ends_the_wait_at_once(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await next_poll(one)
    waiting = asyncio.create_task(next_poll(one))
    await asyncio.sleep(0)  # until it waits

    began = time.perf_counter()
    send(one, RAISE)
    poll = await waiting
    took = time.perf_counter() - began

    assert levels(poll) == {"luna-a fan": 1}
    assert took < 0.5
    await one.close()


async def test_without_traps_a_poll_comes_back_after_its_time(tmp_path: Path) -> None:
    one = listener(tmp_path, every="100ms")
    await next_poll(one)

    began = time.perf_counter()
    poll = await next_poll(one)

    assert levels(poll) == {}
    assert time.perf_counter() - began >= 0.09
    await one.close()


async def test_a_raise_and_a_clear_between_two_polls_are_both_told(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await next_poll(one)
    send(one, RAISE, DISK, RAISE, CLEAR, RAISE)
    await received(one, 5)

    async with asyncio.timeout(5):
        told = [levels(await next_poll(one)) for _ in range(3)]

    assert told == [
        {"luna-a fan": 1, "luna-a disk": 2},
        {"luna-a fan": 0, "luna-a disk": 2},
        {"luna-a fan": 1, "luna-a disk": 2},
    ]
    await one.close()


async def test_alarms_for_which_there_is_no_room_are_counted(tmp_path: Path) -> None:
    one = listener(tmp_path, maps=PSU_MAPS)
    poll = await invent(one, MOST_ALARMS_EACH + 20)

    assert len(levels(poll)) == MOST_ALARMS_EACH
    assert counted(poll) == {"received": MOST_ALARMS_EACH + 20, "alarms-full": 20}
    await one.close()


async def test_an_inform_whose_alarm_has_no_room_is_not_acknowledged(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    one = listener(tmp_path, maps=PSU_MAPS)
    await invent(one, 1000)
    with sender() as own:
        own.connect(one.addresses[0])
        await loop.sock_sendall(own, INFORM)
        await next_poll(one)
        with pytest.raises(BlockingIOError):
            own.recv(65535)

        send(one, v2c(notification_pdu((*OWN, 2), text((*OWN, 9), "7"))))  # one of the others is over
        await next_poll(one)
        await loop.sock_sendall(own, INFORM)
        poll = await next_poll(one)
        async with asyncio.timeout(5):
            await loop.sock_recv(own, 65535)
    assert levels(poll)["luna-a fan"] == 1
    await one.close()


async def test_a_critical_alarm_gets_through_whatever_its_address_invented(tmp_path: Path) -> None:
    one = listener(tmp_path, maps=PSU_MAPS)
    await invent(one, 1000)

    send(one, DISK)
    poll = await next_poll(one)

    assert levels(poll)["luna-a disk"] == 2
    assert levels(poll)["luna-a/0 psu"] == 0
    (evicted,) = [reading for reading in poll.readings if reading.value is None]
    assert evicted.resource == "luna-a/0"
    assert not poll.complete, "what was pushed out has not left the configuration"
    await one.close()


async def test_another_sender_is_heard_whatever_one_invents(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    one = listener(tmp_path, maps=PSU_MAPS)
    await invent(one, 1000)
    with sender() as own:
        own.bind(("127.0.0.2", 0))
        own.connect(one.addresses[0])
        await loop.sock_sendall(own, INFORM)
        poll = await next_poll(one)
        async with asyncio.timeout(5):
            await loop.sock_recv(own, 65535)

    assert levels(poll)["127.0.0.2 fan"] == 1
    await one.close()


async def test_who_flaps_holds_up_nobody_else(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await next_poll(one)
    send(one, *[RAISE, CLEAR] * 40)
    with sender() as own:
        own.bind(("127.0.0.2", 0))
        own.sendto(DISK, one.addresses[0])
    await received(one, 81)

    assert levels(await next_poll(one)) == {"luna-a fan": 1, "127.0.0.2 disk": 2}
    await one.close()


async def test_a_port_that_is_taken_is_a_failure_that_leaves_nothing_open(tmp_path: Path) -> None:
    first = listener(tmp_path / "a", listen=["udp:127.0.0.1:0"])
    (tmp_path / "a").mkdir()
    await next_poll(first)
    taken = first.addresses[0][1]
    (tmp_path / "b").mkdir()
    second = listener(tmp_path / "b", listen=["udp:127.0.0.1:0", f"udp:127.0.0.1:{taken}"])

    with pytest.raises(SourceFailure, match=f"cannot listen at udp:127.0.0.1:{taken}: Address already in use; see"):
        await next_poll(second)

    refused = second.addresses
    await first.close()
    await next_poll(second)
    assert (len(refused), len(second.addresses)) == (0, 2)
    await second.close()


async def test_without_a_state_directory_v3_informs_alone_are_held_back_until_there_is_one(tmp_path: Path) -> None:
    one = listener(tmp_path / "missing", every="10ms")

    await next_poll(one)
    send(one, RAISE)
    poll = await next_poll(one)
    assert levels(poll) == {"luna-a fan": 1}
    assert [error.partition(":")[0] for error in poll.errors] == [
        f"{tmp_path}/missing/traps-traps",
        "informs of SNMPv3 are held back, the engine for them cannot start",
    ]

    (tmp_path / "missing").mkdir()
    for _ in range(2):
        poll = await next_poll(one)
    assert poll.errors == ()
    assert (tmp_path / "missing" / "traps-traps" / "snmp-engine.json").is_file()
    await one.close()


async def test_a_start_that_takes_too_long_is_a_failure_that_leaves_nothing_open(tmp_path: Path) -> None:
    one = listener(tmp_path, timeout="1ms")

    with pytest.raises(SourceFailure, match=r"no start within 0.001 s: look at the state's disk"):
        await next_poll(one)

    assert one.addresses == ()
    await one.close()


async def test_it_listens_by_ipv6(tmp_path: Path) -> None:
    one = listener(tmp_path, listen=["udp6:[::1]:0"])
    await next_poll(one)
    send(one, RAISE)

    assert levels(await next_poll(one)) == {"luna-6 fan": 1}
    await one.close()


async def test_a_flood_is_bounded_counted_and_survived(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await next_poll(one)
    for _ in range(40):
        send(one, *[RAISE, CLEAR] * 25)
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)  # what the kernel still held is read

    poll = await next_poll(one)

    told = counted(poll)
    assert told["received"] > 1000
    assert told["queue-full"] == told["received"] - MOST_PENDING_EACH
    async with asyncio.timeout(20):
        while one._intake is not None and one._intake.pending:
            poll = await next_poll(one)
    send(one, RAISE)
    assert levels(await next_poll(one)) == {"luna-a fan": 1}
    await one.close()


async def test_what_the_kernel_drops_is_counted(tmp_path: Path) -> None:
    one = listener(tmp_path, every="50ms")
    await next_poll(one)
    big = v2c(notification_pdu((*OWN, 7), text((*OWN, 9), "x" * 7000)))
    send(one, *[big] * 400)  # more than the socket's buffer holds, before the event loop has its turn

    async with asyncio.timeout(10):
        told: dict[str, int] = {}
        while told.get("socket-full", 0) + told.get("received", 0) < 400:
            told = counted(await next_poll(one))

    assert told["socket-full"] > 0
    await one.close()
