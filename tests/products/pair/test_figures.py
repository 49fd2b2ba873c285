"""How long each failure holds up what is told, and what comes twice: for the table of docs/group.md.

Each scenario `HSM_AGENT_PAIR_TIMES` times by one pair; a line each is printed.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.peers import pair_losses
from tests.peers.pair import RULE, Pair
from tests.peers.verdict import delays, longest_and_median
from tests.system.test_group_scenarios import ALL, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SEED = 20261129
TIMES = int(os.environ.get("HSM_AGENT_PAIR_TIMES", "10"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "scenario", (*ALL, pair_losses.etcd_all_paused, pair_losses.leader_heard_by_nobody), ids=lambda each: each.__name__
)
async def test_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scenario: Callable[[Pair, random.Random], Awaitable[None]]
) -> None:
    chance = random.Random(SEED)
    slowest = []
    async with Pair(tmp_path, resources=10) as pair:
        for _ in range(TIMES):
            before = len(pair.levels.crossings)
            await run(pair, scenario, chance)
            told = [each for each in pair.receivers.arrivals() if each.rule == RULE]
            slowest.append(max(delays(pair.levels.crossings[before:], told)))
        verdict = pair.judged()
    with capsys.disabled():
        print(
            f"\n  {scenario.__name__}: takeover {longest_and_median(pair.takeovers)};"
            f" slowest crossing {longest_and_median(slowest)}; {verdict}"
        )
