"""An event as one JSON object, for receivers: the body of a webhook, and of syslog with `format: json`. Pure.

Every member is always there, of the same type; docs/delivery.md lists them. Texts are made fit to be shown.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hsm_agent.text import one_line

if TYPE_CHECKING:
    from hsm_agent.model import AgentIdentity, Event


def rfc3339(seconds: float) -> str:
    """A time in UTC with microseconds (RFC 3339 section 5.6); empty where it is not representable as a date."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def event_members(event: Event, origin: AgentIdentity) -> dict[str, object]:
    """The members by name. `value` and `threshold` are decimal text, as everywhere: `inf` is none of JSON's numbers."""
    texts = {
        "event_id": event.event_id,
        "alarm_id": event.alarm_id,
        "kind": event.kind.value,
        "severity": event.severity.value,
        "time": rfc3339(event.time),
        "agent": event.agent,
        "host": origin.host_name,
        "source": event.source,
        "resource": event.resource,
        "metric": event.metric,
        "value": event.value,
        "unit": event.unit,
        "threshold": event.threshold,
        "rule": event.rule,
        "cause": event.cause,
        "runbook": event.runbook,
        "text": event.text,
    }
    labels = {one_line(name): one_line(value) for name, value in event.labels}
    return {name: one_line(value) for name, value in texts.items()} | {"labels": labels}


def json_octets(members: object) -> bytes:
    """Compact JSON on one line, UTF-8."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
