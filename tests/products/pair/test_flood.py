"""Hundreds of crossings at once, so that a commit is many transactions, and the leader is gone in the middle of one."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.peers.pair import AGENTS, RULE, SITES, Pair
from tests.peers.verdict import longest_and_median, repeats
from tests.system.test_group_scenarios import see_history

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SEED = int(os.environ.get("HSM_AGENT_PAIR_SEED", str(time.time_ns() % 1_000_000)))
RESOURCES, FLOODS = 400, 8


async def _killed(pair: Pair, leader: str) -> Callable[[], Awaitable[None]]:
    await pair.kill(leader)
    return lambda: pair.start(leader)


async def _paused(pair: Pair, leader: str) -> Callable[[], Awaitable[None]]:
    pair.pause(leader)

    async def wake() -> None:
        pair.wake(leader)

    return wake


async def _cut_off(pair: Pair, leader: str) -> Callable[[], Awaitable[None]]:
    await pair.sites.cut(AGENTS[leader], *({*SITES[:3]} - {AGENTS[leader]}))
    return pair.sites.join


@pytest.mark.timeout(600)
async def test_a_flood_in_which_the_leader_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(SEED)
    async with Pair(tmp_path, resources=RESOURCES) as pair:
        for number in range(FLOODS):
            leader = await pair.until_led()
            pair.levels.set(tuple(pair.levels.of), 90 if number % 2 == 0 else 10)
            await asyncio.sleep(chance.uniform(0.1, 1.0))
            began = time.monotonic()
            undo = await chance.choice((_killed, _paused, _cut_off))(pair, leader)
            await pair.taken_over(began, from_=leader, seconds=30)
            await pair.until_judged(seconds=60)
            await undo()
            await pair.until_followed(seconds=60)
        verdict = await pair.settle(seconds=120)
        await see_history(pair)
    with capsys.disabled():
        print("", f"seed {SEED}: {verdict}", *repeats(pair.receivers.arrivals(), RULE), sep="\n  ")
        print(f"  takeovers: {longest_and_median(pair.takeovers)}")
    assert not verdict.problems, (SEED, verdict.problems[:5])
