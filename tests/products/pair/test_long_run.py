"""A pair for long: all that can happen to it, at random moments, while hundreds of crossings are provoked.

`HSM_AGENT_PAIR_SEED` and `HSM_AGENT_PAIR_ROUNDS` change what happens when, and how often; what is found is printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.peers import pair_losses, pair_scenarios
from tests.peers.pair import AGENTS, RULE, SITES, Pair
from tests.peers.verdict import delays, longest_and_median, repeats
from tests.system.test_group_scenarios import ALL, run, see_history

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SEED = int(os.environ.get("HSM_AGENT_PAIR_SEED", str(time.time_ns() % 1_000_000)))
ROUNDS = int(os.environ.get("HSM_AGENT_PAIR_ROUNDS", "3"))
RESOURCES, CROSSINGS = 25, 300
LOSSES: tuple[Callable[[Pair, random.Random], Awaitable[None]], ...] = (
    pair_losses.etcd_all_paused,
    pair_losses.both_paused,
    pair_losses.state_lost,
    pair_losses.leader_heard_by_nobody,
    pair_losses.etcd_put_back,
)


class Disturber:
    """Does something to a pair, and undoes it."""

    def __init__(self, pair: Pair, chance: random.Random) -> None:
        self._pair = pair
        self._chance = chance
        self.done: list[str] = []
        self._undo: list[Callable[[], Awaitable[object]]] = []

    async def disturb(self) -> None:
        what = self._chance.choice(
            (self._nothing, self._kill, self._kill, self._pause, self._stop, self._kill_standby, self._kill_etcd,
             self._pause_etcd, self._cut_sites, self._minority, self._kill_host)
        )  # fmt: skip
        self.done.append(f"{what.__name__.strip('_')} at {time.time() % 1000:.1f}")
        await what()

    async def undo(self) -> None:
        for undo in reversed(self._undo):
            await undo()
        self._undo.clear()
        await self._pair.etcd.until_ready()

    async def _nothing(self) -> None:
        await asyncio.sleep(0)

    async def _leader(self) -> str:
        return await self._pair.until_led()

    async def _kill(self, name: str = "") -> None:
        leader = name or await self._leader()
        began = await self._pair.kill(leader)
        self._undo.append(lambda: self._pair.start(leader))
        if not name:
            await self._pair.taken_over(began, from_=leader)

    async def _kill_standby(self) -> None:
        await self._kill(self._pair.other(await self._leader()))

    async def _pause(self) -> None:
        leader = await self._leader()
        began = self._pair.pause(leader)

        async def wake() -> None:
            self._pair.wake(leader)

        self._undo.append(wake)
        await self._pair.taken_over(began, from_=leader)

    async def _stop(self) -> None:
        leader = await self._leader()
        self._pair.silent.add(leader)
        await self._pair.agents[leader].stop()
        self._undo.append(lambda: self._pair.start(leader))

    async def _kill_etcd(self) -> None:
        member = self._chance.choice(self._pair.etcd.members)
        await member.kill()
        self._undo.append(member.start)

    async def _pause_etcd(self) -> None:
        member = self._chance.choice(self._pair.etcd.members)
        os.kill(member.pid, signal.SIGSTOP)

        async def wake() -> None:
            os.kill(member.pid, signal.SIGCONT)

        self._undo.append(wake)

    async def _cut_sites(self) -> None:
        await self._pair.sites.cut("a", "b")
        self._undo.append(self._pair.sites.join)

    async def _minority(self) -> None:
        leader = await self._leader()
        began = time.monotonic()
        await self._pair.sites.cut(AGENTS[leader], *({*SITES[:3]} - {AGENTS[leader]}))
        self._undo.append(self._pair.sites.join)
        await self._pair.taken_over(began, from_=leader)

    async def _kill_host(self) -> None:
        leader = await self._leader()
        member = self._pair.member_at(leader)
        began = await self._pair.kill(leader)
        await member.kill()
        self._undo += [lambda: self._pair.start(leader), member.start]
        await self._pair.taken_over(began, from_=leader)


@pytest.mark.timeout(1200)
async def test_three_hundred_crossings_while_anything_happens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)
    async with Pair(tmp_path, resources=RESOURCES) as pair:
        disturber = Disturber(pair, chance)
        for number in range(CROSSINGS // RESOURCES):
            level = 90 if number % 2 == 0 else 10
            disturbed = asyncio.create_task(disturber.disturb())
            for resource in chance.sample(sorted(pair.levels.of), RESOURCES):
                pair.levels.set([resource], level)
                await asyncio.sleep(chance.uniform(0.0, 0.05))
            await disturbed
            await pair.until_judged()
            await disturber.undo()
            await pair.until_led()
            await pair.until_followed()
        verdict = await pair.settle()
        await see_history(pair)
    _show(capsys, pair, f"seed {SEED}: {', '.join(disturber.done)}", str(verdict))
    assert not verdict.problems, (SEED, verdict.problems)


@pytest.mark.timeout(3600)
async def test_all_scenarios_again_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By one pair, that has all of its past behind it."""
    chance = random.Random(SEED)
    async with Pair(tmp_path, resources=10) as pair:
        for number in range(ROUNDS):
            for scenario in chance.sample((*ALL, *LOSSES), len(ALL) + len(LOSSES)):
                line = await run(pair, scenario, chance)
                with capsys.disabled():
                    print(f"  round {number}, {line.partition(';')[0]}")
    _show(capsys, pair, f"seed {SEED}", str(pair.judged()))


@pytest.mark.timeout(1200)
async def test_takeovers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How long they take: ten times ROUNDS kills of the leader, a moment after a crossing."""
    chance = random.Random(SEED)
    async with Pair(tmp_path) as pair:
        for _ in range(10 * ROUNDS):
            await pair_scenarios.leader_killed(pair, chance)
        verdict = await pair.settle()
    _show(capsys, pair, str(verdict))
    assert not verdict.problems, (SEED, verdict.problems)


def _show(capsys: pytest.CaptureFixture[str], pair: Pair, *lines: str) -> None:
    arrivals = pair.receivers.arrivals()
    told = delays(pair.levels.crossings, arrivals)
    with capsys.disabled():
        print(
            "",
            *lines,
            *repeats(arrivals, RULE),
            f"takeovers: {longest_and_median(pair.takeovers)}",
            f"from a crossing to its first telling: {longest_and_median(told)}",
            sep="\n  ",
        )
