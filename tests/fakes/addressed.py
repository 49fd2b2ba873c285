"""Events of a group with the sinks that wait for them."""

from __future__ import annotations

from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.spool.shared import Addressed


def addressed(
    event_id: str, *sinks: str, rule: str = "hot", resource: str = "r", begins: bool = True, text: str = "crossed"
) -> Addressed:
    event = Event(
        event_id=event_id,
        kind=EventKind.RAISED,
        severity=Severity.MAJOR,
        time=1.8e9,
        text=text,
        agent="a",
        alarm_id=f"alarm-{event_id}",
        source="s",
        resource=resource,
        metric="m",
        rule=rule,
    )
    return Addressed(event=event, sinks=sinks, begins=sinks if begins else ())


def watch_row(rule: str = "hot", resource: str = "r") -> str:
    """The key of the row of that event's alarm."""
    return f'["watch","s","{resource}","m",[["slot","1"]],"{rule}"]'
