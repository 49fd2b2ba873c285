"""This agent follows, and watches who leads: until it leads itself, or etcd has been without a quorum for too long."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from hsm_agent.group.evidence import Instant, Outage, Quorum, Standing, is_sound, standing_of
from hsm_agent.group.follow import Follower
from hsm_agent.group.lead import BEATS_A_LEASE, NEVER, STAND_BACK_LEASES, claim, may_follow, misfit, must_seed
from hsm_agent.group.leadership import Following
from hsm_agent.net.etcd_messages import EtcdTrouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hsm_agent.group.base import Replica
    from hsm_agent.group.clients import GroupClients
    from hsm_agent.group.journal import GroupJournal
    from hsm_agent.group.keys import BeatRecord, GroupKeys, LockRecord, Seen
    from hsm_agent.group.lead import Candidate
    from hsm_agent.group.leadership import Leadership
    from hsm_agent.group.settings import GroupSettings

log = logging.getLogger(__name__)

PROBE_SECONDS = 1.0
_BACK_OFF_LEASES = 0.25
"""After an attempt to lead that failed, or a lead that was lost, before the next one."""
_PAUSES_A_LEASE = 8
_IDLE_BEATS = 2
"""So many were to come before another endpoint is watched: it is found before the leader's lease ends."""
_LEAST_PAUSE_SECONDS = 0.02
_EARLY_SECONDS = 2.0
"""How long before something follows from an outage the endpoints are asked."""


class Standby:
    """One follower after the other, and what was seen by the last one."""

    def __init__(
        self,
        clients: GroupClients,
        keys: GroupKeys,
        journal: GroupJournal,
        leadership: Leadership,
        settings: GroupSettings,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.follower: Follower | None = None
        self.claim = NEVER
        """When this agent may try to lead, as it was decided last."""
        self.not_before = -inf
        """When this agent may try to lead again, whatever it sees."""
        self.trouble = ""
        """Why this agent could not lead when it tried last; empty where it could, has not tried, or another leads."""
        self.evidence = ""
        """What each endpoint said when all were asked last, in one line."""
        self._is_only_read = False
        """Nothing is known to be written since the lock was tried last: that etcd can be read makes it serve nobody."""
        self._tried_revision = 0
        """Of the lock as it was then."""
        self._before: tuple[Seen[LockRecord], Seen[BeatRecord]] | None = None
        """What stood there of the last leader when this agent took the lock."""
        self.contact_at = clock()
        """When etcd served this agent last, or the start."""
        self._clients, self._keys = clients, keys
        self._journal, self._leadership = journal, leadership
        self._outage = Outage(after_seconds=settings.alone_after, now=self.contact_at)
        self._lease_seconds, self._alone_after_seconds = settings.lease, settings.alone_after
        self._clock, self._wall = clock, wall
        self._seen = asyncio.Event()
        self._name = self._last_leader = ""
        self._first_beat: int | None = None
        """The revision of the beat that the follower saw first: a later one is of a leader that is there."""
        self._last_revisions: tuple[int, ...] = ()
        """Of lock, beat and head, as it saw them last. An earlier one is of an etcd that was put back, or is new."""
        self._look_at = self._probe_at = -inf

    def contacted(self, at: float) -> None:
        """Etcd served this agent then."""
        if at > self.contact_at:
            self.contact_at, self._is_only_read = at, False
            self._outage.succeeded(at)

    async def stand_by(self, me: Callable[[], Candidate], replica: Replica) -> Quorum:
        """Follow until this agent has led (SERVES), or there is no quorum for too long."""
        self._name = me().name
        following = self._begin(replica)
        try:
            while True:
                await self._pause()
                if following.task.done():
                    following.task.result()  # a bug of the follower's ends the agent, as every task's does
                self._note(following.follower)
                if await self._is_due(following.follower, me()):
                    if await self._lead(following, me(), replica):
                        return Quorum.SERVES
                elif (verdict := await self.verdict()) is not Quorum.SERVES:
                    return verdict
        finally:
            if not following.is_stopped:
                await following.stop()
                self._journal.progress = following.follower.progress

    async def verdict(self) -> Quorum:
        """Whether etcd has a quorum, as far as it is known. The endpoints are asked where it has been silent."""
        now = self._clock()
        if now - self.contact_at < self._alone_after_seconds - _EARLY_SECONDS:
            return Quorum.SERVES
        if now >= self._probe_at:
            self._probe_at = now + PROBE_SECONDS
            troubles = await self._clients.probe.ask()
            is_clock_sound = self._is_clock_sound()
            standings = {
                endpoint: standing_of(trouble, clock_is_sound=is_clock_sound) for endpoint, trouble in troubles.items()
            }
            self.evidence = _evidence(troubles)
            self._outage.asked(standings, self._clock())
            if Standing.WORKS in standings.values():
                self.contacted(now)
        return self._outage.verdict(self._clock())

    def _begin(self, replica: Replica) -> Following:
        self._first_beat, self._last_revisions = None, ()
        self.claim = NEVER
        self.follower = Follower(
            self._clients.follow,
            self._keys,
            replica,
            progress=self._journal.progress,
            idle_seconds=self._lease_seconds * _IDLE_BEATS / BEATS_A_LEASE,
            retry_seconds=self._lease_seconds / _PAUSES_A_LEASE,
            on_seen=self._seen.set,
            may_follow=self._may_follow,
            clock=self._clock,
            wall=self._wall,
        )
        return Following(self.follower)

    async def _pause(self) -> None:
        """Until something was seen, or is due."""
        most = self._lease_seconds / _PAUSES_A_LEASE
        due = max(self.claim.at, self._look_at) - self._clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(_LEAST_PAUSE_SECONDS, min(most, due))):
                await self._seen.wait()
        self._seen.clear()

    def misfit(self, me: Candidate) -> str:
        """Why this agent, which leads, should not be the one; empty where nothing speaks against it."""
        if self._before is None or self._before[0].record is None:
            return ""
        return misfit(me, *self._before)

    def _note(self, follower: Follower) -> None:
        """Take note of what the follower has seen."""
        if follower.beat.at is not None:
            revisions = tuple(seen.mod_revision for seen in (follower.lock, follower.beat, follower.head))
            is_put_back = any(now < before for now, before in zip(revisions, self._last_revisions, strict=False))
            if self._first_beat is None or is_put_back:  # then also where it is the one that was seen last
                self._first_beat = follower.beat.mod_revision
            self._last_revisions = revisions
        for seen in (follower.lock, follower.beat, follower.head):
            if seen.at is not None:
                self.contacted(seen.at)
        left = self._leadership.left_epoch
        if left is not None and follower.lock.mod_revision > left and self.not_before < inf:
            self.not_before, self._leadership.left_epoch = -inf, None  # another one leads: should it fail, this one may
        if follower.is_caught_up and self._tried_revision < follower.lock.mod_revision < follower.head.mod_revision:
            self.trouble = ""
        if (lock := follower.lock.record) is not None:
            if lock.name not in {self._journal.leader, self._name}:
                log.info("group: %s has the lead, epoch %d", lock.name, follower.lock.mod_revision)
            self._last_leader = self._journal.leader = lock.name
        if follower.config.record is not None:
            self._journal.withdrawn_digest = follower.config.record.digest

    def _may_follow(self, follower: Follower) -> bool:
        self._note(follower)
        if self._leadership.is_catching_up:
            return True
        is_there = self._first_beat is not None and follower.beat.mod_revision > self._first_beat
        return may_follow(follower.progress, follower.lock, follower.beat, follower.head, leader_is_there=is_there)

    async def _is_due(self, follower: Follower, me: Candidate) -> bool:
        """Whether this agent is to lead now: what it saw last is confirmed first."""
        now = self._clock()
        is_due = self._decide(follower, me) <= now and self._is_ready(follower)
        is_quiet = now - self.contact_at > self._lease_seconds
        if not (is_due or is_quiet) or now < self._look_at:
            return False
        try:
            async with asyncio.timeout(self._lease_seconds):
                await follower.look()
        except (EtcdTrouble, TimeoutError) as error:
            log.debug("group: %s", error)
            self._look_at = self._clock() + self._lease_seconds / _PAUSES_A_LEASE
            return False
        if not self._is_only_read:
            self.contacted(now)
        self._clients.ask_who_answers()
        self._note(follower)
        is_due = self._decide(follower, me) <= self._clock() and self._is_ready(follower)
        if not is_due:
            self._look_at = self._clock() + self._lease_seconds / _PAUSES_A_LEASE
        return is_due

    def _decide(self, follower: Follower, me: Candidate) -> float:
        """When this agent may try to lead, by what was seen."""
        self.claim = claim(me, follower.lock, follower.beat, last_leader=self._last_leader, not_before=self.not_before)
        return self.claim.at

    def _is_ready(self, follower: Follower) -> bool:
        """Whether the replica is what was committed; or only who leads can say what it is to be."""
        return (
            follower.is_caught_up
            or must_seed(follower.progress, follower.head.record)
            or not self._may_follow(follower)
        )

    async def _lead(self, following: Following, me: Candidate, replica: Replica) -> bool:
        """Lead, if the lock can be taken."""
        yielded_before = self._leadership.yielded_at
        self.trouble, self._tried_revision = "", following.follower.lock.mod_revision
        self._before = following.follower.lock, following.follower.beat
        has_led, self._is_only_read = False, True
        try:
            has_led = await self._leadership.lead(following, me, replica)
        except (EtcdTrouble, TimeoutError) as error:
            self.trouble = str(error) or "etcd did not answer"
        yielded = self._leadership.yielded_at
        now = self._clock()
        if yielded is not None and yielded != yielded_before:
            self.not_before = max(self.not_before, now + STAND_BACK_LEASES * self._lease_seconds)
        else:
            self.not_before = max(self.not_before, now + _BACK_OFF_LEASES * self._lease_seconds)
        return has_led

    def _is_clock_sound(self) -> bool:
        """Whether our wall clock may be believed about certificates."""
        follower, progress = self.follower, self._journal.progress
        seen = None
        if follower is not None and follower.beat.record is not None and follower.beat.at is not None:
            seen = Instant(wall=follower.beat.record.time, boot=follower.beat.at)
        stored = progress.judged_at if progress is not None else 0.0
        return is_sound(Instant(wall=self._wall(), boot=self._clock()), seen=seen, stored=stored)


def _evidence(troubles: Mapping[str, EtcdTrouble | None]) -> str:
    """Each endpoint with its trouble; those that serve are left out."""
    texts = {endpoint: str(trouble) for endpoint, trouble in troubles.items() if trouble is not None}
    return "; ".join(text if text.startswith(endpoint) else f"{endpoint}: {text}" for endpoint, text in texts.items())
