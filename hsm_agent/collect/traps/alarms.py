"""The alarms that traps have raised and cleared: what stands now, and when what has no end of its own ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.collect.traps.maps import Level
from hsm_agent.model import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hsm_agent.collect.traps.maps import Change

MOST_ALARMS = 1000
"""A sender that invents components must not fill memory and tables."""


class Key(NamedTuple):
    """Which alarm: the address it comes from, the device's component (empty for the whole), the alarm's name."""

    address: str
    component: str
    alarm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of an alarm. Times are UTC seconds; `ends_at` is None for one whose sender tells of the end."""

    level: Level
    note: str
    last: float
    ends_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What a trap said, where it came from and when (UTC seconds)."""

    address: str
    change: Change
    time: float


class Alarms:
    """All alarms that are known, raised or cleared."""

    def __init__(self, known: Mapping[Key, Standing], *, clear_after: float, devices: Mapping[str, str]) -> None:
        """`clear_after` is for changes without one of their own; `devices` are names by address."""
        self.known = dict(known)
        self._clear_after = clear_after
        self._devices = dict(devices)

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

    def apply(self, happening: Happening) -> bool:
        """Take it in. False if it is of an alarm not known yet and there is no room for another one."""
        change, room = happening.change, True
        ends_at = None
        if change.ends:
            ends_at = happening.time + (self._clear_after if change.clear_after is None else change.clear_after)
        for key in self._keys(happening):
            if key in self.known or self._make_room():
                self.known[key] = Standing(level=change.level, note=change.note, last=happening.time, ends_at=ends_at)
            else:
                room = False
        return room

    def _make_room(self) -> bool:
        if len(self.known) < MOST_ALARMS:
            return True
        over = [(standing.last, key) for key, standing in self.known.items() if standing.level is Level.CLEARED]
        if over:
            del self.known[min(over)[1]]
        return bool(over)

    def expire(self, now: float) -> bool:
        """End what has stood long enough and has no end of its own. Whether there was any."""
        over = [key for key, one in self.known.items() if one.ends_at is not None and one.ends_at <= now]
        for key in over:
            self.known[key] = replace(self.known[key], level=Level.CLEARED, note="no further trap", ends_at=None)
        return bool(over)

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
        before = len(self.known)
        self.known = {key: standing for key, standing in self.known.items() if wanted(key)}
        return len(self.known) < before

    def readings(self, source: str, now: float) -> list[Reading]:
        """State and age of every alarm."""
        found = []
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
