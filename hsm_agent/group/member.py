"""A member of a group as it runs: who leads, what this agent may do now, and every step from one role to another."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from hsm_agent.group.acceptances import Acceptances
from hsm_agent.group.clients import GroupClients
from hsm_agent.group.evidence import Quorum
from hsm_agent.group.journal import GroupJournal
from hsm_agent.group.keys import GroupKeys, MemberRecord
from hsm_agent.group.lead import Candidate, unfit_for
from hsm_agent.group.leadership import Leadership
from hsm_agent.group.members import Members
from hsm_agent.group.problem_log import ProblemLog
from hsm_agent.group.progress import Place, Progress, instance_of, instance_states
from hsm_agent.group.standby import PROBE_SECONDS, Standby
from hsm_agent.model import GroupRole, GroupStatus
from hsm_agent.net.etcd_messages import EtcdTrouble
from hsm_agent.spool.shared import GROUP_STATES
from hsm_agent.threads import deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hsm_agent.group.base import Journal, MemberConfig, MemberSpool, Replica
    from hsm_agent.group.settings import GroupSettings
    from hsm_agent.model import MemberStatus

log = logging.getLogger(__name__)

SHOW_SECONDS = 1.0
_WITHOUT_QUORUM = (GroupRole.ALONE, GroupRole.ISOLATED)
_LEAVE_SECONDS = 1.0
_CONNECTED_LEASES = 2.0
"""After so long without an answer this agent is not connected."""
_SILENT_LEASES = 2.0
"""After so long without a beat nobody leads, although etcd answers: whoever may take over stands back."""


def boot_seconds() -> float:
    """The clock that counts on while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NotLeadingError(Exception):
    """Only the leader can do this. The text is one line, and names the leader where one is known."""


class GroupMember:
    """One agent in its group.

    Made before the pipeline, which is built with `journal`; runs with the pipeline's replica. It keeps
    the group's status shown, decides what the spool may tell, and nothing else waits for it.
    """

    def __init__(
        self,
        settings: GroupSettings,
        config: MemberConfig,
        *,
        name: str,
        version: str,
        spool: MemberSpool,
        sources: Callable[[], tuple[int, int]],
        announce: Callable[[str], Awaitable[None]],
        show: Callable[[GroupStatus], None],
        place: Callable[[], Awaitable[Place]] | None = None,
        clients: GroupClients | None = None,
        clock: Callable[[], float] = boot_seconds,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`name`: the agent's. `sources`: how many are up, and how many there should be. `announce`: tells a notice.

        `show` is given the status once a second, and whenever the role changes. `place`: where its state is kept.
        `clock`: one that counts on while the host sleeps.
        """
        self._settings, self._config = settings, config
        self._name, self._version, self._instance = name, version, secrets.token_hex(16)
        self._spool, self._sources, self._show = spool, sources, show
        self._clock, self._wall, self._place = clock, wall, place
        self._verdict, self._problem_log = Quorum.SERVES, ProblemLog(after_seconds=2 * settings.lease)
        self._role_before = GroupRole.STANDBY
        self._role_changed = asyncio.Event()
        self._was_reloaded = False
        """And the others were not looked at since."""
        keys = GroupKeys(settings.name)
        self._clients = clients or GroupClients.of(settings.etcd, settings.quick_etcd, keys)
        self._acceptances = Acceptances(self._clients.acceptances, keys)
        self._members = Members(self._clients.members, keys, describe=self._describe, clock=clock)
        self._journal = GroupJournal(keys, self._acceptances, clock=clock, wall=wall, live=self._members.live)
        self._leadership = self._make_leadership(keys, announce)
        self._standby = Standby(self._clients, keys, self._journal, self._leadership, settings, clock=clock, wall=wall)
        self._journal.digest = config.digest
        spool.may_tell, spool.on_left = self._may_tell, self._acceptances.note
        self._acceptances.on_room = spool.wake

    def _make_leadership(self, keys: GroupKeys, announce: Callable[[str], Awaitable[None]]) -> Leadership:
        return Leadership(
            self._clients,
            keys,
            self._spool,
            self._journal,
            self._acceptances,
            self._members,
            describe=self._describe,
            hand_over_after=self._settings.hand_over_after,
            announce=announce,
            on_change=self._changed,
            on_contact=self._contacted,
            clock=self._clock,
            wall=self._wall,
        )

    @property
    def journal(self) -> Journal:
        """What the pipeline asks before it judges, and where it records."""
        return self._journal

    async def run(self, replica: Replica) -> None:
        """Follow, lead, stand alone, until it is cancelled; then its keys in etcd are gone, as far as it answers."""
        await self._load()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._members.run())
                group.create_task(self._acceptances.run())
                group.create_task(self._show_often())
                group.create_task(self._describe_changes())
                group.create_task(self._live(replica))
        finally:
            # In a task of its own: in one that was cancelled, time-outs of Python before 3.11.4 end what they bound.
            await asyncio.ensure_future(self._leave())

    def status(self) -> GroupStatus:
        """The group as this agent sees it now."""
        now, follower, tenure = self._clock(), self._standby.follower, self._leadership.tenure
        role = self._role()
        is_leading = role is GroupRole.LEADER
        beaten_at = tenure.beaten_at if tenure is not None else follower.beat.at if follower is not None else None
        epoch = tenure.epoch if tenure is not None else follower.lock.mod_revision if follower is not None else 0
        is_connected = now - self._standby.contact_at <= _CONNECTED_LEASES * self._settings.lease
        is_silent = is_connected and beaten_at is not None and now - beaten_at > _SILENT_LEASES * self._settings.lease
        leader = self._journal.leader if role is GroupRole.STANDBY and not is_silent else ""
        lag = 0.0 if is_leading else follower.lag_seconds() if follower is not None else None
        digest = self._config.digest
        return GroupStatus(
            group=self._settings.name,
            name=self._name,
            role=role,
            epoch=epoch,
            leader=self._name if is_leading else leader,
            beat_age_seconds=None if beaten_at is None else max(0.0, now - beaten_at),
            lag_seconds=lag,
            untold=self._spool.untold(),
            is_caught_up=is_leading or (follower is not None and follower.is_caught_up),
            is_connected=is_connected,
            differs=any(each.digest != digest for each in self._members.live()),
            problem=self._problem(role),
            members=self._member_statuses(role),
            commit_seconds=self._journal.commit_seconds,
            takeovers_total=self._leadership.takeovers_total,
            fenced_total=self._leadership.fenced_total,
        )

    def _member_statuses(self, role: GroupRole) -> tuple[MemberStatus, ...]:
        """The members as they described themselves; who leads is seen sooner by the lock."""
        found, follower = self._members.statuses(), self._standby.follower
        leader = self._name if role is GroupRole.LEADER else ""
        if not leader and self._verdict is Quorum.SERVES and follower is not None and follower.lock.record is not None:
            leader = follower.lock.record.name
        if not leader:
            return found
        return tuple(
            replace(each, role=GroupRole.LEADER)
            if each.name == leader and each.name != self._name
            else replace(each, role=GroupRole.STANDBY)
            if each.role is GroupRole.LEADER and each.name != leader
            else each
            for each in found
        )

    async def drain(self, seconds: float) -> None:
        """The agent stops: sinks were drained. Record what they accepted, let another one lead; within the time."""
        self._standby.not_before = inf
        try:
            async with asyncio.timeout(seconds):
                await self._leadership.yield_to("")
                await self._acceptances.flushed(seconds)
        except TimeoutError:
            log.warning("group: the lead was not handed over within %g s", seconds)
        if self._acceptances.unrecorded:
            log.warning("group: that sinks have accepted %d events is not recorded", self._acceptances.unrecorded)

    async def yield_lead(self, to: str = "") -> str:
        """Let another member lead, that one if it is named; a line on what was done. Raises NotLeadingError."""
        if not self._leadership.is_open:
            leader = self._journal.leader
            if (role := self._role()) in _WITHOUT_QUORUM:
                raise NotLeadingError(f"this agent does not lead: it is {role.value}, without a quorum of etcd")
            raise NotLeadingError(f"this agent does not lead: {leader} does" if leader else "this agent does not lead")
        others = await self._others()
        if to and to not in others:
            raise NotLeadingError(f"no member {to} is there, but {', '.join(others) or 'this agent alone'}")
        if not others:
            raise NotLeadingError("no other member is there that could lead")
        unfit = [others[to]] if to else list(others.values())
        if all(unfit):
            raise NotLeadingError(f"nobody would lead for a while: {'; '.join(unfit)}")
        try:
            async with asyncio.timeout(2 * self._settings.lease):
                await self._leadership.yield_to(to)
        except TimeoutError as error:
            raise NotLeadingError("it has not been handed over in time") from error
        return f"the lead is left to {to or 'another member'}"

    async def _others(self) -> dict[str, str]:
        """The members that are there now by name, and why each would hesitate to lead; empty where it would not."""
        with suppress(EtcdTrouble, TimeoutError):  # what was read last is seconds old
            async with asyncio.timeout(self._settings.lease):
                await self._members.once()
        own = self._describe()
        return {each.name: unfit_for(own, each) for each in self._members.live() if each.name != self._name}

    def forget(self, name: str) -> None:
        """Count a member that is away among the members no more, until it is seen again."""
        self._members.forget(name)

    def reload(self, config: MemberConfig, settings: GroupSettings) -> None:
        """The configuration is another one from now on; of the settings, how etcd is reached."""
        if settings.etcd != self._settings.etcd:
            log.info("group: etcd is asked anew: %s", ", ".join(settings.etcd.endpoints))
            self._clients.use(settings.etcd, settings.quick_etcd)
        self._settings = settings
        self._config = config
        self._journal.digest = config.digest
        self._was_reloaded = True
        self._role_changed.set()

    async def _load(self) -> None:
        """Read how far this agent had come, and who it is."""
        states = await self._spool.states(GROUP_STATES)
        try:
            self._journal.progress = Progress.of(states)
        except ValueError as error:
            log.error("group: how far this agent had come cannot be read: %s", error)  # noqa: TRY400 - no bug
        found = Place() if self._place is None else await self._place()
        place = replace(found, booted_at=self._wall() - self._clock())
        if instance := instance_of(states, place):
            self._instance = instance
        else:
            await self._spool.commit((), instance_states(self._instance, place))

    async def _live(self, replica: Replica) -> None:
        """Stand by and lead, in turns; stand alone while there is no quorum."""
        while True:
            self._verdict = await self._standby.stand_by(self._me, replica)
            while self._verdict is not Quorum.SERVES:
                self._verdict = await self._without_quorum(self._verdict, replica)
            self._changed()

    async def _without_quorum(self, verdict: Quorum, replica: Replica) -> Quorum:
        """Judge and tell for itself, or hold, as configured, until what is known of the quorum is another thing."""
        is_nowhere = verdict is Quorum.IMPOSSIBLE
        tells = (self._settings.alone if is_nowhere else self._settings.isolated) == "tell"
        log.warning("group: %s", self._problem(self._role()))
        try:
            if tells:
                alone = replace(self._journal.progress or Progress(), alone=True, judged_at=self._wall())
                await self._spool.commit((), alone.states())
                self._journal.progress = alone
                self._journal.is_alone = True
                self._spool.wake()
                self._changed()
                await replica.judge_present()
            else:
                self._changed()
            found = verdict
            while found is verdict:
                await asyncio.sleep(PROBE_SECONDS)
                found = await self._standby.verdict()
        finally:
            self._journal.is_alone = False
        if found is Quorum.SERVES:
            log.info("group: etcd serves again, this agent stands by")
        return found

    async def _describe_changes(self) -> None:
        """Tell the others of another role or configuration at once, and see theirs."""
        while True:
            await self._role_changed.wait()
            self._role_changed.clear()
            try:
                await self._members.once()
            except EtcdTrouble:  # kept in the members' `problem`
                await asyncio.sleep(SHOW_SECONDS)
                self._role_changed.set()
                continue
            # Not before it is known who else is there, and whether their configuration is the same.
            self._journal.was_reloaded |= self._was_reloaded
            self._was_reloaded = False

    async def _show_often(self) -> None:
        while True:
            self._changed()
            role = self._role()
            if role not in _WITHOUT_QUORUM and (line := self._problem_log.note(self._problem(role), self._clock())):
                log.log(logging.WARNING if self._problem(role) else logging.INFO, "group: %s", line)
            await asyncio.sleep(SHOW_SECONDS)

    def _contacted(self, at: float) -> None:
        self._standby.contacted(at)

    def _changed(self) -> None:
        if (role := self._role()) is not self._role_before:
            self._role_before = role
            self._role_changed.set()
        self._show(self.status())

    async def _leave(self) -> None:
        """Take this member's key away, and close the connections."""
        with suppress(TimeoutError, EtcdTrouble):  # it ends with its lease
            async with deadline(_LEAVE_SECONDS):
                await self._members.withdraw()
        with suppress(TimeoutError):
            async with deadline(_LEAVE_SECONDS):
                await self._clients.close()

    def _may_tell(self) -> bool:
        return self._journal.is_alone or (self._leadership.is_open and not self._acceptances.is_behind)

    def _me(self) -> Candidate:
        return Candidate(
            name=self._name,
            instance=self._instance,
            lease_seconds=self._settings.lease,
            sinks=frozenset(self._config.sinks),
        )

    def _role(self) -> GroupRole:
        if self._leadership.is_open:
            return GroupRole.LEADER
        return {Quorum.IMPOSSIBLE: GroupRole.ALONE, Quorum.UNKNOWN: GroupRole.ISOLATED}.get(
            self._verdict, GroupRole.STANDBY
        )

    def _problem(self, role: GroupRole) -> str:
        """Why the group is not well for this agent; empty while it is."""
        if role is GroupRole.ALONE:
            act = "it tells for itself" if self._settings.alone == "tell" else "alarms are held"
            return f"no quorum of etcd can exist, {act}: {self._standby.evidence}"
        if role is GroupRole.ISOLATED:
            act = "it tells for itself" if self._settings.isolated == "tell" else "alarms are held"
            return f"no quorum of etcd is seen from here, others may have one, {act}: {self._standby.evidence}"
        if self._members.is_taken:
            return f"another agent is a member as {self._name} too: give each an agent.name of its own"
        follower = self._standby.follower
        problems = [self._members.problem, self._unfit_to_lead() if role is GroupRole.LEADER else ""]
        if role is GroupRole.STANDBY:
            unfit = self._standby.claim.unfit
            problems = [
                follower.problem if follower is not None else "",
                self._standby.trouble,
                f"this agent stands back: {unfit}" if unfit else "",
                self._members.problem,
            ]
        return next(filter(None, problems), "")

    def _unfit_to_lead(self) -> str:
        """Why another one should lead, were one there; empty once all that are there have one configuration."""
        live = self._members.live()
        if len(live) > 1 and all(each.digest == self._config.digest for each in live):
            return ""
        unfit = self._standby.misfit(self._me())
        return f"this agent leads although it does not fit: {unfit}" if unfit else ""

    def _describe(self) -> MemberRecord:
        sources_up, sources_expected = self._sources()
        follower = self._standby.follower
        return MemberRecord(
            name=self._name,
            instance=self._instance,
            version=self._version,
            digest=self._config.digest,
            role=self._role(),
            sources_up=sources_up,
            sources_expected=sources_expected,
            time=self._wall(),
            sinks=sorted(self._config.sinks),
            clock_offset=follower.clock_offset_seconds if follower is not None else None,
        )
