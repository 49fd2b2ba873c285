"""What happens to a pair, and what must then be true; each scenario leaves the pair whole. Needs no pytest.

Each is given a pair and a source of chance for its moments, and returns nothing: what was told is judged at the end, by
who runs it. A takeover takes a lease and a second at most while etcd has a quorum.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

from hsm_agent.model import EventKind
from tests.peers.pair import AGENTS, ALONE_AFTER_SECONDS, LEASE_SECONDS, RULE, is_kind
from tests.peers.receivers import INFORM, RELP
from tests.peers.sites import Cut

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from tests.peers.etcd import EtcdMember
    from tests.peers.pair import Pair

TAKEOVER_SECONDS = LEASE_SECONDS + 1.0
YIELD_SECONDS = 1.0
ELECTION_SECONDS = 2.0
"""Within which a member of etcd that is gone is replaced, at `QUICK`."""


def _some(pair: Pair, chance: random.Random) -> list[str]:
    """About half of the resources that are low, one at least."""
    low = sorted(set(pair.levels.of) - pair.levels.high)
    return chance.sample(low, max(1, len(low) // 2))


async def _moment(chance: random.Random) -> None:
    """Anywhere within two polls."""
    await asyncio.sleep(chance.uniform(0.0, 0.4))


async def _fall(pair: Pair) -> None:
    await pair.cross(up=False)


# Agents.


async def leader_killed(pair: Pair, chance: random.Random) -> None:
    """It may have committed, spooled or told, or half of each, when it is killed."""
    leader = await pair.until_led()
    await pair.cross(*_some(pair, chance), up=True)
    pair.levels.set(tuple(pair.levels.of), 90)
    await _moment(chance)
    began = await pair.kill(leader)
    took = await pair.taken_over(began, from_=leader)
    assert took <= TAKEOVER_SECONDS, f"taken over after {took:.2f} s"
    await pair.until_judged()
    await pair.start(leader)
    await pair.until_followed()
    await _fall(pair)


async def leader_paused(pair: Pair, chance: random.Random) -> None:
    """It is fenced when it wakes, and tells nothing of what it still held."""
    leader = await pair.until_led()
    pair.levels.set(_some(pair, chance), 90)
    await _moment(chance)
    began = pair.pause(leader)
    try:
        took = await pair.taken_over(began, from_=leader)
        await pair.cross(up=True)
        await _fall(pair)
        woken = time.time()
    finally:
        pair.wake(leader)
    await pair.until_role(leader, "standby")
    await pair.until_followed()
    assert took <= TAKEOVER_SECONDS, f"taken over after {took:.2f} s"
    address = pair.sites.address(AGENTS[leader])
    late = [
        each for each in pair.receivers.arrivals() if each.rule == RULE and each.time > woken and each.peer == address
    ]
    assert not late, late


async def leader_stopped(pair: Pair, chance: random.Random) -> None:
    """SIGTERM: it yields, and nobody waits for its lease to end."""
    leader = await pair.until_led()
    pair.levels.set(_some(pair, chance), 90)
    await _moment(chance)
    pair.silent.add(leader)
    began = time.monotonic()
    stopping = asyncio.create_task(pair.agents[leader].stop())
    took = await pair.taken_over(began, from_=leader)
    assert await stopping == 0
    assert took <= YIELD_SECONDS, f"taken over after {took:.2f} s"
    await pair.cross(up=True)
    await pair.start(leader)
    await pair.until_followed()
    await _fall(pair)


async def both_killed(pair: Pair, chance: random.Random) -> None:
    """What the leader had not told, it tells when it is started again, under the same IDs."""
    leader = await pair.until_led()
    other = pair.other(leader)
    await pair.kill(other)
    pair.receivers.hold(INFORM, RELP)
    await pair.cross(*_some(pair, chance), up=True)
    await pair.kill(leader)
    pair.receivers.release()
    await pair.start(leader)
    await pair.until_led(by=leader)
    await pair.until_judged()
    await pair.start(other)
    await pair.until_followed()
    await _fall(pair)


async def receivers_held(pair: Pair, chance: random.Random) -> None:
    """Neither receiver answers while the leader raises and is killed: the other tells all of it."""
    leader = await pair.until_led()
    pair.receivers.hold(INFORM, RELP)
    await pair.cross(*_some(pair, chance), up=True)
    await _fall(pair)
    began = await pair.kill(leader)
    await pair.taken_over(began, from_=leader)
    pair.receivers.release()
    await pair.verdict()
    await pair.start(leader)
    await pair.until_followed()


async def standby_killed(pair: Pair, chance: random.Random) -> None:
    """It misses what happens meanwhile, catches up, and takes over with all of it."""
    leader = await pair.until_led()
    other = pair.other(leader)
    await pair.kill(other)
    await pair.cross(*_some(pair, chance), up=True)
    await pair.start(other)
    await pair.until_followed()
    began = await pair.kill(leader)
    await pair.taken_over(began, from_=leader)
    await pair.start(leader)
    await pair.until_followed()
    await _fall(pair)


# Members of etcd.


async def etcd_member_killed(pair: Pair, chance: random.Random) -> None:
    """The one that leads etcd, and is started again."""
    member = await pair.etcd.leader()
    await _while_gone(pair, chance, member.kill)
    await member.start()
    await pair.etcd.until_ready()
    await _fall(pair)


async def etcd_member_paused(pair: Pair, chance: random.Random) -> None:
    """It hears and says nothing, and its connections stay open."""
    member = await pair.etcd.leader()

    async def pause() -> None:
        os.kill(member.pid, signal.SIGSTOP)

    try:
        await _while_gone(pair, chance, pause)
    finally:
        os.kill(member.pid, signal.SIGCONT)
    await pair.etcd.until_ready()
    await _fall(pair)


async def etcd_member_restarted(pair: Pair, chance: random.Random) -> None:
    """One after the other, as for an update: nobody takes over, nothing is doubled."""
    for member in pair.etcd.members:
        pair.levels.set(_some(pair, chance), 90)
        await member.stop()
        await member.start()
        await pair.etcd.until_ready()
        await pair.until_judged()
        await _fall(pair)


async def _while_gone(pair: Pair, chance: random.Random, gone: Callable[[], Awaitable[None]]) -> None:
    """Cross while etcd elects: it is judged within an election and what one more try takes, by whoever leads then."""
    pair.levels.set(_some(pair, chance), 90)
    await _moment(chance)
    await gone()
    await pair.cross(up=True, seconds=ELECTION_SECONDS + TAKEOVER_SECONDS)


async def leader_and_its_etcd_killed(pair: Pair, chance: random.Random) -> None:
    """One host dies: that of the leader and of the member that leads etcd."""
    leader = await pair.until_led()
    member = pair.member_at(leader)
    await lead_etcd(pair, member)
    pair.levels.set(_some(pair, chance), 90)
    await _moment(chance)
    began = await pair.kill(leader)
    await member.kill()
    took = await pair.taken_over(began, from_=leader)
    assert took <= max(LEASE_SECONDS, ELECTION_SECONDS) + 1.0, f"taken over after {took:.2f} s"
    await pair.until_judged()
    await member.start()
    await pair.etcd.until_ready()
    await pair.start(leader)
    await pair.until_followed()
    await _fall(pair)


async def lead_etcd(pair: Pair, member: EtcdMember) -> None:
    """Have that member lead etcd."""
    leader = await pair.etcd.leader()
    if leader is not member:
        found = await pair.etcd.statuses([member])
        identity = f"{found[0]['Status']['header']['member_id']:x}"
        await pair.etcd.ctl("move-leader", identity, asked=[leader.endpoint])


async def etcd_all_down(pair: Pair, chance: random.Random) -> None:
    """Both judge for themselves and tell; when etcd is back, what both raised is merged."""
    before = _some(pair, chance)
    await pair.cross(*before, up=True)
    for member in pair.etcd.members:
        await member.kill()
    for name in pair.agents:
        await pair.until_role(name, "alone", seconds=LEASE_SECONDS + ALONE_AFTER_SECONDS + 5.0)
    pair.levels.set(tuple(pair.levels.of), 90, alone=True)
    await pair.until_both_judged()
    pair.levels.set(before[:1], 10, alone=True)
    await pair.until_both_judged()
    await asyncio.gather(*(member.start() for member in pair.etcd.members))
    await pair.until_led()
    await pair.until_followed()
    await _fall(pair)
    alone = [each for each in pair.receivers.arrivals() if each.labels.get("coordination") == "alone"]
    assert {each.peer for each in alone} == {pair.sites.address(site) for site in AGENTS.values()}


async def etcd_wiped(pair: Pair, chance: random.Random) -> None:
    """All members come back empty: the leader puts there what it holds, and no alarm is raised anew."""
    await pair.cross(*_some(pair, chance), up=True)
    for member in pair.etcd.members:
        await member.kill()
        await asyncio.to_thread(shutil.rmtree, member.folder / member.name)
    await asyncio.gather(*(member.start() for member in pair.etcd.members))
    await pair.etcd.until_ready()
    await pair.until_led()
    await pair.until_followed()
    leader = await pair.until_led()
    await pair.cross(*_some(pair, chance), up=True)
    began = await pair.kill(leader)
    await pair.taken_over(began, from_=leader)
    await pair.start(leader)
    await pair.until_followed()
    await _fall(pair)


# Links.


async def sites_cut(pair: Pair, chance: random.Random) -> None:
    """The agents' sites do not see each other; both see the third. Whoever led leads on."""
    leader = await pair.until_led()
    await pair.sites.cut("a", "b")
    try:
        for _ in range(3):
            await pair.cross(*_some(pair, chance), up=True)
            await _fall(pair)
        assert await pair.until_led(by=leader) == leader
    finally:
        await pair.sites.join()
    await pair.etcd.until_ready()
    await pair.until_followed()


async def leader_in_the_minority(pair: Pair, chance: random.Random) -> None:
    """The other leads, the one that is cut off is isolated: it tells of itself alone, and follows in the end."""
    leader = await pair.until_led()
    site = AGENTS[leader]
    pair.levels.set(_some(pair, chance), 90)
    await _moment(chance)
    began, cut = time.monotonic(), time.time()
    await pair.sites.cut(site, *({"a", "b", "c"} - {site}))
    try:
        took = await pair.taken_over(began, from_=leader)
        await pair.cross(up=True)
        await pair.until_role(leader, "isolated", seconds=ALONE_AFTER_SECONDS + LEASE_SECONDS + 5.0)
        await _fall(pair)
        await pair.cross(*_some(pair, chance), up=True)
        late = cut + LEASE_SECONDS
        address = pair.sites.address(site)
        strays = [each for each in pair.receivers.arrivals() if each.peer == address and each.time > late]
        assert not [each for each in strays if each.rule == RULE], strays
        await pair.until_told(
            lambda each: each.peer == address and is_kind(EventKind.RAISED, "group-degraded")(each), seconds=40
        )
    finally:
        await pair.sites.join()
    assert took <= TAKEOVER_SECONDS, f"taken over after {took:.2f} s"
    await pair.until_followed()
    await _fall(pair)


async def standby_cut_off(pair: Pair, chance: random.Random) -> None:
    """The leader leads on; the standby is isolated, and catches up afterwards."""
    leader = await pair.until_led()
    other = pair.other(leader)
    site = AGENTS[other]
    await pair.sites.cut(site, *({"a", "b", "c"} - {site}))
    try:
        await pair.until_role(other, "isolated", seconds=ALONE_AFTER_SECONDS + 6.0)
        await pair.cross(*_some(pair, chance), up=True)
        assert await pair.until_led(by=leader) == leader
    finally:
        await pair.sites.join()
    await pair.until_followed()
    await _fall(pair)


async def leader_cut_by_resets(pair: Pair, chance: random.Random) -> None:
    """A firewall that resets counterfeits servers that are down: who is cut off is alone, and both tell."""
    leader = await pair.until_led()
    site = AGENTS[leader]
    await pair.sites.cut(site, *({"a", "b", "c"} - {site}), how=Cut.RESET)
    try:
        await pair.until_led(not_by=leader)
        await pair.until_role(leader, "alone", seconds=ALONE_AFTER_SECONDS + 6.0)
        pair.levels.set(_some(pair, chance), 90, alone=True)
        await pair.until_both_judged()
    finally:
        await pair.sites.join()
    await pair.until_led()
    await pair.until_followed()
    await _fall(pair)
