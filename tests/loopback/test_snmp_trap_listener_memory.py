"""What the trap listener keeps: alarms, ends and acknowledgements across restarts, and with a disk that refuses."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.wire.snmp.usm import AuthProtocol, User
from tests.fakes.trap_listener import (
    AUTH,
    CLEAR,
    DISK,
    ENGINE_ID,
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
from tests.fakes.traps import ASSERTED, DEASSERTED, FAN, REFERENCE, notification_pdu, text, v3_trap

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets(monkeypatch)


async def test_an_alarm_survives_a_restart_and_its_end_ends_it(tmp_path: Path) -> None:
    first = listener(tmp_path)
    await next_poll(first)
    send(first, RAISE)
    await next_poll(first)
    await first.close()

    second = listener(tmp_path)
    poll = await next_poll(second)
    assert levels(poll) == {"luna-a fan": 1}
    assert poll.complete
    send(second, CLEAR)
    assert levels(await next_poll(second)) == {"luna-a fan": 0}
    await second.close()


async def test_what_came_and_was_not_judged_yet_is_known_after_the_restart(tmp_path: Path) -> None:
    first = listener(tmp_path)
    await next_poll(first)
    send(first, RAISE, CLEAR, RAISE)
    await received(first, 3)
    await first.close()

    second = listener(tmp_path)
    assert levels(await next_poll(second)) == {"luna-a fan": 1}
    await second.close()


async def test_what_has_no_end_of_its_own_ends_by_the_clock_also_across_a_restart(tmp_path: Path) -> None:
    wall = [1_700_000_000.0]
    first = listener(tmp_path, wall=lambda: wall[0], clear_after="1h")
    await next_poll(first)
    send(first, DISK)
    assert levels(await next_poll(first)) == {"luna-a disk": 2}
    await first.close()

    second = listener(tmp_path, wall=lambda: wall[0], clear_after="1h")
    assert levels(await next_poll(second)) == {"luna-a disk": 2}
    wall[0] += 3600
    async with asyncio.timeout(5):
        assert levels(await next_poll(second)) == {"luna-a disk": 0}
    await second.close()


async def test_what_left_the_configuration_is_not_told_any_more(tmp_path: Path) -> None:
    first = listener(tmp_path)
    await next_poll(first)
    send(first, RAISE)
    await next_poll(first)
    await first.close()

    async def known(**keys: Any) -> dict[str, int]:
        one = listener(tmp_path, **keys)
        found = levels(await next_poll(one))
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

    poll = await next_poll(one)

    assert not poll.complete
    assert "alarms from before the start are not known" in caplog.text
    assert json.loads((state / "alarms.json").read_text())["alarms"] == []
    await one.close()


async def test_a_disk_that_refuses_is_told_until_it_takes_again(tmp_path: Path) -> None:
    one = listener(tmp_path, every="50ms")
    await next_poll(one)
    (tmp_path / "traps-traps" / "alarms.new").mkdir()
    send(one, RAISE)
    poll = await next_poll(one)
    assert levels(poll) == {"luna-a fan": 1}
    assert "cannot be written, a restart would forget alarms" in poll.errors[0]

    (tmp_path / "traps-traps" / "alarms.new").rmdir()
    assert (await next_poll(one)).errors == ()
    assert "fan" in (tmp_path / "traps-traps" / "alarms.json").read_text()
    await one.close()


async def test_an_alarm_that_an_operator_ended_stays_ended(tmp_path: Path) -> None:
    fan = ("traps", "luna-a", "vendor_alarm", (("alarm", "fan"),))
    one = listener(tmp_path)
    assert not await one.end_alarm(fan)
    await next_poll(one)
    send(one, RAISE, DISK)
    await next_poll(one)
    waiting = asyncio.create_task(next_poll(one))
    await asyncio.sleep(0)  # until it waits

    assert await one.end_alarm(fan)
    async with asyncio.timeout(5):
        assert levels(await waiting) == {"luna-a fan": 0, "luna-a disk": 2}
    assert not await one.forget("luna-a")
    await one.close()
    again = listener(tmp_path)
    assert levels(await again.poll()) == {"luna-a fan": 0, "luna-a disk": 2}
    await again.close()


async def test_an_inform_is_acknowledged_once_it_is_on_disk(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    one = listener(tmp_path, every="50ms")
    await next_poll(one)
    blocked, kept = tmp_path / "traps-traps" / "alarms.new", tmp_path / "traps-traps" / "alarms.json"
    blocked.mkdir()
    with sender() as own:
        own.connect(one.addresses[0])
        await loop.sock_sendall(own, INFORM)
        await next_poll(one)
        with pytest.raises(BlockingIOError):
            own.recv(65535)
        assert "fan" not in kept.read_text()

        blocked.rmdir()
        await next_poll(one)
        async with asyncio.timeout(5):
            answer = await loop.sock_recv(own, 65535)
    assert "fan" in kept.read_text()
    assert answer[-20:] == INFORM[-20:]
    await one.close()


async def test_an_inform_that_comes_just_before_the_end_is_kept_and_acknowledged(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    one = listener(tmp_path)
    await next_poll(one)
    with sender() as own:
        own.connect(one.addresses[0])
        await loop.sock_sendall(own, INFORM)
        await received(one, 1)
        await one.close()
        async with asyncio.timeout(5):
            await loop.sock_recv(own, 65535)
    again = listener(tmp_path)
    assert levels(await again.poll()) == {"luna-a fan": 1}
    await again.close()


THERE = User.from_secrets(name="plain", auth=AuthProtocol.SHA, auth_secret=AUTH).localize(bytes.fromhex(ENGINE_ID))


def v3(said: str, *, time: int, number: int = 1) -> bytes:
    """A v3 trap of Luna's fan, as the user `plain` of the listener sends it."""
    engine_id = bytes.fromhex(ENGINE_ID)
    inner = notification_pdu(FAN, text(REFERENCE, said))
    message = v3_trap(
        keys=THERE, engine_id=engine_id, context_engine_id=engine_id, inner=inner, message_id=number, time=time
    )
    return message.encode()


async def test_an_old_clear_that_is_played_again_does_not_end_a_new_alarm(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await next_poll(one)
    old = v3(DEASSERTED, time=1001, number=2)
    send(one, v3(ASSERTED, time=1000), old, v3(ASSERTED, time=1001, number=3))
    await received(one, 3)
    told = [levels(await next_poll(one)) for _ in range(3)]

    send(one, old)
    await received(one, 4)
    again = await one.poll()  # a repetition ends no wait

    assert told == [{"luna-a fan": 1}, {"luna-a fan": 0}, {"luna-a fan": 1}]
    assert levels(again) == {"luna-a fan": 1}
    assert counted(again) == {"received": 4, "repeated": 1}
    await one.close()


async def test_an_old_clear_that_is_played_again_after_a_restart_does_not_end_a_new_alarm(tmp_path: Path) -> None:
    first = listener(tmp_path)
    await next_poll(first)
    old = v3(DEASSERTED, time=1001, number=2)
    send(first, v3(ASSERTED, time=1000), old, v3(ASSERTED, time=1001, number=3))
    await received(first, 3)
    await first.close()

    second = listener(tmp_path)
    await next_poll(second)
    send(second, old)
    await received(second, 1)
    again = await second.poll()

    assert levels(again) == {"luna-a fan": 1}
    assert counted(again) == {"received": 1, "repeated": 1}
    await second.close()


async def test_a_clear_that_was_sent_before_the_raise_and_comes_after_it_ends_nothing(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await next_poll(one)
    send(one, v3(ASSERTED, time=1000))
    await next_poll(one)
    send(one, v3(DEASSERTED, time=990, number=2))
    late = await next_poll(one)

    assert levels(late) == {"luna-a fan": 1}
    assert counted(late) == {"received": 2, "outdated": 1}
    send(one, v3(DEASSERTED, time=1010, number=3))
    assert levels(await next_poll(one)) == {"luna-a fan": 0}
    await one.close()


async def test_an_inform_that_is_repeated_after_a_restart_is_acknowledged_and_judged_no_more(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    first = listener(tmp_path)
    await next_poll(first)
    send(first, INFORM)
    await next_poll(first)
    send(first, CLEAR)
    await next_poll(first)
    await first.close()

    second = listener(tmp_path, every="50ms")
    await next_poll(second)
    with sender() as own:
        own.connect(second.addresses[0])
        await loop.sock_sendall(own, INFORM)
        poll = await next_poll(second)
        async with asyncio.timeout(5):
            await loop.sock_recv(own, 65535)
    assert levels(poll) == {"luna-a fan": 0}
    await second.close()


async def test_an_inform_whose_answer_had_to_wait_too_long_is_acknowledged_when_it_is_repeated(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    one = listener(tmp_path, every="50ms")
    await next_poll(one)
    (tmp_path / "traps-traps" / "alarms.new").mkdir()
    with sender() as own:
        own.connect(one.addresses[0])
        await loop.sock_sendall(own, INFORM)
        await next_poll(one)
        one._unacknowledged.clear()  # as a thousand others behind it would do
        (tmp_path / "traps-traps" / "alarms.new").rmdir()
        await next_poll(one)
        with pytest.raises(BlockingIOError):
            own.recv(65535)
        await loop.sock_sendall(own, INFORM)
        await next_poll(one)
        async with asyncio.timeout(5):
            await loop.sock_recv(own, 65535)
    await one.close()


async def test_an_alarm_that_is_ended_while_the_state_is_written_is_written_again(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await next_poll(one)
    send(one, RAISE)
    await one.wait()
    polling = asyncio.create_task(one.poll())

    def is_unsaved() -> bool:
        return one._is_unsaved

    async with asyncio.timeout(5):
        while not one._alarms.known or is_unsaved():
            await asyncio.sleep(0)
    assert not polling.done()

    assert await one.end_alarm(("traps", "luna-a", "vendor_alarm", (("alarm", "fan"),)))
    await polling

    assert is_unsaved()
    await one.close()
    again = listener(tmp_path)
    assert levels(await again.poll()) == {"luna-a fan": 0}
    await again.close()
