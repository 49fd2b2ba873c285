"""The alarms that traps have raised and cleared, and when those that no trap clears end. Pure.

Their number is bounded, in all and for each sender. A change without room is refused and its inform not acknowledged; a
more important alarm evicts a less important one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.collect.traps.trap_maps import AlarmLevel
from hsm_agent.model import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hsm_agent.collect.traps.trap_maps import AlarmChange

MOST_ALARMS = 1000
MOST_ALARMS_EACH = 250
"""Of one sender: one that invents components must not fill memory and tables, nor take the room of others."""


class ApplyResult(Enum):
    """The result of applying a change."""

    APPLIED = "applied"
    FULL = "no room for it"
    OUTDATED = "its sender has sent a newer one"


class SentAt(NamedTuple):
    """The time of the sender's engine, which orders what it sent whatever order it comes in."""

    engine_id: str
    boots: int
    time: int


class AlarmKey(NamedTuple):
    """Which alarm: the address it comes from, the device's component (empty for the whole), the alarm's name."""

    address: str
    component: str
    alarm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRecord:
    """An alarm's last change. Times are UTC seconds; `ends_at` is None where a trap clears the alarm.

    `authentic`: received by SNMPv3. `sent` is known of v3 traps only.
    """

    level: AlarmLevel
    note: str
    last: float
    ends_at: float | None = None
    authentic: bool = False
    sent: SentAt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrapEvent:
    """A change of an alarm: its sender's address, and when it was received (UTC seconds)."""

    address: str
    change: AlarmChange
    time: float
    authentic: bool = False
    sent: SentAt | None = None


class TrapAlarms:
    """All known alarms, raised or cleared, and the evicted ones, whose state is unknown."""

    def __init__(
        self,
        known: Mapping[AlarmKey, AlarmRecord],
        *,
        clear_after_seconds: float,
        devices: Mapping[str, str],
        evicted: Iterable[AlarmKey] = (),
    ) -> None:
        """`clear_after_seconds` is for changes without one of their own; `devices` are names by address."""
        self._clear_after_seconds = clear_after_seconds
        self._devices = dict(devices)
        self.restore(known, evicted)

    def restore(self, known: Mapping[AlarmKey, AlarmRecord], evicted: Iterable[AlarmKey]) -> None:
        """Replace all alarms by stored ones."""
        self.known = dict(known)
        self.evicted = dict.fromkeys(evicted)
        """Raised alarms that were evicted: whether they are still raised is not known."""
        self._counts = Counter(key.address for key in self.known)
        self._left: set[str] = set()

    def resource(self, key: AlarmKey) -> str:
        """The resource of an alarm's readings."""
        device = self._devices.get(key.address, key.address)
        return f"{device}/{key.component}" if key.component else device

    def changed_by(self, event: TrapEvent) -> frozenset[AlarmKey]:
        """The alarms whose level this event would change."""
        level = event.change.level
        before = {key: self.known[key].level if key in self.known else AlarmLevel.CLEARED for key in self._keys(event)}
        return frozenset(key for key, known in before.items() if known is not level)

    def _keys(self, event: TrapEvent) -> list[AlarmKey]:
        """The alarm of the event. A clear that names no component is one of all components of the device."""
        address, change = event.address, event.change
        key = AlarmKey(address, change.component, change.alarm)
        if change.level is AlarmLevel.CLEARED and not change.component:
            others = [one for one in self.known if (one.address, one.alarm) == (address, change.alarm) and one != key]
            return [*([key] if key in self.known or not others else []), *others]
        return [key]

    def apply(self, event: TrapEvent) -> ApplyResult:
        """Apply the event. Of several alarms, those without room are refused and the others applied."""
        change, found = event.change, set[ApplyResult]()
        ends_at = None
        if change.ends:
            own = change.clear_after_seconds
            ends_at = event.time + (self._clear_after_seconds if own is None else own)
        record = AlarmRecord(
            level=change.level,
            note=change.note,
            last=event.time,
            ends_at=ends_at,
            authentic=event.authentic,
            sent=event.sent,
        )
        for key in self._keys(event):
            found.add(self._put(key, record))
        return next(one for one in (ApplyResult.FULL, ApplyResult.APPLIED, ApplyResult.OUTDATED) if one in found)

    def _put(self, key: AlarmKey, record: AlarmRecord) -> ApplyResult:
        before = self.known.get(key)
        if before is None:
            if not self._make_room(key, record):
                # A clear of an alarm that was never raised needs no room.
                missed = record.level is not AlarmLevel.CLEARED or key in self.evicted
                return ApplyResult.FULL if missed else ApplyResult.APPLIED
            self._counts[key.address] += 1
            self.evicted.pop(key, None)
        elif _is_older(record.sent, before.sent):
            return ApplyResult.OUTDATED
        self.known[key] = record
        return ApplyResult.APPLIED

    def _make_room(self, key: AlarmKey, record: AlarmRecord) -> bool:
        """Make room for an alarm, if need be by dropping a cleared one or evicting a less important one."""
        own = self._counts[key.address] >= MOST_ALARMS_EACH
        if not own and len(self.known) < MOST_ALARMS:
            return True
        candidates = [one for one in self.known.items() if not own or one[0].address == key.address]
        over = [(one.last, at) for at, one in candidates if one.level is AlarmLevel.CLEARED]
        if over:
            at = min(over)[1]
            self._drop(at)
            self._left.add(self.resource(at))
            return True
        # The first to go: unauthenticated alarms, warnings, those of the noisiest sender, old ones.
        less = [
            ((one.authentic, one.level, -self._counts[at.address], one.last), at)
            for at, one in candidates
            if self._may_be_evicted(at, one, key, record)
        ]
        if not less or record.level is AlarmLevel.CLEARED:
            return False
        victim = min(less)[1]
        self._drop(victim)
        self.evicted[victim] = None
        while len(self.evicted) > MOST_ALARMS:
            del self.evicted[next(iter(self.evicted))]
        return True

    def _may_be_evicted(self, at: AlarmKey, one: AlarmRecord, key: AlarmKey, record: AlarmRecord) -> bool:
        """Whether a new alarm may evict this one: a lower level, or a sender with more alarms."""
        if one.level is not record.level:
            return one.level < record.level
        if one.authentic is not record.authentic:
            return record.authentic
        return self._counts[at.address] > self._counts[key.address] + 1

    def _drop(self, key: AlarmKey) -> None:
        del self.known[key]
        self._counts[key.address] -= 1
        if not self._counts[key.address]:
            del self._counts[key.address]

    def expire(self, now: float) -> bool:
        """Clear the alarms whose `ends_at` has come. Returns whether there was any."""
        over = [key for key, one in self.known.items() if one.ends_at is not None and one.ends_at <= now]
        return self._clear(over, "no further trap")

    def _clear(self, keys: Sequence[AlarmKey], note: str) -> bool:
        for key in keys:
            self.known[key] = replace(self.known[key], level=AlarmLevel.CLEARED, note=note, ends_at=None)
        return bool(keys)

    def gone(self) -> tuple[str, ...]:
        """Resources whose last alarm was cleared and dropped, each once.

        A resource with an evicted alarm is not among them: the alarm may still be raised.
        """
        left, self._left = self._left, set()
        if not left:
            return ()
        return tuple(sorted(left.difference(map(self.resource, (*self.known, *self.evicted)))))

    def next_end(self) -> float | None:
        """The next `ends_at` (UTC seconds); None without any."""
        return min((one.ends_at for one in self.known.values() if one.ends_at is not None), default=None)

    def end(self, resource: str, alarm: str) -> bool:
        """Clear an alarm for an operator. Returns whether it is known."""
        ended = [key for key in self.known if key.alarm == alarm and self.resource(key) == resource]
        return self._clear(ended, "ended by an operator")

    def keep_only(self, wanted: Callable[[AlarmKey], bool]) -> bool:
        """Drop the alarms that are not wanted. Returns whether there was any."""
        before = len(self.known) + len(self.evicted)
        known = {key: record for key, record in self.known.items() if wanted(key)}
        self.restore(known, [key for key in self.evicted if wanted(key)])
        return len(self.known) + len(self.evicted) < before

    def readings(self, source: str, now: float) -> list[Reading]:
        """State and age of every alarm; an evicted one is unavailable."""
        found = []
        for key in self.evicted:
            unknown = Reading(
                source=source,
                resource=self.resource(key),
                metric="vendor_alarm",
                value=None,
                reason="too many alarms of appliances: this one gave way to others; look at the appliance",
                time=now,
                labels=(("alarm", key.alarm),),
            )
            found.append(unknown)
        for key, record in self.known.items():
            labels = (("alarm", key.alarm),)
            state = Reading(
                source=source,
                resource=self.resource(key),
                metric="vendor_alarm",
                value=int(record.level),
                time=now,
                labels=labels,
                note=f"{key.alarm}: {record.note}" if record.note else key.alarm,
            )
            age = max(0.0, now - record.last)
            found += [state, replace(state, metric="vendor_alarm_age_seconds", value=age, note="")]
        return found


def _is_older(sent: SentAt | None, known: SentAt | None) -> bool:
    """Whether an event was sent before the last one, by the clock of the engine that sent both."""
    if sent is None or known is None or sent.engine_id != known.engine_id:
        return False
    return (sent.boots, sent.time) < (known.boots, known.time)
