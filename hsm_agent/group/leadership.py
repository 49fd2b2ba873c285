"""This agent leads: from the taking of the lock over its beats to the end, whoever ends it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from hsm_agent.group.base import NotCommittedError
from hsm_agent.group.fence import Fence
from hsm_agent.group.keys import BeatRecord, record_bytes
from hsm_agent.group.lead import HandOver, must_seed
from hsm_agent.group.takeover import read_head, read_waiting, seed, sweep, take_lock
from hsm_agent.net.etcd_messages import Compare, EtcdTrouble, EtcdUnavailable, Put
from hsm_agent.threads import deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from hsm_agent.group.acceptances import Acceptances
    from hsm_agent.group.base import MemberSpool, Replica
    from hsm_agent.group.clients import GroupClients
    from hsm_agent.group.follow import Follower
    from hsm_agent.group.journal import GroupJournal
    from hsm_agent.group.keys import GroupKeys, MemberRecord
    from hsm_agent.group.lead import Candidate, Tenure
    from hsm_agent.group.members import Members

log = logging.getLogger(__name__)

T = TypeVar("T")

CATCH_UP_SECONDS = 300.0
"""To read all that stands in etcd: 80 MB where there are histories of a thousand tokens."""
_CATCH_UP_LEASES = 5
"""To read what was committed last, also where the endpoint that is watched has just died."""
_RETRY_SECONDS = 0.1
_LOOK_SECONDS = 0.25
"""How often a leader looks whether it still leads, and what it was asked for."""


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait until it has cleaned up. Raises what it raised.

    Who just awaits a task that it has cancelled cannot tell that task's cancellation from its own, and loses its own.
    """
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def _before(follower: Follower, name: str, now: float) -> str:
    """Who led before, and why it does not any more, as the end of a sentence; empty where it was `name` or nobody."""
    lock, beat = follower.lock.record, follower.beat
    if lock is None or lock.name == name:
        return ""
    if beat.record is not None and beat.record.yields_to is not None:
        return f"; {lock.name} left it to others"
    silent = "" if beat.at is None else f", which was silent for {now - beat.at:.1f} s"
    return f"; before it was {lock.name}{silent}"


class Following:
    """A follower, and the task in which it runs."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.task = asyncio.create_task(follower.run())
        self.is_stopped = False

    async def stop(self) -> None:
        """It follows no more; what it had begun to take in is done."""
        await _end(self.task)
        self.is_stopped = True


class Leadership:
    """One lead after the other."""

    def __init__(
        self,
        clients: GroupClients,
        keys: GroupKeys,
        spool: MemberSpool,
        journal: GroupJournal,
        acceptances: Acceptances,
        members: Members,
        *,
        describe: Callable[[], MemberRecord],
        hand_over_after: float | None,
        announce: Callable[[str], Awaitable[None]],
        on_change: Callable[[], None],
        on_contact: Callable[[float], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`on_contact` is called with the time when a beat was begun that succeeded."""
        self.tenure: Tenure | None = None
        self.is_catching_up = False
        """The lock is ours, and what stands in etcd is what this agent takes in."""
        self.takeovers_total = self.fenced_total = 0
        self.hand_over = HandOver(after_seconds=hand_over_after)
        self.yielded_at: float | None = None
        self.left_epoch: int | None = None
        """The epoch that was left to others last because they are to lead; not where this agent could not lead."""
        self._beats_etcd, self._etcd, self._keys = clients.beats, clients.commits, keys
        self._spool, self._journal, self._acceptances = spool, journal, acceptances
        self._members, self._describe, self._announce = members, describe, announce
        self._on_change, self._on_contact = on_change, on_contact
        self._clock, self._wall = clock, wall
        self._wanted: str | None = None
        """To whom it is to yield, empty for any; None while it is to go on."""
        self._yields_to: str | None = None
        """To whom it has yielded."""
        self._looks, self._ends = asyncio.Event(), asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether this agent judges and tells as the leader."""
        return self.tenure is not None and self.tenure.may_tell(self._clock())

    async def lead(self, following: Following, me: Candidate, replica: Replica) -> bool:
        """Take the lock, and lead until that ends; False where it could not be taken. Raises EtcdTrouble."""
        follower = following.follower
        is_handed = follower.beat.record is not None and follower.beat.record.yields_to is not None
        # Said now: the follower will soon have seen who leads then.
        notice = f"{me.name} leads the group now{_before(follower, me.name, self._clock())}"
        async with asyncio.timeout(2 * me.lease_seconds):
            tenure = await take_lock(
                self._beats_etcd,
                self._keys,
                me,
                lock=follower.lock,
                beat=follower.beat,
                clock=self._clock,
                wall=self._wall,
            )
        if tenure is None:
            return False
        self.tenure, self._wanted, self._yields_to, self.left_epoch = tenure, None, None, None
        self._ends.clear()
        if is_handed:
            self.hand_over.last = self._clock()
        beats = asyncio.create_task(self._beat(tenure))
        try:
            await self._while_held(tenure, beats, self._open(tenure, following, replica, notice))
        finally:
            tenure.end("this agent stops")
            self._close(tenure)
            try:
                await _end(beats)
                await self._write_yield(tenure)
            finally:
                self._ends.set()
        return True

    async def yield_to(self, name: str) -> None:
        """Let another one lead; returns when that is done. The caller has the deadline."""
        if self.tenure is not None:
            self._wanted = name
            self._looks.set()
            await self._ends.wait()

    async def _while_held(
        self, tenure: Tenure, beats: asyncio.Task[None], work: Coroutine[object, object, None]
    ) -> None:
        """Do it as long as the beats go on. Who holds the lock and cannot lead leaves it to others."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, beats}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            try:
                await _end(task)
            except NotCommittedError as error:
                log.warning("group: %s", error)
            except (EtcdTrouble, TimeoutError) as error:
                why = str(error) or "what was committed is not held here in time"
                log.warning("group: could not lead: %s", why)
                if tenure.is_held(self._clock()):
                    self._yields_to, self.yielded_at = "", self._clock()
                    tenure.end(why)

    async def _beat(self, tenure: Tenure) -> None:
        """Say that the leader is there, until it is no more."""
        lock = Compare(key=self._keys.lock, mod_revision=tenure.epoch)
        trouble, revision = "no answer", tenure.epoch
        while tenure.ended is None:
            begun = self._clock()
            if not tenure.is_held(begun):
                tenure.end(f"etcd has not answered within the lease: {trouble}")
                break
            beat = Put(key=self._keys.beat, value=self._beat_record(tenure))
            if self._journal.fence is not None:
                revision = max(revision, self._journal.fence.revision)
            try:
                async with asyncio.timeout(tenure.tells_until - begun):
                    done = await self._beats_etcd.transaction(compares=[lock], puts=[beat])
            except (EtcdTrouble, TimeoutError) as error:
                trouble = str(error) or trouble
                await asyncio.sleep(tenure.lease_seconds / 40)
                continue
            if not done.succeeded:
                tenure.end("another one leads", fenced=True)
                break
            if done.revision <= revision:  # each beat is a revision of its own, after what was committed before it
                tenure.end("etcd was put back to what it was before")
                break
            revision = done.revision
            tenure.beaten(begun)
            self._on_contact(begun)
            await asyncio.sleep(max(0.0, tenure.beat_due - self._clock()))
        self._looks.set()

    def _beat_record(self, tenure: Tenure, *, yields_to: str | None = None) -> bytes:
        sinks = list(self._describe().sinks)
        fence = self._journal.fence
        number = 0 if fence is None else fence.head_number
        return record_bytes(
            BeatRecord(time=self._wall(), epoch=tenure.epoch, number=number, yields_to=yields_to, sinks=sinks)
        )

    async def _open(self, tenure: Tenure, following: Following, replica: Replica, notice: str) -> None:
        """Hold what was committed, open, and lead."""
        head, head_revision = await self._asked(tenure, lambda: read_head(self._etcd, self._keys))
        fence = Fence(
            self._etcd,
            self._keys,
            tenure,
            head=head,
            head_revision=head_revision,
            clock=self._clock,
            wall=self._wall,
            new_id=lambda: secrets.token_hex(8),
        )
        if must_seed(self._journal.progress, head):
            await self._stop(following)
            await self._seed(fence, replica)
        else:
            await self._catch_up(tenure, following)
        self._journal.begin(fence, events=await self._take_over_queue(fence))
        tenure.is_open = True
        self.takeovers_total += 1
        self._on_change()
        self._spool.wake()
        log.warning("group: %s (epoch %d)", notice, tenure.epoch)
        await replica.judge_present()
        await self._announce(notice)
        await self._go_on(tenure)

    async def _seed(self, fence: Fence, replica: Replica) -> None:
        """Put into etcd what is held here."""
        held = self._journal.progress
        if held is None or held.alone:
            await replica.share()
        fence.head_number = max(fence.head_number, held.head_number if held is not None else 0)
        content = await replica.content()
        if content.states or content.events:
            log.warning("group: etcd holds less than this agent, which puts %d states there", len(content.states))
        else:
            log.info("group: nothing is held of the group's yet, here and in etcd: this agent begins it")
        await self._asked(fence.tenure, lambda: seed(self._etcd, fence, self._keys, content))

    async def _catch_up(self, tenure: Tenure, following: Following) -> None:
        self.is_catching_up = True
        try:
            is_near = following.follower.is_caught_up
            seconds = _CATCH_UP_LEASES * tenure.lease_seconds if is_near else CATCH_UP_SECONDS
            await following.follower.catch_up_to(tenure.epoch, seconds=seconds)
        finally:
            self.is_catching_up = False
        await self._stop(following)

    async def _stop(self, following: Following) -> None:
        await following.stop()
        self._journal.progress = following.follower.progress

    async def _take_over_queue(self, fence: Fence) -> int:
        """Hold exactly the events that wait in etcd; how many there are."""
        # What this agent's sinks accepted when it told before waits no more, whatever etcd still says.
        await self._acceptances.flushed(fence.tenure.lease_seconds / 2)
        found = await self._asked(fence.tenure, lambda: read_waiting(self._etcd, self._keys))
        await sweep(fence, found.orphans)
        self._acceptances.lead(fence.tenure, found.waiting)
        await self._spool.replace_shared(found.content, self._journal.advance(fence))
        return len(found.content.events)

    async def _asked(self, tenure: Tenure, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again for as long as the lead is held. Raises EtcdTrouble."""
        while True:
            try:
                return await ask()
            except EtcdUnavailable:
                if not tenure.is_held(self._clock()):
                    raise
            await asyncio.sleep(_RETRY_SECONDS)

    async def _go_on(self, tenure: Tenure) -> None:
        """Lead, until it ends or another one is to."""
        while tenure.ended is None:
            if self._wanted is None:
                self._wanted = self.hand_over.due(self._describe(), self._members.live(), self._clock()) or None
            if self._wanted is not None:
                await self._yield(tenure, self._wanted)
                return
            await self._journal.write_config()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._looks.wait()
            self._looks.clear()

    async def _yield(self, tenure: Tenure, to: str) -> None:
        """Judge and tell no more, record what was accepted, and say who is to lead."""
        tenure.is_open = False
        self.yielded_at = self.hand_over.last = self._clock()
        self._on_change()
        await self._journal.settled()
        await self._acceptances.flushed(tenure.lease_seconds / 2)
        self._yields_to, self.left_epoch = to, tenure.epoch
        tenure.end(f"left to {to or 'another one'}")

    async def _write_yield(self, tenure: Tenure) -> None:
        """Say who is to lead, if it was yielded; where that fails the others wait for the lease's end."""
        to = self._yields_to
        if to is None:
            return
        lock = Compare(key=self._keys.lock, mod_revision=tenure.epoch)
        put = Put(key=self._keys.beat, value=self._beat_record(tenure, yields_to=to))
        try:
            async with deadline(tenure.lease_seconds):
                await self._beats_etcd.transaction(compares=[lock], puts=[put])
        except (EtcdTrouble, TimeoutError) as error:
            log.warning("group: nobody was told that another one may lead: %s", str(error) or "no answer")

    def _close(self, tenure: Tenure) -> None:
        self._journal.fence = None
        self._acceptances.tenure = None
        self.tenure = None
        self.fenced_total += tenure.was_fenced
        self._on_change()
        log.warning("group: this agent leads no more: %s", tenure.ended)
