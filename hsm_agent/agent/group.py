"""The agent as a member of its group: made of its configuration, shown in the store, and read as the agent's own.

Loaded where the configuration has a group, and only then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from hsm_agent.config.digest import group_digest
from hsm_agent.group.base import MemberConfig
from hsm_agent.group.member import GroupMember
from hsm_agent.group.progress import Place
from hsm_agent.model import AGENT_SOURCE, GroupRole, Labels, Reading, SourceState
from hsm_agent.replica import GroupPipeline
from hsm_agent.threads import Lane, StuckError
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from hsm_agent.config.tree import Config
    from hsm_agent.group.settings import GroupSettings
    from hsm_agent.model import GroupStatus, MemberStatus, Series, SourceStatus
    from hsm_agent.spool import Spool
    from hsm_agent.store import Store

log = logging.getLogger(__name__)

DRAIN_SECONDS = 1.0
"""Of the time that the agent may take to stop: to record what sinks have accepted, and to let another one lead."""
MOST_NOTE = 85
"""Characters: an alarm's text has room for no more beside its own words."""
_LOOK_SECONDS = 5.0
_NOT_SEEN = "not known yet"


class Membership:
    """What the running agent has to do with its group."""

    drain_seconds = DRAIN_SECONDS

    def __init__(
        self,
        settings: GroupSettings,
        config: Config,
        *,
        spool: Spool,
        store: Store,
        announce: Callable[[str], Awaitable[None]],
        refresh: Callable[[], None],
        make_member: Callable[..., GroupMember] = GroupMember,
    ) -> None:
        """`announce` sends a notice; `refresh` is called when another role or member is to be shown."""
        self.settings = settings
        self._store = store
        self._refresh = refresh
        self._shown: frozenset[str] = frozenset()
        self._pipeline: GroupPipeline | None = None
        self._member = make_member(
            settings,
            member_config(config),
            name=config.agent.name,
            version=VERSION,
            spool=spool,
            sources=lambda: sources_up(store.sources.values()),
            announce=announce,
            show=self.show,
            place=partial(place_of, config.agent.state_directory),
        )
        self._store.group = self._member.status()

    def pipeline_with(self, kept: Mapping[str, str]) -> Callable[..., GroupPipeline]:
        """What makes the agent's pipeline, of the arguments that it has without a group.

        `kept`: the states of the spool that are about the group.
        """

        def make(**arguments: Any) -> GroupPipeline:
            self._pipeline = GroupPipeline(journal=self._member.journal, kept=kept, **arguments)
            return self._pipeline

        return make

    async def run(self) -> None:
        """Be a member until it is cancelled."""
        assert self._pipeline is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pipeline.keep_time())
            await self._member.run(self._pipeline)

    async def drain(self, end: float) -> None:
        """The sinks were drained: let another one lead, by `end` on the monotonic clock."""
        await self._member.drain(max(0.1, end - time.monotonic()))

    async def yield_lead(self, to: str) -> str:
        """Let another member lead; a line on what was done. Raises NotLeadingError."""
        return await self._member.yield_lead(to)

    def forget(self, series: Series) -> None:
        """The operator has forgotten an alarm: if that was of a member that is away, so is the member."""
        source, _, metric, labels = series
        if (source, metric) == (AGENT_SOURCE, "group_member_up"):
            self._member.forget(dict(labels).get("member", ""))

    def reload(self, config: Config) -> None:
        """The configuration is another one from now on."""
        self.settings = config.group or self.settings
        self._member.reload(member_config(config), self.settings)

    def show(self, status: GroupStatus) -> None:
        """Put it where the servers look: another role as readings too, the agent reads itself only seconds later.

        Members that were not there before get rows of SNMP.
        """
        before, self._store.group = self._store.group, status
        is_other = before is None or before.role is not status.role
        if is_other:
            self._store.update(self.readings(time.time()))
        names = frozenset(member.name for member in status.members)
        if is_other or names != self._shown:
            self._shown = names
            self._refresh()

    def unready(self) -> str:
        """What keeps the agent from its part in the group; empty if nothing does."""
        status = self._store.group
        if status is None or (status.role is GroupRole.STANDBY and not status.is_caught_up):
            return "group: catching up"
        held = {GroupRole.ALONE: self.settings.alone, GroupRole.ISOLATED: self.settings.isolated}.get(status.role)
        return f"group: {status.role.value}, alarms are held" if held == "hold" else ""

    def readings(self, now: float) -> list[Reading]:
        """How the group is. Of members that are not there any more what was read last is dropped."""
        status = self._store.group
        found = [] if status is None else list(group_readings(status, now))
        present = {reading.series for reading in found}
        for series in [*self._store.of_source(AGENT_SOURCE)]:
            if series[2].startswith("group_") and series[3] and series not in present:
                self._store.forget(series)
        return found


async def place_of(state_directory: Path) -> Place:
    """Where an agent with this state directory runs."""
    directory, look = 0, Lane("the look at the state directory")
    try:
        directory = await look.call(lambda: state_directory.stat().st_ino, seconds=_LOOK_SECONDS)
    except (OSError, StuckError) as error:
        log.warning("group: this agent is taken for another one than before: %s", error)
    return Place(host=os.uname().nodename, directory=directory)


def member_config(config: Config) -> MemberConfig:
    """What of a configuration decides whether this member fits the others."""
    return MemberConfig(digest=group_digest(config), sinks=tuple(sink.name for sink in config.deliver))


def sources_up(sources: Iterable[SourceStatus]) -> tuple[int, int]:
    """How many configured sources are read, and how many there are."""
    states = [source.state for source in sources if source.name != AGENT_SOURCE]
    return sum(state in (SourceState.UP, SourceState.DEGRADED) for state in states), len(states)


def group_readings(status: GroupStatus, now: float) -> Iterator[Reading]:
    """The group as readings of the agent."""
    role = status.role
    is_out = role in (GroupRole.ALONE, GroupRole.ISOLATED)
    # What each server said would be cut in the middle: that has its place in the status.
    problem = (status.problem.partition(": ")[0] if is_out else status.problem)[:MOST_NOTE]
    yield _reading("group_leading", int(role is GroupRole.LEADER), now)
    yield _reading("group_connected", int(status.is_connected), now, note=problem)
    yield _reading("group_alone", int(role is GroupRole.ALONE), now, note=problem)
    yield _reading("group_isolated", int(role is GroupRole.ISOLATED), now, note=problem)
    trouble = "" if is_out else _trouble(status)[:MOST_NOTE]
    yield _reading("group_trouble", int(bool(trouble)), now, note=trouble)
    yield _reading("group_epoch", status.epoch or None, now)
    yield _reading("group_beat_age_seconds", status.beat_age_seconds, now)
    yield _reading("group_follow_lag_seconds", status.lag_seconds, now)
    yield _reading("group_commit_seconds", status.commit_seconds, now)
    yield _reading("group_takeovers_total", status.takeovers_total, now)
    yield _reading("group_fenced_total", status.fenced_total, now)
    differing = [member.name for member in status.members if member.is_up and member.config_differs]
    yield _reading("group_config_differing", len(differing), now, note=", ".join(differing)[:MOST_NOTE])
    least = next((member.sources_up - 1 for member in status.members if member.role is GroupRole.LEADER), None)
    for member in status.members:
        yield from _member_readings(member, now, least)


def _trouble(status: GroupStatus) -> str:
    if status.problem or status.role is not GroupRole.STANDBY or status.is_caught_up:
        return status.problem
    return "it has not caught up"


def _member_readings(member: MemberStatus, now: float, least: int | None) -> Iterator[Reading]:
    """`least`: one less than what the leader reads: so many sources are too few."""
    labels = (("member", member.name),)
    yield _reading("group_member_up", int(member.is_up), now, labels)
    if not member.is_up:
        return
    limit = None if least is None else float(least)
    yield _reading("group_member_sources_up", member.sources_up, now, labels, limit=limit)
    if member.clock_offset_seconds is not None:
        yield _reading("group_clock_offset_seconds", member.clock_offset_seconds, now, labels)


def _reading(
    metric: str,
    value: float | None,
    now: float,
    labels: Labels = (),
    *,
    limit: float | None = None,
    note: str = "",
) -> Reading:
    return Reading(
        source=AGENT_SOURCE,
        resource="",
        metric=metric,
        value=value,
        time=now,
        labels=labels,
        reason="" if value is not None else _NOT_SEEN,
        limit=limit,
        note=note,
    )
