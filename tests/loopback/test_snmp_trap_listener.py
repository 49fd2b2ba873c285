"""The trap listener on sockets of this host: what comes is judged at once, nothing is lost, nothing is forgotten."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.wire.snmp import PduType
from tests.fakes.trap_listener import counted, levels, listener, secrets
from tests.fakes.traps import ASSERTED, DEASSERTED, FAN, LUNA, REFERENCE, notification_pdu, text, v2c

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hsm_agent.collect.snmp_trap_listener import TrapListener

RAISE = v2c(notification_pdu(FAN, text(REFERENCE, ASSERTED)))
CLEAR = v2c(notification_pdu(FAN, text(REFERENCE, DEASSERTED)))
DISK = v2c(notification_pdu((*LUNA, 5), text(REFERENCE, ASSERTED)))
INFORM = v2c(notification_pdu(FAN, text(REFERENCE, ASSERTED), kind=PduType.INFORM))


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets(monkeypatch)


@contextmanager
def sender(family: int = socket.AF_INET) -> Iterator[socket.socket]:
    """A socket that sends, and can wait for an answer."""
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as own:
        yield own


def send(to: TrapListener, *messages: bytes) -> None:
    host, port = to.addresses[0]
    with sender(socket.AF_INET6 if ":" in host else socket.AF_INET) as own:
        for message in messages:
            own.sendto(message, (host, port))


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


async def test_an_alarm_survives_a_restart_and_its_end_ends_it(tmp_path: Path) -> None:
    first = listener(tmp_path)
    await first.poll()
    send(first, RAISE)
    await first.poll()
    await first.close()

    second = listener(tmp_path)
    poll = await second.poll()
    assert levels(poll) == {"luna-a fan": 1}
    assert poll.complete
    send(second, CLEAR)
    assert levels(await second.poll()) == {"luna-a fan": 0}
    await second.close()


async def test_what_came_and_was_not_judged_yet_is_known_after_the_restart(tmp_path: Path) -> None:
    first = listener(tmp_path)
    await first.poll()
    send(first, RAISE, CLEAR, RAISE)
    await asyncio.sleep(0.05)
    await first.close()

    second = listener(tmp_path)
    assert levels(await second.poll()) == {"luna-a fan": 1}
    await second.close()


async def test_what_has_no_end_of_its_own_ends_by_the_clock_also_across_a_restart(tmp_path: Path) -> None:
    wall = [1_700_000_000.0]
    first = listener(tmp_path, wall=lambda: wall[0], clear_after="1h")
    await first.poll()
    send(first, DISK)
    assert levels(await first.poll()) == {"luna-a disk": 2}
    await first.close()

    second = listener(tmp_path, wall=lambda: wall[0], clear_after="1h")
    assert levels(await second.poll()) == {"luna-a disk": 2}
    wall[0] += 3600
    async with asyncio.timeout(5):
        assert levels(await second.poll()) == {"luna-a disk": 0}
    await second.close()


async def test_what_left_the_configuration_is_not_told_any_more(tmp_path: Path) -> None:
    first = listener(tmp_path)
    await first.poll()
    send(first, RAISE)
    await first.poll()
    await first.close()

    async def known(**keys: Any) -> dict[str, int]:
        one = listener(tmp_path, **keys)
        found = levels(await one.poll())
        await one.close()
        return found

    assert await known(devices={"127.0.0.1": "b"}) == {"b fan": 1}
    assert await known(vendors=["luna"]) == {"luna-a fan": 1}
    assert await known(**{"from": ["192.0.2.0/24"]}) == {}
    assert await known() == {}


async def test_a_spoilt_memory_is_no_sign_that_all_is_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = tmp_path / "traps-traps"
    state.mkdir(mode=0o700)
    (state / "alarms.json").write_text("{", encoding="ascii")
    one = listener(tmp_path)

    poll = await one.poll()

    assert not poll.complete
    assert "alarms from before the start are not known" in caplog.text
    assert json.loads((state / "alarms.json").read_text())["alarms"] == []
    await one.close()


async def test_a_disk_that_refuses_is_told_until_it_takes_again(tmp_path: Path) -> None:
    one = listener(tmp_path, every="50ms")
    await one.poll()
    (tmp_path / "traps-traps" / "alarms.new").mkdir()
    send(one, RAISE)
    poll = await one.poll()
    assert levels(poll) == {"luna-a fan": 1}
    assert "cannot be written, a restart would forget alarms" in poll.errors[0]

    (tmp_path / "traps-traps" / "alarms.new").rmdir()
    assert (await one.poll()).errors == ()
    assert "fan" in (tmp_path / "traps-traps" / "alarms.json").read_text()
    await one.close()


async def test_a_resource_is_forgotten_for_good(tmp_path: Path) -> None:
    one = listener(tmp_path, every="50ms")
    assert not await one.forget("luna-a")
    await one.poll()
    send(one, RAISE)
    await one.poll()

    assert await one.forget("luna-a")
    assert not await one.forget("luna-a")
    assert levels(await one.poll()) == {}
    await one.close()
    again = listener(tmp_path)
    assert levels(await again.poll()) == {}
    await again.close()


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


async def test_a_state_directory_that_is_none_is_a_failure_that_leaves_nothing_open(tmp_path: Path) -> None:
    one = listener(tmp_path / "missing")

    with pytest.raises(SourceFailure, match="the engine for informs cannot start: "):
        await one.poll()

    assert one.addresses == ()
    await one.close()


async def test_it_listens_by_ipv6(tmp_path: Path) -> None:
    one = listener(tmp_path, listen=["udp6:[::1]:0"])
    await one.poll()
    send(one, RAISE)

    assert levels(await one.poll()) == {"luna-6 fan": 1}
    await one.close()


async def test_an_inform_is_acknowledged_once_it_is_on_disk(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    one = listener(tmp_path, every="50ms")
    await one.poll()
    blocked, kept = tmp_path / "traps-traps" / "alarms.new", tmp_path / "traps-traps" / "alarms.json"
    blocked.mkdir()
    with sender() as own:
        own.connect(one.addresses[0])
        await loop.sock_sendall(own, INFORM)
        await one.poll()
        with pytest.raises(BlockingIOError):
            own.recv(65535)
        assert "fan" not in kept.read_text()

        blocked.rmdir()
        await one.poll()
        async with asyncio.timeout(5):
            answer = await loop.sock_recv(own, 65535)
    assert "fan" in kept.read_text()
    assert answer[-20:] == INFORM[-20:]
    await one.close()


async def test_an_inform_that_comes_just_before_the_end_is_kept_and_acknowledged(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    one = listener(tmp_path)
    await one.poll()
    with sender() as own:
        own.connect(one.addresses[0])
        await loop.sock_sendall(own, INFORM)
        await asyncio.sleep(0.05)
        await one.close()
        async with asyncio.timeout(5):
            await loop.sock_recv(own, 65535)
    again = listener(tmp_path)
    assert levels(await again.poll()) == {"luna-a fan": 1}
    await again.close()


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
