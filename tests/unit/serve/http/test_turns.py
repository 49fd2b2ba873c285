"""serve.turns: one at a time, every address in its turn, and room for so many."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hsm_agent.serve.http.turns import TooManyWaitError, Turns, network_of

if TYPE_CHECKING:
    from collections.abc import Hashable


class Hall:
    """Turns, and who had theirs."""

    def __init__(self, *, most: int = 8, most_each: int = 4) -> None:
        self.turns = Turns(most=most, most_each=most_each)
        self.served: list[str] = []
        self.door = asyncio.Event()

    async def come(self, name: str, place: str, lane: Hashable = None, *, urgent: bool = False) -> None:
        async with self.turns.turn(place, lane, urgent=urgent):
            await self.door.wait()
            self.served.append(name)

    async def queue(self, *wanted: tuple[str, str] | tuple[str, str, str]) -> list[asyncio.Task[None]]:
        """Let them come one after the other, and stand where they stand then."""
        tasks = [asyncio.create_task(self.come(*one)) for one in wanted]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return tasks

    async def open(self, tasks: list[asyncio.Task[None]]) -> list[str]:
        """Serve all; who was served, in order."""
        self.door.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return self.served


async def test_addresses_come_in_turn_however_many_come_from_one() -> None:
    hall = Hall()
    tasks = await hall.queue(("a1", "a"), ("a2", "a"), ("a3", "a"), ("a4", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b"))

    assert await hall.open(tasks) == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_at_one_address_lanes_come_in_turn() -> None:
    hall = Hall()
    tasks = await hall.queue(("x0", "a", "x"), ("x1", "a", "x"), ("x2", "a", "x"), ("x3", "a", "x"), ("y1", "a", "y"))

    assert await hall.open(tasks) == ["x0", "x1", "y1", "x2", "x3"]


async def test_the_room_of_one_address_is_bounded() -> None:
    hall = Hall()
    tasks = await hall.queue(*[(f"a{n}", "a") for n in range(5)])

    with pytest.raises(TooManyWaitError):
        await hall.come("a5", "a")
    assert await hall.open(tasks) == ["a0", "a1", "a2", "a3", "a4"]


async def test_a_lane_has_its_share_of_the_room_of_its_address() -> None:
    hall = Hall()
    tasks = await hall.queue(*[(f"x{n}", "a", "x") for n in range(5)], ("y1", "a", "y"))

    assert await hall.open(tasks) == ["x0", "x1", "y1", "x2", "x3"]
    assert isinstance(tasks[4].exception(), TooManyWaitError)


async def test_who_is_urgent_takes_the_network_of_the_last_who_is_not() -> None:
    hall = Hall()
    tasks = await hall.queue(*[(f"a{n}", "a") for n in range(5)])
    tasks.append(asyncio.create_task(hall.come("urgent", "a", urgent=True)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert await hall.open(tasks) == ["a0", "urgent", "a1", "a2", "a3"]


async def test_who_is_urgent_has_no_claim_on_others_who_are() -> None:
    hall = Hall()
    tasks = [asyncio.create_task(hall.come(f"a{n}", "a", urgent=True)) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    with pytest.raises(TooManyWaitError):
        await hall.come("more", "a", urgent=True)
    assert await hall.open(tasks) == ["a0", "a1", "a2", "a3", "a4"]


async def test_in_a_full_hall_who_comes_alone_takes_the_network_of_one_of_many() -> None:
    hall = Hall()
    tasks = await hall.queue(("first", "z"), *[(f"{p}{n}", p) for p in "ab" for n in range(4)], ("c1", "c"))

    assert await hall.open(tasks) == ["first", "a0", "b0", "c1", "a1", "b1", "a2", "b2", "b3"]
    assert isinstance(tasks[4].exception(), TooManyWaitError)


async def test_in_a_hall_full_of_such_as_come_alone_there_is_no_room() -> None:
    hall = Hall()
    tasks = await hall.queue(("first", "z"), *[(f"{p}1", p) for p in "abcdefgh"])

    with pytest.raises(TooManyWaitError):
        await hall.come("i1", "i")
    assert len(await hall.open(tasks)) == 9


async def test_who_goes_away_holds_up_nobody() -> None:
    hall = Hall()
    holding, waiting, last = await hall.queue(("a1", "a"), ("a2", "a"), ("a3", "a"))
    waiting.cancel()
    await asyncio.sleep(0)
    holding.cancel()
    await asyncio.sleep(0)

    assert await hall.open([holding, waiting, last]) == ["a3"]


async def test_who_goes_away_when_called_passes_the_turn_on() -> None:
    hall = Hall()
    holding, waiting, last = await hall.queue(("a1", "a"), ("a2", "a"), ("a3", "a"))
    holding.cancel()
    await asyncio.sleep(0)  # its end calls the next one, which is cancelled before it hears of it
    waiting.cancel()

    assert await hall.open([holding, waiting, last]) == ["a3"]
    await hall.come("later", "b")
    assert hall.served == ["a3", "later"]


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nowhere", ""),
        (None, ""),
    ],
)
def test_a_place_is_a_host_or_a_network_of_hosts(address: str | None, place: str) -> None:
    assert network_of(address) == place
