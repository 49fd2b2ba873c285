"""The alarms that traps have raised and cleared: what stands now, and when what has no end of its own ends. Pure.

There is room for so many, and for so many of one sender. What has no room is refused, and its sender not told that
it was taken; what matters more takes the place of what matters less.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.collect.traps.trap_maps import Level
from hsm_agent.model import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hsm_agent.collect.traps.trap_maps import Change

MOST_ALARMS = 1000
MOST_ALARMS_EACH = 250
"""Of one sender: one that invents components must not fill memory and tables, nor take the room of others."""


class Taken(Enum):
    """What became of a change."""

    IN = "taken in"
    FULL = "no room for it"
    OLD = "its sender has said something newer"


class Sent(NamedTuple):
    """The time of the sender's engine, which orders what it sent whatever order it comes in."""

    engine_id: str
    boots: int
    time: int


class Key(NamedTuple):
    """Which alarm: the address it comes from, the device's component (empty for the whole), the alarm's name."""

    address: str
    component: str
    alarm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of an alarm. Times are UTC seconds; `ends_at` is None for one whose sender tells of the end.

    `authentic`: said by SNMPv3. `sent` is known of v3 traps alone.
    """

    level: Level
    note: str
    last: float
    ends_at: float | None = None
    authentic: bool = False
    sent: Sent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What a trap said, where it came from and when (UTC seconds)."""

    address: str
    change: Change
    time: float
    authentic: bool = False
    sent: Sent | None = None


class Alarms:
    """All alarms that are known, raised or cleared, and those of which nothing is known any more."""

    def __init__(
        self,
        known: Mapping[Key, Standing],
        *,
        clear_after: float,
        devices: Mapping[str, str],
        pushed_out: Iterable[Key] = (),
    ) -> None:
        """`clear_after` is for changes without one of their own; `devices` are names by address."""
        self._clear_after = clear_after
        self._devices = dict(devices)
        self.recall(known, pushed_out)

    def recall(self, known: Mapping[Key, Standing], pushed_out: Iterable[Key]) -> None:
        """Go on from what was kept."""
        self.known = dict(known)
        self.pushed_out = dict.fromkeys(pushed_out)
        """Alarms that were raised and gave way to others: whether they still stand is not known."""
        self._counts = Counter(key.address for key in self.known)
        self._left: set[str] = set()

    def resource(self, key: Key) -> str:
        """The resource of an alarm's readings."""
        device = self._devices.get(key.address, key.address)
        return f"{device}/{key.component}" if key.component else device

    def turned(self, happening: Happening) -> frozenset[Key]:
        """The alarms whose level this would change, so that people are to be told."""
        level = happening.change.level
        return frozenset(key for key in self._keys(happening) if self._level(key) is not level)

    def _level(self, key: Key) -> Level:
        standing = self.known.get(key)
        return Level.CLEARED if standing is None else standing.level

    def _keys(self, happening: Happening) -> list[Key]:
        """The alarm that is meant; an end that names no component is one of all of the device's."""
        address, change = happening.address, happening.change
        key = Key(address, change.component, change.alarm)
        if change.level is Level.CLEARED and not change.component:
            others = [one for one in self.known if (one.address, one.alarm) == (address, change.alarm) and one != key]
            return [*([key] if key in self.known or not others else []), *others]
        return [key]

    def apply(self, happening: Happening) -> Taken:
        """Take it in. A part for which there is no room is lost; the rest of it is taken."""
        change, found = happening.change, set[Taken]()
        ends_at = None
        if change.ends:
            ends_at = happening.time + (self._clear_after if change.clear_after is None else change.clear_after)
        standing = Standing(
            level=change.level,
            note=change.note,
            last=happening.time,
            ends_at=ends_at,
            authentic=happening.authentic,
            sent=happening.sent,
        )
        for key in self._keys(happening):
            found.add(self._put(key, standing))
        return next(one for one in (Taken.FULL, Taken.IN, Taken.OLD) if one in found)

    def _put(self, key: Key, standing: Standing) -> Taken:
        before = self.known.get(key)
        if before is None:
            if not self._make_room(key, standing):
                # The end of what was never raised needs no room: nothing is lost with it.
                missed = standing.level is not Level.CLEARED or key in self.pushed_out
                return Taken.FULL if missed else Taken.IN
            self._counts[key.address] += 1
            self.pushed_out.pop(key, None)
        elif _is_older(standing.sent, before.sent):
            return Taken.OLD
        self.known[key] = standing
        return Taken.IN

    def _make_room(self, key: Key, standing: Standing) -> bool:
        """Room for another alarm, if need be in place of one that is over or means less."""
        own = self._counts[key.address] >= MOST_ALARMS_EACH
        if not own and len(self.known) < MOST_ALARMS:
            return True
        candidates = [one for one in self.known.items() if not own or one[0].address == key.address]
        over = [(one.last, at) for at, one in candidates if one.level is Level.CLEARED]
        if over:
            at = min(over)[1]
            self._drop(at)
            self._left.add(self.resource(at))
            return True
        less = [(self._worth(at, one), at) for at, one in candidates if self._means_less(at, one, key, standing)]
        if not less or standing.level is Level.CLEARED:
            return False
        victim = min(less)[1]
        self._drop(victim)
        self.pushed_out[victim] = None
        while len(self.pushed_out) > MOST_ALARMS:
            del self.pushed_out[next(iter(self.pushed_out))]
        return True

    def _means_less(self, at: Key, one: Standing, key: Key, standing: Standing) -> bool:
        """Whether an alarm may be pushed out by a new one: a lesser one, or one of a sender that has more of them."""
        if one.level is not standing.level:
            return one.level < standing.level
        if one.authentic is not standing.authentic:
            return standing.authentic
        return self._counts[at.address] > self._counts[key.address] + 1

    def _worth(self, at: Key, one: Standing) -> tuple[bool, Level, int, float]:
        """The least goes first: what anybody may have said, warnings, those of the noisiest sender, old ones."""
        return one.authentic, one.level, -self._counts[at.address], one.last

    def _drop(self, key: Key) -> None:
        del self.known[key]
        self._counts[key.address] -= 1
        if not self._counts[key.address]:
            del self._counts[key.address]

    def expire(self, now: float) -> bool:
        """End what has stood long enough and has no end of its own. Whether there was any."""
        over = [key for key, one in self.known.items() if one.ends_at is not None and one.ends_at <= now]
        for key in over:
            self.known[key] = replace(self.known[key], level=Level.CLEARED, note="no further trap", ends_at=None)
        return bool(over)

    def gone(self) -> tuple[str, ...]:
        """Resources of which nothing is remembered any more, since alarms that were over gave way; each is told once.

        One that was pushed out while it stood is not among them: whether it still does is not known.
        """
        left, self._left = self._left, set()
        if not left:
            return ()
        return tuple(sorted(left.difference(map(self.resource, (*self.known, *self.pushed_out)))))

    def next_end(self) -> float | None:
        """When the next alarm ends by itself."""
        return min((one.ends_at for one in self.known.values() if one.ends_at is not None), default=None)

    def end(self, resource: str, alarm: str) -> bool:
        """Take an alarm for over, because an operator says so; whether it is known."""
        ended = [key for key in self.known if key.alarm == alarm and self.resource(key) == resource]
        for key in ended:
            note = "ended by an operator"
            self.known[key] = replace(self.known[key], level=Level.CLEARED, note=note, ends_at=None)
        return bool(ended)

    def keep_only(self, wanted: Callable[[Key], bool]) -> bool:
        """Drop what is not wanted any more; whether there was any."""
        before = len(self.known) + len(self.pushed_out)
        known = {key: standing for key, standing in self.known.items() if wanted(key)}
        self.recall(known, [key for key in self.pushed_out if wanted(key)])
        return len(self.known) + len(self.pushed_out) < before

    def readings(self, source: str, now: float) -> list[Reading]:
        """State and age of every alarm; of those that were pushed out, that nothing is known."""
        found = []
        for key in self.pushed_out:
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
        for key, standing in self.known.items():
            labels = (("alarm", key.alarm),)
            state = Reading(
                source=source,
                resource=self.resource(key),
                metric="vendor_alarm",
                value=int(standing.level),
                time=now,
                labels=labels,
                note=f"{key.alarm}: {standing.note}" if standing.note else key.alarm,
            )
            age = max(0.0, now - standing.last)
            found += [state, replace(state, metric="vendor_alarm_age_seconds", value=age, note="")]
        return found


def _is_older(sent: Sent | None, known: Sent | None) -> bool:
    """Whether something was sent before what is known already, by the time of the engine that sent both."""
    if sent is None or known is None or sent.engine_id != known.engine_id:
        return False
    return (sent.boots, sent.time) < (known.boots, known.time)
