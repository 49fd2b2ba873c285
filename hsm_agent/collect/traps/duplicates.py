"""Recognises notifications that were received before, so that none is evaluated twice. Pure; the clock is an argument.

A v3 message is identified by its engine, the engine's time and its digest: a copy is a duplicate within the time window
of RFC 3414 section 2.2.3 (beyond it the receiver refuses the message), also after a restart. An inform is identified by
sender, request-id and content, because a sender that repeats an inform builds a new message (RFC 3414 section 4).

A notification is *applied* once its change is among the alarms. Only applied ones are stored: what a crash loses before
that is not a duplicate when the sender repeats it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp.engine import TIME_WINDOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.wire.snmp.trap_receiver import Trap, TrapOrigin

INFORM_SECONDS = 300.0
"""An inform that was not repeated for so long is forgotten: some senders reuse request-ids."""
MOST_INFORMS = 2048
MOST_INFORMS_EACH = 256
MOST_MESSAGES_EACH = 512
"""Messages of one engine within its time window; beyond that, older messages count as duplicates."""

EngineTime = tuple[int, int]
"""Boots and time of an engine."""


class TrapProgress(IntEnum):
    """How far a notification was processed."""

    PENDING = 0
    APPLIED = 1
    STORED = 2


class InformKey(NamedTuple):
    """The same for every repetition of an inform."""

    sender: str
    request_id: int
    content: bytes


class KnownNotifications(NamedTuple):
    """What is stored: messages of v3 traps, and informs with the time each was last received (UTC seconds)."""

    messages: tuple[TrapOrigin, ...] = ()
    informs: tuple[tuple[InformKey, float], ...] = ()


@dataclass(slots=True)
class _Window:
    """The messages of one engine."""

    newest: EngineTime = (0, 0)
    floor: EngineTime = (-1, 0)
    """A message up to this time that is not in `seen` counts as a duplicate."""
    seen: dict[TrapOrigin, TrapProgress] = field(default_factory=dict)

    def knows(self, key: TrapOrigin) -> bool:
        return key in self.seen or (key.boots, key.time) <= self.floor

    def add(self, key: TrapOrigin, progress: TrapProgress) -> None:
        moment = (key.boots, key.time)
        if moment > self.newest:
            self.newest = moment
            boots, oldest = key.boots, key.time - TIME_WINDOW_SECONDS
            self.seen = {one: at for one, at in self.seen.items() if one.boots == boots and one.time >= oldest}
        self.seen[key] = progress
        if len(self.seen) > MOST_MESSAGES_EACH:
            first = min(self.seen, key=lambda one: (one.boots, one.time))
            self.floor = max(self.floor, (first.boots, first.time))
            del self.seen[first]


@dataclass(slots=True)
class _KnownInform:
    progress: TrapProgress
    last_received: float


class DuplicateFilter:
    """The notifications received so far, bounded for each sender, so that no sender evicts another's."""

    def __init__(self, known: KnownNotifications = KnownNotifications()) -> None:  # noqa: B008 - an immutable tuple
        self._windows: dict[bytes, _Window] = {}
        self._informs: OrderedDict[InformKey, _KnownInform] = OrderedDict()
        self._counts: dict[str, int] = {}
        for message in sorted(known.messages):
            self._windows.setdefault(message.engine_id, _Window()).add(message, TrapProgress.STORED)
        for key, last_received in known.informs:
            self._add_inform(key, _KnownInform(TrapProgress.STORED, last_received))

    def inform_progress(self, sender: str, trap: Trap, now: float) -> TrapProgress | None:
        """The progress of an inform that was received before; None for a new one."""
        self._expire(now)
        key = InformKey(sender, trap.request_id, trap.content)
        known = self._informs.get(key)
        if known is None:
            return None
        known.last_received = now
        self._informs.move_to_end(key)
        return known.progress

    def has_message(self, origin: TrapOrigin) -> bool:
        """Whether a copy of this v3 message was received before."""
        window = self._windows.get(origin.engine_id)
        return window is not None and window.knows(origin)

    def record(self, sender: str, trap: Trap, now: float, progress: TrapProgress) -> None:
        """Record the progress of a notification. A trap of v1 or v2c has no identity: its copies are not recognised."""
        if trap.inform:
            self._add_inform(InformKey(sender, trap.request_id, trap.content), _KnownInform(progress, now))
        if trap.origin is not None:
            self._windows.setdefault(trap.origin.engine_id, _Window()).add(trap.origin, progress)

    def forget(self, sender: str, trap: Trap) -> None:
        """Forget a notification that was not applied: its repetition must not count as a duplicate."""
        key = InformKey(sender, trap.request_id, trap.content)
        if trap.inform and key in self._informs:
            self._drop(key)
        if trap.origin is not None and trap.origin.engine_id in self._windows:
            self._windows[trap.origin.engine_id].seen.pop(trap.origin, None)

    def to_store(self, now: float, engine_ids: Iterable[bytes]) -> KnownNotifications:
        """The applied notifications, of v3 messages those of these engines. Our own engine boots anew at each start."""
        self._expire(now)
        wanted = [self._windows[one] for one in engine_ids if one in self._windows]
        return KnownNotifications(
            tuple(
                key
                for window in wanted
                for key, progress in window.seen.items()
                if progress is not TrapProgress.PENDING
            ),
            tuple(
                (key, one.last_received)
                for key, one in self._informs.items()
                if one.progress is not TrapProgress.PENDING
            ),
        )

    def mark_stored(self, stored: KnownNotifications) -> None:
        """These are on disk: a repetition of one of these informs is acknowledged from now on."""
        for key, _ in stored.informs:
            if key in self._informs:
                self._informs[key].progress = TrapProgress.STORED

    def _add_inform(self, key: InformKey, inform: _KnownInform) -> None:
        if key in self._informs:
            self._drop(key)
        if self._counts.get(key.sender, 0) >= MOST_INFORMS_EACH:
            self._drop(next(one for one in self._informs if one.sender == key.sender))
        elif len(self._informs) >= MOST_INFORMS:
            noisiest = max(self._counts, key=self._counts.__getitem__)
            self._drop(next(one for one in self._informs if one.sender == noisiest))
        self._informs[key] = inform
        self._counts[key.sender] = self._counts.get(key.sender, 0) + 1

    def _drop(self, key: InformKey) -> None:
        del self._informs[key]
        self._counts[key.sender] -= 1
        if not self._counts[key.sender]:
            del self._counts[key.sender]

    def _expire(self, now: float) -> None:
        while self._informs:
            key = next(iter(self._informs))
            if abs(now - self._informs[key].last_received) < INFORM_SECONDS:  # the wall clock may be set back
                return
            self._drop(key)
