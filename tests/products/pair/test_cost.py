"""What a group costs: from a crossing to its inform with and without, a commit, a follower, and etcd after a month."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.spool import Spool
from tests.peers.pair import Pair
from tests.peers.receivers import INFORM
from tests.peers.verdict import delays

if TYPE_CHECKING:
    from tests.peers.etcd import EtcdCluster

CROSSINGS = 100
QUIET_SECONDS = 30.0
ALARMS_A_DAY, DAYS = 200, 30
AT_ONCE = 50
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    return (int(_stat(pid)[11]) + int(_stat(pid)[12])) / _TICKS


def resident_mib(pid: int) -> float:
    return int(_stat(pid)[21]) * _PAGE / 2**20


async def largest_mib(cluster: EtcdCluster) -> float:
    sizes = [int(each["Status"]["dbSize"]) for each in await cluster.statuses(cluster.members)]
    return max(sizes) / 2**20


async def _crossings(pair: Pair) -> list[float]:
    """Crosses one at a time; the commits' seconds."""
    commits = []
    for number in range(CROSSINGS):
        await pair.cross("r00", up=number % 2 == 0)
        if pair.is_grouped:
            seconds = (await pair.group(await pair.until_led()))["commit_seconds"]
            commits.append(float(seconds))
    return commits


async def _spool_commits(folder: Path) -> list[float]:
    """What an agent without a group waits for instead: the commits' seconds."""
    spool, seconds = await Spool.open(folder, entries=1000, size_bytes=2**20), []
    await spool.register({"noc": None, "siem": None}, ())
    for number in range(CROSSINGS):
        event = Event(
            event_id=f"e{number}", kind=EventKind.RAISED, severity=Severity.CRITICAL, time=time.time(),
            text="custom_level 90, limit 75", agent="agent-a", alarm_id=f"a{number}",
        )  # fmt: skip
        began = time.monotonic()
        await spool.commit([event], {f'["watch","levels","r{number}","custom_level",[],"level"]': "x" * 700})
        seconds.append(time.monotonic() - began)
    await spool.close()
    return seconds


def _ratio(what: list[float], to: list[float]) -> str:
    return f"{median(what) / median(to):.1f} times as long (p50)"


def _percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"p50 {ordered[len(ordered) // 2] * 1000:.1f} ms, p99 {ordered[int(len(ordered) * 0.99) - 1] * 1000:.1f} ms"


@dataclass(frozen=True, slots=True)
class Rest:
    """An agent at rest."""

    resident_mib: float
    cpu: float
    """Of a core."""

    def text(self, to: Rest) -> str:
        return (
            f"RSS {self.resident_mib:.1f} MiB ({self.resident_mib / to.resident_mib:.2f} x),"
            f" CPU {self.cpu * 100:.1f} % ({self.cpu / to.cpu:.2f} x), polling every 200 ms"
        )


async def _at_rest(pair: Pair, name: str) -> Rest:
    pid = pair.agents[name].pid
    before = cpu_seconds(pid)
    await asyncio.sleep(QUIET_SECONDS)
    return Rest(resident_mib(pid), (cpu_seconds(pid) - before) / QUIET_SECONDS)


@pytest.mark.timeout(600)
async def test_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("single", "pair", "spool"):
        (tmp_path / name).mkdir()
    async with Pair(tmp_path / "single", grouped=False) as single:
        await _crossings(single)
        assert not (await single.settle()).problems
        alone = _informed(single)
        agent = await _at_rest(single, "agent-a")
    spool = await _spool_commits(tmp_path / "spool")
    async with Pair(tmp_path / "pair") as pair:
        commits = await _crossings(pair)
        assert not (await pair.settle()).problems
        together = _informed(pair)
        name = await pair.until_led()
        leader, standby = await _at_rest(pair, name), await _at_rest(pair, pair.other(name))
    with capsys.disabled():
        print(
            "",
            f"crossing to inform: a single agent {_percentiles(alone)}",
            f"  a pair {_percentiles(together)}, {_ratio(together, alone)}",
            f"a commit: the spool's of a single agent {_percentiles(spool)}",
            f"  the group's, before the spool's {_percentiles(commits)}, {_ratio(commits, spool)}",
            f"at rest: a single agent {agent.text(agent)}",
            f"  leader {leader.text(agent)}",
            f"  standby {standby.text(agent)}",
            sep="\n  ",
        )


def _informed(pair: Pair) -> list[float]:
    """From each crossing to its inform, in seconds."""
    informs = [each for each in pair.receivers.arrivals() if each.channel == INFORM]
    return delays(pair.levels.crossings, informs)


@pytest.mark.timeout(3600)
async def test_a_month_in_etcd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """200 alarms a day for 30 days, raised and cleared; compacted every six hours of it, where docs/etcd.md has one."""
    async with Pair(tmp_path, resources=AT_ONCE) as pair:
        size, began = await largest_mib(pair.etcd), time.monotonic()
        for _ in range(ALARMS_A_DAY * DAYS // AT_ONCE):
            await pair.cross(up=True)
            await pair.cross(up=False)
            await pair.etcd.ctl(
                "compact", str((await pair.etcd.statuses(pair.etcd.members))[0]["Status"]["header"]["revision"])
            )
        verdict = await pair.settle(seconds=120)
        took, grown = time.monotonic() - began, await largest_mib(pair.etcd)
        found = json.loads(await pair.etcd.ctl("get", "/hsm-agent/", "--prefix", "--keys-only", "--write-out=json"))
        await pair.etcd.ctl("compact", "--physical", str(found["header"]["revision"]))
        await pair.etcd.ctl("defrag")
        small = await largest_mib(pair.etcd)
    with capsys.disabled():
        print(
            "",
            f"{verdict}, in {took:.0f} s; etcd's file {size:.2f} -> {grown:.1f} MiB, compacted and defragmented"
            f" {small:.2f} MiB, {found['count']} keys, revision {found['header']['revision']}",
            sep="\n  ",
        )
    assert not verdict.problems
