"""What is remembered: of a rule on a series (Watch), of its alarm (Alarm), of a series itself (Track, Presence)."""

from __future__ import annotations

from dataclasses import dataclass

from hsm_agent.evaluate.levels import AT_REST, Waiting
from hsm_agent.evaluate.verdicts import NOTHING, Memory
from hsm_agent.model import Event, Severity

UNKNOWN_AFTER = 600.0
"""A reading that had a value and has none for so long, while its source is up, makes its rules unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm from raise to clear.

    `told` is the severity people were told last, CLEARED while nobody was told at all (a silence, an inhibition).
    `event` is what was told last, or what would have been.
    """

    alarm_id: str
    since: float
    event: Event
    told: Severity = Severity.CLEARED
    told_at: float = 0.0
    owed: bool = False
    """A further change that had to wait is still to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The state of one rule on one series. `level` counts hysteresis and hold; `unknown` lies over it."""

    level: Severity = Severity.CLEARED
    unknown: bool = False
    waiting: Waiting = AT_REST
    memory: Memory = NOTHING
    alarm: Alarm | None = None

    @property
    def shown(self) -> Severity:
        """The severity that is true now."""
        return Severity.INDETERMINATE if self.unknown else self.level


RESTING = Watch()


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A series that had a value. `missing` says it has none now; `since` counts only while its source is up."""

    missing: bool = False
    since: float | None = None
    reason: str = ""


PRESENT = Track()


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Of an object's presence as it was read last: whether it is zero."""

    zero: bool = False
