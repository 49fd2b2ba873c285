"""More that a pair outlives: all that stands still at once, state directories that are lost, an older etcd. No pytest."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

from tests.peers.pair import AGENTS, ALONE_AFTER_SECONDS, LEASE_SECONDS, RULE
from tests.peers.require import require

if TYPE_CHECKING:
    import random

    from tests.peers.pair import Pair

_WITHOUT_ETCD_SECONDS = LEASE_SECONDS + ALONE_AFTER_SECONDS + 6.0


async def etcd_all_paused(pair: Pair, chance: random.Random) -> None:
    """Mute servers prove nothing: both are isolated, nobody tells of the group's, and it is told afterwards."""
    await pair.cross("r00", up=True)
    for member in pair.etcd.members:
        os.kill(member.pid, signal.SIGSTOP)
    try:
        for name in pair.agents:
            await pair.until_role(name, "isolated", seconds=_WITHOUT_ETCD_SECONDS)
        since = time.time()
        pair.levels.set(tuple(pair.levels.of), 90)
        await asyncio.sleep(1.0)
        assert not [each for each in pair.receivers.arrivals() if each.rule == RULE and each.time > since]
    finally:
        for member in pair.etcd.members:
            os.kill(member.pid, signal.SIGCONT)
    await pair.until_led()
    await pair.until_judged()
    await pair.until_followed()
    await pair.cross(up=False)


async def both_paused(pair: Pair, chance: random.Random) -> None:
    """For longer than a lease; both wake at once, and one leads."""
    pair.levels.set(("r00", "r01"), 90)
    await asyncio.sleep(chance.uniform(0.0, 0.4))
    for name in pair.agents:
        pair.pause(name)
    await asyncio.sleep(LEASE_SECONDS + 1.0)
    for name in pair.agents:
        pair.wake(name)
    await pair.until_led()
    await pair.until_judged()
    await pair.until_followed()
    await pair.cross(up=False)


async def state_lost(pair: Pair, chance: random.Random) -> None:
    """Of the standby and then of the leader: each comes back with nothing, and has all again."""
    for was_leading in (False, True):
        leader = await pair.until_led()
        name = leader if was_leading else pair.other(leader)
        await pair.cross("r00", "r01", up=True)
        began = await pair.kill(name)
        await asyncio.to_thread(shutil.rmtree, pair.agents[name].state)
        if was_leading:
            await pair.taken_over(began, from_=name)
        await pair.start(name)
        await pair.until_followed()
        leader = await pair.until_led()
        began = await pair.kill(leader)
        await pair.taken_over(began, from_=leader)
        await pair.cross("r02", up=True)
        await pair.start(leader)
        await pair.until_followed()
        await pair.cross(up=False)


async def leader_heard_by_nobody(pair: Pair, chance: random.Random) -> None:
    """What it sends is lost, what is sent to it arrives."""
    leader = await pair.until_led()
    pair.levels.set(("r00", "r01"), 90)
    await asyncio.sleep(chance.uniform(0.0, 0.4))
    began = time.monotonic()
    for site in {"a", "b", "c"} - {AGENTS[leader]}:
        await pair.sites.cut_one_way(AGENTS[leader], site)
    try:
        await pair.taken_over(began, from_=leader)
        await pair.cross(up=True)
    finally:
        await pair.sites.join()
    await pair.etcd.until_ready()
    await pair.until_followed()
    await pair.cross(up=False)


async def etcd_put_back(pair: Pair, chance: random.Random) -> None:
    """All members come back from a backup: what was decided since is not forgotten, nothing is told anew."""
    backup = pair.folder / "backup"
    await pair.cross("r00", "r01", up=True)
    await pair.etcd.ctl("snapshot", "save", str(backup), asked=[pair.etcd.endpoints[0]])
    await pair.cross("r00", up=False)
    await pair.cross("r02", up=True)
    await pair.verdict()
    for member in pair.etcd.members:
        await member.kill()
        data = member.folder / member.name
        await asyncio.to_thread(shutil.rmtree, data)
        process = await asyncio.create_subprocess_exec(
            str(require("etcdctl")), "snapshot", "restore", str(backup), f"--name={member.name}",
            f"--initial-cluster={member.cluster}", f"--initial-advertise-peer-urls={member.peer}",
            f"--data-dir={data}", env=pair.etcd.ctl_environment(),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await process.wait() == 0
    backup.unlink()
    await asyncio.gather(*(member.start() for member in pair.etcd.members))
    await pair.etcd.until_ready()
    await pair.until_led()
    await pair.until_followed()
    await pair.until_judged()
    await pair.cross("r03", up=True)
    leader = await pair.until_led()
    began = await pair.kill(leader)
    await pair.taken_over(began, from_=leader)
    await pair.start(leader)
    await pair.until_followed()
    await pair.cross(up=False)
