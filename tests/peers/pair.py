"""Agents of one group at two sites, an etcd of three members at three, and the receivers at a fourth.

    async with Pair(folder) as pair:
        await pair.cross(up=True)
        async with pair.takeover(): …

What the agents read are levels in a file, which tests write: each resource is below its limit, or above. Without
`group` there is one agent, as it is where no group is configured. Needs no pytest but to skip.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from hsm_agent.agent.control_client import ControlError, ask
from tests.peers.agent import AgentProcess
from tests.peers.etcd import EtcdCluster, settings
from tests.peers.receivers import COMMUNITY, Receivers
from tests.peers.sites import Sites
from tests.peers.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.model import EventKind
    from tests.peers.etcd import EtcdMember
    from tests.peers.pair_access import Access
    from tests.peers.receivers import Arrival
    from tests.peers.verdict import Verdict

RULE, SOURCE = "level", "levels"
LOW, HIGH, LIMIT = 10, 90, 75
LEASE_SECONDS, ALONE_AFTER_SECONDS = 2.0, 3.0
AGENTS = {"agent-a": "a", "agent-b": "b"}
"""Where each runs; the third member of etcd is at `c`, the receivers at `noc`."""
SITES = ("a", "b", "c", "noc")
_ETCD_SITES = SITES[:3]
_LOOK_AGAIN_SECONDS = 0.02
_ASK_SECONDS = 1.0
_POLL = "200ms"


class Levels:
    """What the source reads: a resource and its level a line."""

    def __init__(self, path: Path, resources: int) -> None:
        self._path = path
        self.of = {f"r{number:02}": LOW for number in range(resources)}
        self.raised = dict.fromkeys(self.of, 0)
        """How often each crossed the limit upwards."""
        self.judged_twice: dict[str, int] | None = None
        """Of those, how often while each agent judged for itself; None until that is expected."""
        self.crossings: list[tuple[float, str, bool]] = []
        """UTC seconds, which, and whether upwards."""
        self.write()

    @property
    def high(self) -> frozenset[str]:
        return frozenset(resource for resource, level in self.of.items() if level > LIMIT)

    def set(self, resources: Sequence[str], level: int, *, alone: bool = False) -> None:
        """`alone`: each agent judges for itself now."""
        if alone and self.judged_twice is None:
            self.judged_twice = dict.fromkeys(self.of, 0)
        for resource in resources:
            if (level > LIMIT) == (self.of[resource] > LIMIT):
                continue
            if level > LIMIT:
                self.raised[resource] += 1
                if alone and self.judged_twice is not None:
                    self.judged_twice[resource] += 1
            self.of[resource] = level
            self.crossings.append((time.time(), resource, level > LIMIT))
        self.write()

    def write(self) -> None:
        half_made = self._path.with_suffix(".new")
        half_made.write_text("".join(f"{name} is {level}\n" for name, level in self.of.items()), encoding="ascii")
        half_made.replace(self._path)


class Pair:
    """`async with`: all of it runs, and (with a group) one agent leads."""

    def __init__(
        self,
        folder: Path,
        *,
        group: Mapping[str, Any] | None = None,
        grouped: bool = True,
        resources: int = 5,
        access: Access | None = None,
        disk: Mapping[str, Sequence[str]] | None = None,
        sources: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """`group`: what differs in the section. `access`: how etcd is guarded. `sources`: beside the levels.

        `disk`: by agent what stands before its command line, to give it a disk of its own.
        """
        self.folder = folder
        self.sites = Sites(*SITES)
        self.levels = Levels(folder / "levels", resources)
        self.agents: dict[str, AgentProcess] = {}
        self.takeovers: list[float] = []
        self.silent: set[str] = set()
        """Agents that are not asked: killed, or paused."""
        self.is_grouped = grouped
        self._group = group or {}
        self.access = access
        self._disk = disk or {}
        self._sources = sources
        self._stack = AsyncExitStack()
        self.etcd: EtcdCluster
        self.receivers: Receivers

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.sites)
            self.receivers = Receivers(folder=self.folder, place=self.sites.place("noc"))
            await stack.enter_async_context(self.receivers)
            if self.is_grouped:
                places = [self.sites.place(site) for site in _ETCD_SITES]
                (self.folder / "etcd").mkdir()
                tls = None if self.access is None else self.access.tls
                control = self.sites.place("noc")
                self.etcd = EtcdCluster(self.folder / "etcd", tls=tls, places=places, control=control)
                await stack.enter_async_context(self.etcd)
                if self.access is not None:
                    await self.access.protect(self.etcd)
            names = AGENTS if self.is_grouped else ["agent-a"]
            stack.push_async_callback(self._end)
            for name in names:
                self.agents[name] = await asyncio.to_thread(self._agent, name)
            await asyncio.gather(*(agent.start() for agent in self.agents.values()))
            if self.is_grouped:
                await self.until_led()
                await self.until_followed()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        if self.is_grouped:
            for member in self.etcd.members:  # each takes 128 MiB and more, and pytest keeps three runs
                await asyncio.to_thread(shutil.rmtree, member.folder / member.name, ignore_errors=True)

    async def _end(self) -> None:
        for agent in self.agents.values():
            if agent.process is not None and agent.process.returncode is None:
                await agent.kill()  # SIGKILL ends a paused one too

    def _agent(self, name: str) -> AgentProcess:
        site = self.sites.place(AGENTS[name])
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        secret = self.folder / "inform-community"
        secret.write_text(COMMUNITY, encoding="ascii")
        secret.chmod(0o600)
        made = AgentProcess(
            folder,
            sources=[self._source(), *self._sources],
            rules=[
                {"name": RULE, "metric": "custom_level", "above": {"critical": LIMIT}},
                *([{"name": "group-degraded", "for": "1s"}, {"name": "group-config", "for": "1s"}] * self.is_grouped),
            ],
            deliver=[
                {"name": "noc", "kind": "snmp", "to": self.receivers.inform, "version": "v2c", "type": "inform",
                 "community": {"file": str(secret)}, "timeout": "500ms", "retries": 20},
                {"name": "siem", "kind": "syslog", "to": self.receivers.relp},
            ],
            agent={"name": name},
            command=[*site.command, *self._disk.get(name, ())],
            environment=self.sites.surroundings(),
        )  # fmt: skip
        if self.is_grouped:
            etcd = settings(self.etcd) | ({} if self.access is None else self.access.settings(name))
            own = {"lease": f"{LEASE_SECONDS:g}s", "alone_after": f"{ALONE_AFTER_SECONDS:g}s", **self._group}
            made.settings["group"] = {"name": "pair", **own, "etcd": etcd}
            made.configure()
        return made

    def _source(self) -> dict[str, Any]:
        pattern = r"(?P<resource>\S+) is (?P<custom_level>[0-9]+)"
        run = {"command": [shutil.which("cat"), str(self.folder / "levels")], "parser": "regex", "patterns": [pattern]}
        return {"name": SOURCE, "kind": "command", "runs": [run], "every": _POLL, "timeout": "5s"}

    # What the agents say of themselves.

    async def status(self, name: str) -> dict[str, Any] | None:
        """None where it does not answer."""
        if name in self.silent:
            return None
        with suppress(ControlError):
            return await asyncio.to_thread(ask, self.agents[name].control, "status", timeout_seconds=_ASK_SECONDS)
        return None

    async def group(self, name: str) -> dict[str, Any]:
        """What it says of the group; empty where it does not answer."""
        status = await self.status(name)
        return {} if status is None else status["group"]

    async def role(self, name: str) -> str:
        """Empty where it does not answer."""
        return str((await self.group(name)).get("role", ""))

    async def until_role(self, name: str, role: str, *, seconds: float = 15.0) -> None:
        await self._until(lambda: self._is(name, role), f"{name} is not {role}", seconds)

    async def _is(self, name: str, role: str) -> bool:
        return await self.role(name) == role

    async def until_led(self, *, by: str = "", not_by: str = "", seconds: float = 15.0) -> str:
        """The name of who leads."""

        async def leader() -> str:
            for name in self.agents:
                if name != not_by and (not by or name == by) and await self.role(name) == "leader":
                    return name
            return ""

        return str(await self._until(leader, f"{by or 'nobody'} leads", seconds))

    async def until_followed(self, *, seconds: float = 15.0) -> None:
        """Wait until one agent leads, and each other one that answers has all that the leader has."""

        async def followed() -> bool:
            groups = [await self.group(name) for name in self.agents if name not in self.silent]
            standby = [group for group in groups if group.get("role") == "standby" and group.get("caught_up")]
            leading = [group for group in groups if group.get("role") == "leader"]
            return len(leading) == 1 and len(standby) == len(groups) - 1

        await self._until(followed, "the standby does not catch up", seconds)

    def other(self, name: str) -> str:
        return next(each for each in AGENTS if each != name)

    def member_at(self, agent: str) -> EtcdMember:
        """The member of etcd at an agent's site."""
        return self.etcd.members[_ETCD_SITES.index(AGENTS[agent])]

    # What is done to them.

    async def cross(self, *resources: str, up: bool, wait: bool = True, seconds: float = 30.0) -> None:
        """Let these (none: all) cross the limit; returns once whoever judges has seen it."""
        self.levels.set(resources or tuple(self.levels.of), HIGH if up else LOW)
        if wait:
            await self.until_judged(seconds=seconds)

    async def until_judged(self, *, seconds: float = 30.0) -> None:
        """Wait until one that judges has exactly the alarms of the present levels."""
        await self._until(self._is_judged, f"nobody has the alarms of {sorted(self.levels.high)}", seconds)

    async def until_both_judged(self, *, seconds: float = 30.0) -> None:
        """Wait until each has exactly the alarms of the present levels."""

        async def both() -> bool:
            statuses = [await self.status(name) for name in self.agents]
            return all(status is not None and _open_in(status) == self.levels.high for status in statuses)

        await self._until(both, f"not both have the alarms of {sorted(self.levels.high)}", seconds)

    async def _are_alike(self) -> bool:
        statuses = [await self.status(name) for name in self.agents if name not in self.silent]
        return len({None if status is None else _alarms_in(status) for status in statuses}) == 1

    async def _is_judged(self) -> bool:
        for name in self.agents:
            status = await self.status(name)
            if status is None or (self.is_grouped and status["group"]["role"] not in {"leader", "alone"}):
                continue
            if _open_in(status) == self.levels.high:
                return True
        return False

    async def kill(self, name: str) -> float:
        """SIGKILL; returns when."""
        self.silent.add(name)
        began = time.monotonic()
        await self.agents[name].kill()
        return began

    def pause(self, name: str) -> float:
        """SIGSTOP; returns when."""
        self.silent.add(name)
        os.kill(self.agents[name].pid, signal.SIGSTOP)
        return time.monotonic()

    def wake(self, name: str) -> None:
        os.kill(self.agents[name].pid, signal.SIGCONT)
        self.silent.discard(name)

    async def start(self, name: str) -> None:
        await self.agents[name].start()
        self.silent.discard(name)

    async def taken_over(self, began: float, *, from_: str, seconds: float = 15.0) -> float:
        """How long after that time the other one leads; also kept."""
        await self.until_led(not_by=from_, seconds=seconds)
        self.takeovers.append(time.monotonic() - began)
        return self.takeovers[-1]

    # What is expected in the end.

    async def settle(self, *, seconds: float = 30.0) -> Verdict:
        """See that all have the same alarms, let all fall below the limit, wait until it is told, and judge."""
        await self.cross(min(self.levels.of), up=True)
        await self._until(self._are_alike, "the agents have not the same alarms", seconds)
        self.levels.set(tuple(self.levels.of), LOW)
        await self.until_judged(seconds=seconds)
        return await self.verdict(seconds=seconds)

    async def verdict(self, *, seconds: float = 30.0) -> Verdict:
        """Judge once nothing waits any more at those that answer."""
        await self._until(self._is_told, "events wait", seconds)
        return self.judged()

    def judged(self) -> Verdict:
        """What there is to say now."""
        levels = self.levels
        return judge(
            self.receivers.arrivals(),
            rule=RULE,
            raised=levels.raised,
            still_open=len(levels.high),
            judged_twice=levels.judged_twice,
        )

    async def _is_told(self) -> bool:
        statuses = [await self.status(name) for name in self.agents if name not in self.silent]
        return all(status is not None and status["spool"]["entries"] == 0 for status in statuses)

    async def until_told(self, fits: Callable[[Arrival], bool], *, seconds: float = 15.0) -> Arrival:
        """The first arrival that fits, of all there ever were."""

        async def arrival() -> Arrival | None:
            return next((each for each in self.receivers.arrivals() if fits(each)), None)

        found: Arrival = await self._until(arrival, "nothing of that kind was told", seconds)
        return found

    async def _until(self, asked: Callable[[], Any], complaint: str, seconds: float) -> Any:
        """What it is, once it is true. Raises TimeoutError with the complaint, all roles and the ends of the logs."""
        deadline = time.monotonic() + seconds
        while True:
            if found := await asked():
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {seconds:g} s: {complaint}\n{await self._report()}")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _report(self) -> str:
        lines = [f"levels above: {sorted(self.levels.high)}", *self.judged().problems[:5]]
        for name, agent in self.agents.items():
            status = await self.status(name)
            group = {} if status is None else status.get("group")
            lines += [
                f"--- {name}: {json.dumps(group)} {'' if status is None else status['spool']}",
                f"open: {'' if status is None else sorted(_open_in(status))}",
                *agent.log.splitlines()[-25:],
            ]
        return "\n".join(lines)


def _open_in(status: Mapping[str, Any]) -> frozenset[str]:
    """The resources whose alarm of the rule is raised."""
    return frozenset(alarm["resource"] for alarm in status["alarms"] if alarm["rule"] == RULE)


def _alarms_in(status: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The rule's alarms: resource and ID."""
    return frozenset((alarm["resource"], alarm["alarm_id"]) for alarm in status["alarms"] if alarm["rule"] == RULE)


def is_kind(kind: EventKind, rule: str, *, after: float = 0.0) -> Callable[[Arrival], bool]:
    """An arrival of that kind and rule after that time (UTC seconds)."""
    return lambda arrival: arrival.kind is kind and arrival.rule == rule and arrival.time >= after
