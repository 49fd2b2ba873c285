"""What goes in and out of the spool: frozen records without behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.model import Event, Severity


class SpoolError(Exception):
    """Another agent uses the state directory; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSpec:
    """A sink as the spool needs to know it. `minimum_severity` None: it gets every event."""

    name: str
    minimum_severity: Severity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEvent:
    """One event to send to one sink. `attempts`: sessions it was sent on without being accepted."""

    seq: int
    event: Event
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSink:
    """A sink that has not accepted an entry yet."""

    sink: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A sink that will not be sent an entry again, why, and since when (UTC seconds)."""

    sink: str
    reason: str
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolEntry:
    """One event in the spool, with the sinks that wait for it and those for which it is a dead letter."""

    seq: int
    event: Event
    bytes: int
    waiting: tuple[WaitingSink, ...]
    dead: tuple[DeadLetter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What a registration changed: names of sinks, and how many undelivered events the removed ones lost."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    forgotten_events: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedEvents:
    """Events that one sink will not get, because the spool was full."""

    sink: str
    event_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkQueueStats:
    """Numbers of one sink. The totals survive restarts."""

    queued: int
    dead_letters: int
    dead_letters_total: int
    dropped_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStats:
    """The spool in numbers. `dropped_total` counts an event once for each sink that will not get it.

    `reason` is empty as long as the disk takes what is written to it.
    """

    entries: int
    bytes: int
    used_percent: float
    dropped_total: int
    reason: str
    sinks: Mapping[str, SinkQueueStats] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """The disk refuses: events go out from memory."""
        return bool(self.reason)
