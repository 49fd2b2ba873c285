"""When an agent of a group tries to lead, may tell, follows, and lets another one lead. Pure: clocks are arguments.

All times but those of records are of one clock that counts on while the host sleeps. A leader tells until a share of
its lease after it *began* the last beat that succeeded; a standby waits a whole lease after it *saw* that beat, which
was later: so clocks may differ in speed by the rest of the lease.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from hsm_agent.group.keys import FORMAT
from hsm_agent.model import GroupRole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from hsm_agent.group.keys import BeatRecord, HeadRecord, LockRecord, MemberRecord, Seen
    from hsm_agent.group.progress import Progress

TELLS_SHARE = 0.95
"""Of a lease: so long after a beat was begun a leader may tell."""
BEATS_A_LEASE = 4
STAND_BACK_LEASES = 3
"""How much later than others a member tries that does not fit, or has just yielded."""
HAND_OVER_PAUSE_SECONDS = 600.0
"""From one hand-over to the next, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Who would lead."""

    name: str
    instance: str
    lease_seconds: float
    sinks: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """From when on a candidate may try to lead. `unfit`: why it tries later than others; empty where it fits."""

    at: float
    unfit: str = ""


NEVER = Claim(at=inf)


def is_ours(me: Candidate, lock: LockRecord | None) -> bool:
    """Whether it was this agent that led last, in this life or the one before."""
    return lock is not None and (lock.name, lock.instance) == (me.name, me.instance)


def misfit(me: Candidate, lock: Seen[LockRecord], beat: Seen[BeatRecord]) -> str:
    """Why this agent should not be the next leader after that one; empty where nothing speaks against it."""
    record = lock.record
    if record is None:
        return "the lock cannot be read" if lock.mod_revision else ""
    told = beat.record.sinks if beat.record is not None else None
    if missing := sorted(set(record.sinks if told is None else told) - me.sinks):
        return f"no sink {', '.join(missing)[:120]} here, which {record.name} has"
    if record.lease_seconds != me.lease_seconds and not is_ours(me, record):
        return f"a lease of {me.lease_seconds:g} s here, and of {record.lease_seconds:g} s at {record.name}"
    return ""


def claim(
    me: Candidate, lock: Seen[LockRecord], beat: Seen[BeatRecord], *, last_leader: str = "", not_before: float = -inf
) -> Claim:
    """When this agent may try to lead, from what it has seen. `last_leader`: by name, where there is no lock any more.

    `not_before`: what it owes to others: it has just yielded, or failed.
    """
    if lock.at is None or beat.at is None:
        return NEVER
    record = lock.record
    if record is not None and record.format > FORMAT:
        return Claim(at=inf, unfit=f"{record.name} is of a newer version, whose format this one does not know")
    unfit = misfit(me, lock, beat)
    lease = max(me.lease_seconds, record.lease_seconds if record is not None else 0.0)
    at = max(lock.at, beat.at) + (STAND_BACK_LEASES * lease if unfit else 0.0)
    yields_to = beat.record.yields_to if beat.record is not None and record is not None else None
    if record is None and not lock.mod_revision:
        at += 0.0 if last_leader in {"", me.name} else lease
    elif not is_ours(me, record) and yields_to not in {"", me.name}:
        at += lease
    return Claim(at=max(at, not_before), unfit=unfit)


def may_follow(
    progress: Progress | None,
    lock: Seen[LockRecord],
    beat: Seen[BeatRecord],
    head: Seen[HeadRecord],
    *,
    leader_is_there: bool,
) -> bool:
    """Whether what is in etcd is the group's, so that it may be taken in instead of what this agent holds.

    It is not where there is no head or not all of it. Where it is older than what is held here, put back from a backup,
    and where this agent has judged for itself, it is the group's only once somebody leads who has opened,
    `leader_is_there`: what stands there before is only what was there when all were left alone. A leader that holds
    more than stands there, by its beat, has not yet seen that etcd was put back, and will put it there.
    """
    if head.record is None or not head.record.whole:
        return False
    if progress is not None and not progress.alone and head.record.number >= progress.head_number:
        return True
    is_all = beat.record is None or beat.record.number <= head.record.number
    return head.mod_revision > lock.mod_revision and leader_is_there and is_all


def must_seed(progress: Progress | None, head: HeadRecord | None) -> bool:
    """Whether who leads now puts into etcd what it holds, instead of taking in what is there."""
    if head is None or not head.whole:
        return True
    if progress is None or not progress.head_id:
        return False
    if head.number < progress.head_number:
        return True
    return head.id == progress.head_id and progress.alone


@dataclass(slots=True, kw_only=True)
class Tenure:
    """One lead, from the taking of the lock to its end."""

    epoch: int
    lease_seconds: float
    beaten_at: float
    """When the last beat that succeeded was begun; the taking of the lock is the first one."""
    is_open: bool = False
    """All is held here that was committed before: this agent judges and tells."""
    ended: str | None = None
    """Why it ended; None while it has not."""
    was_fenced: bool = False
    """It ended because another one leads."""

    @property
    def tells_until(self) -> float:
        """Nothing is told from then on, unless there is another beat."""
        return self.beaten_at + TELLS_SHARE * self.lease_seconds

    @property
    def beat_due(self) -> float:
        """When the next beat is to be begun."""
        return self.beaten_at + self.lease_seconds / BEATS_A_LEASE

    def is_held(self, now: float) -> bool:
        """Whether nobody else can have taken the lead."""
        return self.ended is None and now < self.tells_until

    def may_tell(self, now: float) -> bool:
        """Whether what is the group's may be told now."""
        return self.is_open and self.is_held(now)

    def beaten(self, begun: float) -> None:
        """A beat that was begun then has succeeded."""
        self.beaten_at = max(self.beaten_at, begun)

    def end(self, why: str, *, fenced: bool = False) -> None:
        """It is over, for the first reason given."""
        if self.ended is None:
            self.ended, self.was_fenced = why, fenced
        self.is_open = False


def withdraws(own_digest: str, live: Collection[MemberRecord], *, done_digest: str, was_reloaded: bool) -> bool:
    """Whether who leads may clear the alarms of what left the configuration: every live member has the same one.

    A leader without another member does so only after a reload: it may be the only one that was not changed yet.
    """
    if own_digest == done_digest or any(each.digest != own_digest for each in live):
        return False
    return was_reloaded or len(live) > 1


@dataclass(slots=True, kw_only=True)
class HandOver:
    """To whom a leader yields because that one reads more sources."""

    after_seconds: float | None
    last: float = -inf
    """When the lead was handed over last, to this agent or by it."""
    _since: dict[str, float] = field(default_factory=dict)
    """By member: since when it is better."""

    def due(self, own: MemberRecord, live: Iterable[MemberRecord], now: float) -> str:
        """The name of who is to lead; empty where it is to stay as it is. To be asked every few seconds."""
        if self.after_seconds is None:
            return ""
        better = {each.name: each.sources_up for each in live if _is_better(each, own)}
        self._since = {name: self._since.get(name, now) for name in better}
        if now - self.last < HAND_OVER_PAUSE_SECONDS:
            return ""
        waited = [name for name, since in self._since.items() if now - since >= self.after_seconds]
        return max(waited, key=lambda name: (better[name], name), default="")


def unfit_for(own: MemberRecord, other: MemberRecord) -> str:
    """Why another member would hesitate to lead after this one; empty where nothing speaks against it."""
    missing = sorted(set(own.sinks) - set(other.sinks))
    return f"no sink {', '.join(missing)[:120]} at {other.name}" if missing else ""


def _is_better(other: MemberRecord, own: MemberRecord) -> bool:
    return (
        other.name != own.name
        and other.role is GroupRole.STANDBY
        and other.format <= FORMAT
        and other.digest == own.digest
        and not unfit_for(own, other)
        and other.sources_up > own.sources_up
    )
