"""One holder at a time, every network in its turn, and a bounded number of waiters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hsm_agent.serve.http.basic_auth import FairLock, TooManyWaitersError, network_of

if TYPE_CHECKING:
    from collections.abc import Hashable


class Crowd:
    """Clients of one lock, and the order in which they held it."""

    def __init__(self) -> None:
        self.lock = FairLock(max_waiters=8, max_waiters_each=4)
        self.served: list[str] = []
        self.release = asyncio.Event()

    async def come(self, name: str, network: str, flow: Hashable = None, *, urgent: bool = False) -> None:
        async with self.lock.hold(network, flow, urgent=urgent):
            await self.release.wait()
            self.served.append(name)

    async def queue(self, *wanted: tuple[str, str] | tuple[str, str, str]) -> list[asyncio.Task[None]]:
        """Let them ask one after the other, until all wait but the first."""
        tasks = [asyncio.create_task(self.come(*one)) for one in wanted]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return tasks

    async def open(self, tasks: list[asyncio.Task[None]]) -> list[str]:
        """Serve all; who was served, in order."""
        self.release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return self.served


async def test_networks_come_in_turn_however_many_come_from_one() -> None:
    crowd = Crowd()
    tasks = await crowd.queue(("a1", "a"), ("a2", "a"), ("a3", "a"), ("a4", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b"))

    assert await crowd.open(tasks) == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_of_one_network_flows_come_in_turn() -> None:
    crowd = Crowd()
    tasks = await crowd.queue(("x0", "a", "x"), ("x1", "a", "x"), ("x2", "a", "x"), ("x3", "a", "x"), ("y1", "a", "y"))

    assert await crowd.open(tasks) == ["x0", "x1", "y1", "x2", "x3"]


async def test_the_room_of_one_network_is_bounded() -> None:
    crowd = Crowd()
    tasks = await crowd.queue(*[(f"a{n}", "a") for n in range(5)])

    with pytest.raises(TooManyWaitersError):
        await crowd.come("a5", "a")
    assert await crowd.open(tasks) == ["a0", "a1", "a2", "a3", "a4"]


async def test_a_flow_has_its_share_of_the_room_of_its_network() -> None:
    crowd = Crowd()
    tasks = await crowd.queue(*[(f"x{n}", "a", "x") for n in range(5)], ("y1", "a", "y"))

    assert await crowd.open(tasks) == ["x0", "x1", "y1", "x2", "x3"]
    assert isinstance(tasks[4].exception(), TooManyWaitersError)


async def test_who_is_urgent_takes_the_place_of_the_last_who_is_not() -> None:
    crowd = Crowd()
    tasks = await crowd.queue(*[(f"a{n}", "a") for n in range(5)])
    tasks.append(asyncio.create_task(crowd.come("urgent", "a", urgent=True)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert await crowd.open(tasks) == ["a0", "urgent", "a1", "a2", "a3"]


async def test_who_is_urgent_has_no_claim_on_others_who_are() -> None:
    crowd = Crowd()
    tasks = [asyncio.create_task(crowd.come(f"a{n}", "a", urgent=True)) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    with pytest.raises(TooManyWaitersError):
        await crowd.come("more", "a", urgent=True)
    assert await crowd.open(tasks) == ["a0", "a1", "a2", "a3", "a4"]


async def test_who_comes_alone_takes_the_place_of_one_of_many() -> None:
    crowd = Crowd()
    tasks = await crowd.queue(("first", "z"), *[(f"{p}{n}", p) for p in "ab" for n in range(4)], ("c1", "c"))

    assert await crowd.open(tasks) == ["first", "a0", "b0", "c1", "a1", "b1", "a2", "b2", "b3"]
    assert isinstance(tasks[4].exception(), TooManyWaitersError)


async def test_where_all_come_alone_there_is_no_room() -> None:
    crowd = Crowd()
    tasks = await crowd.queue(("first", "z"), *[(f"{p}1", p) for p in "abcdefgh"])

    with pytest.raises(TooManyWaitersError):
        await crowd.come("i1", "i")
    assert len(await crowd.open(tasks)) == 9


async def test_who_goes_away_holds_up_nobody() -> None:
    crowd = Crowd()
    holding, waiting, last = await crowd.queue(("a1", "a"), ("a2", "a"), ("a3", "a"))
    waiting.cancel()
    await asyncio.sleep(0)
    holding.cancel()
    await asyncio.sleep(0)

    assert await crowd.open([holding, waiting, last]) == ["a3"]


async def test_who_goes_away_when_granted_passes_the_lock_on() -> None:
    crowd = Crowd()
    holding, waiting, last = await crowd.queue(("a1", "a"), ("a2", "a"), ("a3", "a"))
    holding.cancel()
    await asyncio.sleep(0)  # its end grants the lock to the next one, which is cancelled before it runs
    waiting.cancel()

    assert await crowd.open([holding, waiting, last]) == ["a3"]
    await crowd.come("later", "b")
    assert crowd.served == ["a3", "later"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nowhere", ""),
        (None, ""),
    ],
)
def test_a_client_is_a_host_or_a_network_of_hosts(address: str | None, network: str) -> None:
    assert network_of(address) == network
