"""What the spool tells of its entries, sinks and bounds. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.model import Event

ENTRY_OVERHEAD = 256
"""Bytes an entry takes beside its payload: its rows and index pages. Measured: pages in use stay below the sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEvent:
    """One event to send to one sink. `shared`: it is the group's, and told by whoever leads."""

    seq: int
    event: Event
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A sink that will not be sent an entry again, why, and since when (UTC seconds)."""

    sink: str
    reason: str
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolEntry:
    """One event in the spool. `waiting`: how often it was sent without being accepted, by sink that waits for it.

    `shared`: it is the group's.
    """

    seq: int
    event: Event
    bytes: int
    waiting: Mapping[str, int]
    dead: tuple[DeadLetter, ...]
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What a registration changed: names of sinks, and how many undelivered events the removed ones lost.

    `resynced`: those that are new, or get more than before; the raised alarms were queued for them.
    """

    added: tuple[str, ...] = ()
    resynced: tuple[str, ...] = ()
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


@dataclass(slots=True)
class StoredEvent:
    """One entry. `references`: sinks that wait for it or hold it as a dead letter; `waits`: those that wait.

    `shared`: it is the group's, and some sink waits for it.
    """

    event_id: str
    payload: bytes
    size_bytes: int
    references: int = 0
    waits: int = 0
    shared: bool = False
