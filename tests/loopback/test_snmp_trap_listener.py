"""The trap listener on sockets of this host: what comes is judged at once, nothing is lost, nothing grows."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.traps.alarms import MOST_ALARMS
from tests.fakes.trap_listener import CLEAR, DISK, RAISE, counted, levels, listener, secrets, send
from tests.fakes.traps import notification_pdu, text, v2c

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets(monkeypatch)


async def test_the_first_poll_opens_the_socket_and_does_not_wait(tmp_path: Path) -> None:
    one = listener(tmp_path)

    async with asyncio.timeout(5):
        poll = await one.poll()

    assert (levels(poll), counted(poll), poll.errors, poll.next_in) == ({}, {}, (), 0.0)
    assert one.addresses[0][1] > 0
    await one.close()
    assert one.addresses == ()


async def test_a_trap_ends_the_wait_at_once(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await one.poll()
    waiting = asyncio.create_task(one.poll())
    await asyncio.sleep(0.05)

    began = time.perf_counter()
    send(one, RAISE)
    poll = await waiting
    took = time.perf_counter() - began

    assert levels(poll) == {"luna-a fan": 1}
    assert took < 0.5
    assert 0.04 < poll.waited_seconds < 5
    await one.close()


async def test_without_traps_a_poll_comes_back_after_its_time(tmp_path: Path) -> None:
    one = listener(tmp_path, every="100ms")
    await one.poll()

    poll = await one.poll()

    assert levels(poll) == {}
    assert poll.waited_seconds >= 0.09
    await one.close()


async def test_a_raise_and_a_clear_between_two_polls_are_both_told(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await one.poll()
    send(one, RAISE, DISK, RAISE, CLEAR, RAISE)
    await asyncio.sleep(0.05)

    async with asyncio.timeout(5):
        told = [levels(await one.poll()) for _ in range(3)]

    assert told == [
        {"luna-a fan": 1, "luna-a disk": 2},
        {"luna-a fan": 0, "luna-a disk": 2},
        {"luna-a fan": 1, "luna-a disk": 2},
    ]
    await one.close()


async def test_alarms_for_which_there_is_no_room_are_counted(tmp_path: Path) -> None:
    own = (1, 3, 6, 1, 4, 1, 32473)
    maps = [{"trap": "1.3.6.1.4.1.32473.1", "alarm": "psu", "resource": "1.3.6.1.4.1.32473.2"}]
    one = listener(tmp_path, maps=maps)
    poll = await one.poll()
    for start in range(0, MOST_ALARMS + 20, 20):
        psus = range(start, start + 20)
        send(one, *[v2c(notification_pdu((*own, 1), text((*own, 2), str(number)))) for number in psus])
        await asyncio.sleep(0.005)
        poll = await one.poll()

    assert len(levels(poll)) == MOST_ALARMS
    assert counted(poll) == {"received": MOST_ALARMS + 20, "alarms-full": 20}
    await one.close()


async def test_a_port_that_is_taken_is_a_failure_that_leaves_nothing_open(tmp_path: Path) -> None:
    first = listener(tmp_path / "a", listen=["udp:127.0.0.1:0"])
    (tmp_path / "a").mkdir()
    await first.poll()
    taken = first.addresses[0][1]
    (tmp_path / "b").mkdir()
    second = listener(tmp_path / "b", listen=["udp:127.0.0.1:0", f"udp:127.0.0.1:{taken}"])

    with pytest.raises(SourceFailure, match=f"cannot listen at udp:127.0.0.1:{taken}: Address already in use; see"):
        await second.poll()

    refused = second.addresses
    await first.close()
    await second.poll()
    assert (len(refused), len(second.addresses)) == (0, 2)
    await second.close()


async def test_without_a_state_directory_v3_informs_alone_are_held_back_until_there_is_one(tmp_path: Path) -> None:
    one = listener(tmp_path / "missing", every="10ms")

    await one.poll()
    send(one, RAISE)
    poll = await one.poll()
    assert levels(poll) == {"luna-a fan": 1}
    assert [error.partition(":")[0] for error in poll.errors] == [
        f"{tmp_path}/missing/traps-traps",
        "informs of SNMPv3 are held back, the engine for them cannot start",
    ]

    (tmp_path / "missing").mkdir()
    for _ in range(2):
        poll = await one.poll()
    assert poll.errors == ()
    assert (tmp_path / "missing" / "traps-traps" / "snmp-engine.json").is_file()
    await one.close()


async def test_a_start_that_takes_too_long_is_a_failure_that_leaves_nothing_open(tmp_path: Path) -> None:
    one = listener(tmp_path, timeout="1ms")

    with pytest.raises(SourceFailure, match=r"no start within 0.001 s: look at the state's disk"):
        await one.poll()

    assert one.addresses == ()
    await one.close()


async def test_it_listens_by_ipv6(tmp_path: Path) -> None:
    one = listener(tmp_path, listen=["udp6:[::1]:0"])
    await one.poll()
    send(one, RAISE)

    assert levels(await one.poll()) == {"luna-6 fan": 1}
    await one.close()


async def test_a_flood_is_bounded_counted_and_survived(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await one.poll()
    for _ in range(40):
        send(one, *[RAISE, CLEAR] * 25)
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)  # what the kernel still held is read

    poll = await one.poll()

    told = counted(poll)
    assert told["received"] > 1000
    assert told["queue-full"] == told["received"] - 1000
    async with asyncio.timeout(20):
        while one._intake is not None and one._intake.waiting:
            poll = await one.poll()
    send(one, RAISE)
    assert levels(await one.poll()) == {"luna-a fan": 1}
    await one.close()
