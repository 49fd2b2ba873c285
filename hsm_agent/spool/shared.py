"""What of the spool is the group's: told by whoever leads, and held by all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.model import Event

GROUP_STATES = "group/"
"""How the keys of states begin that are about the group, and no rows of the alarm state."""
SinkAlarm = tuple[str, str]
"""A sink's name and an alarm's ID."""
SinkEvent = tuple[str, str]
"""A sink's name and an event's ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressed:
    """An event, and the sinks that wait for it. `begins`: those of them to which it is the first of its alarm."""

    event: Event
    sinks: tuple[str, ...]
    begins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """An event of the group that a sink waits for no more. `told`: the sink accepted it; else it was given up.

    `ended_alarm_id`: the alarm of which the sink is owed nothing any more; empty where there is none. `event_id` may be
    empty: then only that alarm ended for the sink, by an event that was this agent's own, or because the sink is gone.
    """

    sink: str
    event_id: str
    told: bool
    ended_alarm_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedChange:
    """What the leader did, in the order in which it did it; a state of None is erased."""

    states: Mapping[str, str | None] = field(default_factory=dict)
    events: tuple[Addressed, ...] = ()
    left: tuple[SinkEvent, ...] = ()
    ended: tuple[SinkAlarm, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedContent:
    """All that is the group's: its states, the events that wait, in order, and of which alarms each sink was told."""

    states: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Addressed, ...] = ()
    sequences: frozenset[SinkAlarm] = frozenset()
