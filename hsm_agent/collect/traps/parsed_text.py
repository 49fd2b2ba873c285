"""Which notifications were heard before, so that none is judged twice. Pure; the clock is an argument.

A v3 message is known by its engine, its time there and its digest: a copy of it is no news within RFC 3414's time
window, behind which the receiver refuses it, and no news after a restart either. An inform is known by its sender, its
number and its content as well, since a sender that repeats one makes a new message of it.

A notification is remembered as *taken* once what it said is among the alarms, and only that is kept on disk: what a
crash loses before that is news when it is repeated.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp.clock import TIME_WINDOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.wire.snmp.trap import Origin, Trap

INFORM_SECONDS = 300.0
"""An inform that was not repeated for so long is forgotten: some senders begin to count again."""
MOST_INFORMS = 2048
MOST_INFORMS_EACH = 256
MOST_MESSAGES_EACH = 512
"""Messages of one engine within its time window; when there are more, those before the rest are taken for heard."""

Moment = tuple[int, int]
"""Boots and time of an engine."""


class Place(IntEnum):
    """How far a notification came."""

    WAITING = 0
    TAKEN = 1
    STORED = 2


class InformKey(NamedTuple):
    """The same for every repetition of an inform."""

    sender: str
    request_id: int
    content: bytes


class MessageKey(NamedTuple):
    """The same for every copy of a v3 message."""

    engine_id: bytes
    boots: int
    time: int
    digest: bytes


class Kept(NamedTuple):
    """What a restart must not forget: messages of v3 traps, and informs with when each was heard last (UTC seconds)."""

    messages: tuple[MessageKey, ...] = ()
    informs: tuple[tuple[InformKey, float], ...] = ()


@dataclass(slots=True)
class _Window:
    """The messages of one engine."""

    newest: Moment = (0, 0)
    floor: Moment = (-1, 0)
    """What is not after this and not known is taken for heard."""
    seen: dict[MessageKey, Place] = field(default_factory=dict)

    def knows(self, key: MessageKey) -> bool:
        return key in self.seen or (key.boots, key.time) <= self.floor

    def add(self, key: MessageKey, place: Place) -> None:
        moment = (key.boots, key.time)
        if moment > self.newest:
            self.newest = moment
            boots, oldest = key.boots, key.time - TIME_WINDOW_SECONDS
            self.seen = {one: at for one, at in self.seen.items() if one.boots == boots and one.time >= oldest}
        self.seen[key] = place
        if len(self.seen) > MOST_MESSAGES_EACH:
            first = min(self.seen, key=lambda one: (one.boots, one.time))
            self.floor = max(self.floor, (first.boots, first.time))
            del self.seen[first]


@dataclass(slots=True)
class _Repeated:
    place: Place
    heard: float


class Heard:
    """What was heard. Bounded for each sender, so that none makes the agent forget another's."""

    def __init__(self, kept: Kept = Kept()) -> None:  # noqa: B008 - a tuple that nobody changes
        self._windows: dict[bytes, _Window] = {}
        self._informs: OrderedDict[InformKey, _Repeated] = OrderedDict()
        self._counts: dict[str, int] = {}
        for message in sorted(kept.messages):
            self._windows.setdefault(message.engine_id, _Window()).add(message, Place.STORED)
        for key, heard in kept.informs:
            self._add_inform(key, _Repeated(Place.STORED, heard))

    def inform(self, sender: str, trap: Trap, now: float) -> Place | None:
        """How far an inform came when it was heard before; None if it was not."""
        self._expire(now)
        key = InformKey(sender, trap.request_id, trap.content)
        known = self._informs.get(key)
        if known is None:
            return None
        known.heard = now
        self._informs.move_to_end(key)
        return known.place

    def message(self, origin: Origin) -> bool:
        """Whether a copy of this v3 message was heard before."""
        window = self._windows.get(origin.engine_id)
        return window is not None and window.knows(MessageKey(*origin))

    def note(self, sender: str, trap: Trap, now: float, place: Place) -> None:
        """Remember a notification as having come so far; a trap without authenticity cannot be told from a copy."""
        if trap.inform:
            self._add_inform(InformKey(sender, trap.request_id, trap.content), _Repeated(place, now))
        if trap.origin is not None:
            self._windows.setdefault(trap.origin.engine_id, _Window()).add(MessageKey(*trap.origin), place)

    def forget(self, sender: str, trap: Trap) -> None:
        """What was not taken is news when it is repeated."""
        key = InformKey(sender, trap.request_id, trap.content)
        if trap.inform and key in self._informs:
            self._drop(key)
        if trap.origin is not None and trap.origin.engine_id in self._windows:
            self._windows[trap.origin.engine_id].seen.pop(MessageKey(*trap.origin), None)

    def kept(self, now: float, engine_ids: Iterable[bytes]) -> Kept:
        """What to store: what was taken, messages of these engines. Our own has new boots after each start."""
        self._expire(now)
        wanted = [self._windows[one] for one in engine_ids if one in self._windows]
        return Kept(
            tuple(key for window in wanted for key, place in window.seen.items() if place is not Place.WAITING),
            tuple((key, one.heard) for key, one in self._informs.items() if one.place is not Place.WAITING),
        )

    def store(self, kept: Kept) -> None:
        """This much is on disk: an inform that is repeated now may be acknowledged."""
        for key, _ in kept.informs:
            if key in self._informs:
                self._informs[key].place = Place.STORED

    def _add_inform(self, key: InformKey, what: _Repeated) -> None:
        if key in self._informs:
            self._drop(key)
        if self._counts.get(key.sender, 0) >= MOST_INFORMS_EACH:
            self._drop(next(one for one in self._informs if one.sender == key.sender))
        elif len(self._informs) >= MOST_INFORMS:
            noisiest = max(self._counts, key=self._counts.__getitem__)
            self._drop(next(one for one in self._informs if one.sender == noisiest))
        self._informs[key] = what
        self._counts[key.sender] = self._counts.get(key.sender, 0) + 1

    def _drop(self, key: InformKey) -> None:
        del self._informs[key]
        self._counts[key.sender] -= 1
        if not self._counts[key.sender]:
            del self._counts[key.sender]

    def _expire(self, now: float) -> None:
        while self._informs:
            key = next(iter(self._informs))
            if abs(now - self._informs[key].heard) < INFORM_SECONDS:  # a clock may be set back
                return
            self._drop(key)
