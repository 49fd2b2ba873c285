"""Two agents as one, each scenario once: whatever happens to either, to etcd or to the links, every crossing is told.

Scenarios that leave the pair as it was follow each other in one pair. scripts/test-pair runs them at random moments, in
random order, and for long.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.peers import pair_acts, pair_losses, pair_scenarios, pair_trouble
from tests.peers.pair import Pair
from tests.peers.pair_access import Access
from tests.peers.pair_history import examine, history
from tests.peers.rights import needs_private_mounts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Scenario = Callable[[Pair, random.Random], Awaitable[None]]

SEED = 20261129
AGENTS: tuple[Scenario, ...] = (
    pair_scenarios.leader_killed,
    pair_scenarios.leader_paused,
    pair_scenarios.leader_stopped,
    pair_scenarios.both_killed,
    pair_scenarios.receivers_held,
    pair_scenarios.standby_killed,
    pair_acts.yielded_by_hand,
)
ETCD: tuple[Scenario, ...] = (
    pair_scenarios.etcd_member_killed,
    pair_scenarios.etcd_member_paused,
    pair_scenarios.etcd_member_restarted,
    pair_scenarios.leader_and_its_etcd_killed,
    pair_scenarios.etcd_wiped,
)
LINKS: tuple[Scenario, ...] = (
    pair_scenarios.sites_cut,
    pair_scenarios.leader_in_the_minority,
    pair_scenarios.standby_cut_off,
)
ALONE: tuple[Scenario, ...] = (pair_scenarios.etcd_all_down, pair_scenarios.leader_cut_by_resets)
GUARDED: tuple[Scenario, ...] = (
    pair_trouble.own_certificate_refused,
    pair_trouble.password_refused,
    pair_trouble.server_certificates_expired,
)
ALL = (*AGENTS, *ETCD, *LINKS, *ALONE)
CALM = {pair_scenarios.leader_stopped, pair_scenarios.sites_cut, pair_acts.yielded_by_hand}
"""Nobody dies in the middle of an exchange: nothing is doubled."""
_ROOT = "root:root-password"


async def run(pair: Pair, scenario: Scenario, chance: random.Random) -> str:
    """Run it and judge; what to print."""
    before = dict(pair.judged().doubled)
    try:
        await scenario(pair, chance)
        verdict = await pair.settle()
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{scenario.__name__}: {error}") from error
    assert not verdict.problems, (scenario.__name__, verdict.problems)
    assert scenario not in CALM or dict(verdict.doubled) == before, (scenario.__name__, before, verdict.doubled)
    return (
        f"{scenario.__name__}: {verdict}; takeovers {', '.join(f'{took:.2f} s' for took in pair.takeovers) or 'none'}"
    )


async def run_all(pair: Pair, *scenarios: Scenario) -> None:
    """One after the other."""
    chance = random.Random(SEED)
    for scenario in scenarios:
        print(await run(pair, scenario, chance))
    await see_history(pair)


async def see_history(pair: Pair) -> None:
    """No two agents ever committed in one epoch, and each commit followed the one before."""
    findings = examine(await history(pair.etcd, user="" if pair.access is None else _ROOT))
    assert not findings.problems


@pytest.mark.timeout(180)
async def test_an_etcd_from_a_backup_ends_no_alarm(tmp_path: Path) -> None:
    """Its history is one of two pieces, with commits that are lost between them: what was told is judged alone."""
    async with Pair(tmp_path) as pair:
        print(await run(pair, pair_losses.etcd_put_back, random.Random(SEED)))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenarios", [AGENTS, ETCD, LINKS, ALONE], ids=["agents", "etcd", "links", "alone"])
async def test_every_crossing_is_told(tmp_path: Path, scenarios: tuple[Scenario, ...]) -> None:
    async with Pair(tmp_path) as pair:
        await run_all(pair, *scenarios)


@pytest.mark.timeout(180)
async def test_certificates_and_passwords_that_are_refused(tmp_path: Path) -> None:
    async with Pair(tmp_path, access=Access.make(tmp_path / "access")) as pair:
        await run_all(pair, *GUARDED)


@needs_private_mounts
@pytest.mark.timeout(180)
async def test_a_full_disk_of_the_standby(tmp_path: Path) -> None:
    small = "agent-b"

    async def full(pair: Pair, chance: random.Random) -> None:
        await pair_trouble.standby_disk_full(pair, chance, small)

    async with Pair(tmp_path, disk={small: pair_trouble.on_a_small_disk(tmp_path / small)}) as pair:
        await run_all(pair, full)


@pytest.mark.timeout(180)
async def test_acts_of_operators_are_the_leaders(tmp_path: Path) -> None:
    async with Pair(tmp_path) as pair:
        await run_all(pair, pair_acts.acts_of_operators)


@pytest.mark.timeout(180)
async def test_the_lead_goes_to_who_reads_more_sources(tmp_path: Path) -> None:
    group = {"hand_over_after": f"{pair_acts.HAND_OVER_SECONDS:g}s"}
    async with Pair(tmp_path, group=group, sources=[pair_acts.route_source()]) as pair:
        await run_all(pair, pair_acts.handed_over)


@pytest.mark.timeout(180)
async def test_nothing_is_withdrawn_while_configurations_differ(tmp_path: Path) -> None:
    async with Pair(tmp_path) as pair:
        await pair_acts.configurations_differ(pair, random.Random(SEED))
        verdict = pair.judged()
    assert not verdict.problems
