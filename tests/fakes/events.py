"""Events to test with: everything the test does not speak of is filled in."""

from __future__ import annotations

from hsm_agent.model import Event, EventKind, Severity


def raised(event_id: str, alarm_id: str, severity: Severity = Severity.WARNING) -> Event:
    return _event(event_id, EventKind.RAISED, severity, alarm_id)


def changed(event_id: str, alarm_id: str, severity: Severity = Severity.WARNING) -> Event:
    return _event(event_id, EventKind.CHANGED, severity, alarm_id)


def cleared(event_id: str, alarm_id: str) -> Event:
    return _event(event_id, EventKind.CLEARED, Severity.CLEARED, alarm_id)


def plain(event_id: str, kind: EventKind = EventKind.TEST) -> Event:
    return _event(event_id, kind, Severity.INDETERMINATE, "")


def _event(event_id: str, kind: EventKind, severity: Severity, alarm_id: str) -> Event:
    return Event(
        event_id=event_id,
        kind=kind,
        severity=severity,
        time=1_800_000_000.25,
        text=f"text of {event_id}",
        agent="hsm-monitor-1",
        alarm_id=alarm_id,
        source="luna-a",
        resource="partition",
        metric="token_memory_private_used_percent",
    )
