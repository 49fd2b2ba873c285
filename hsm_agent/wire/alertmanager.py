"""Alarms as alerts of Prometheus Alertmanager's API v2 (its api/v2/openapi.yaml, schema `postableAlert`). Pure.

An alert's labels are its identity: the same ones raise it, repeat it and resolve it. Whatever an alarm holds becomes a
valid alert: Alertmanager refuses one whose label has a bad name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.model import EventKind, Severity
from hsm_agent.text import one_line
from hsm_agent.wire.event_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hsm_agent.model import Event

POST_PATH = "/api/v2/alerts"
HEARTBEAT_ALERT, TEST_ALERT = "hsm-agent-heartbeat", "hsm-agent-test"
_NOT_LABEL_CHARACTER = re.compile(r"[^a-zA-Z0-9_]")  # of `LabelName` in Prometheus's data model
_LONGEST_NAME, _LONGEST_VALUE = 64, 1024
FIRING = tuple(severity for severity in Severity if severity is not Severity.CLEARED)

AlertJson = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What Alertmanager is told of one alarm. `starts_at`: UTC seconds, None where it is not known any more."""

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float | None

    def firing(self, *, now: float, ends_at: float) -> AlertJson:
        """On from its start, which a clock that was set back may have left in the future, until it is not repeated."""
        return self._posted(None if self.starts_at is None else min(self.starts_at, now), ends_at)

    def resolved(self, ends_at: float) -> AlertJson:
        """Over since then. An end before the start is refused."""
        return self._posted(None if self.starts_at is None else min(self.starts_at, ends_at), ends_at)

    def _posted(self, starts_at: float | None, ends_at: float) -> AlertJson:
        posted: AlertJson = {"labels": self.labels, "annotations": self.annotations, "endsAt": rfc3339(ends_at)}
        if starts_at is not None:  # left out, Alertmanager puts the end there
            posted["startsAt"] = rfc3339(starts_at)
        return posted


def alert_of(event: Event, *, starts_at: float | None, left_out: Collection[str] = ()) -> Alert:
    """The alert of an alarm's event. `left_out`: labels that are not to tell alerts apart; alertname always does."""
    names = {EventKind.TEST: TEST_ALERT, EventKind.HEARTBEAT: HEARTBEAT_ALERT}
    severities = {EventKind.TEST: "test", EventKind.HEARTBEAT: "none"}
    first = {
        "alertname": names.get(event.kind) or event.rule or event.metric or "hsm-agent-alarm",
        "severity": severities.get(event.kind) or event.severity.value,
        "source": event.source,
        "resource": event.resource,
        "metric": event.metric,
        "agent": event.agent,
    }
    labels = {name: _value(value) for name, value in first.items()}
    for name, value in event.labels:
        labels[_free_name(name, labels)] = _value(value)
    kept = {name: value for name, value in labels.items() if value and (name == "alertname" or name not in left_out)}
    return Alert(labels=kept, annotations=_annotations(event), starts_at=starts_at)


def other_severities(event: Event, among: Collection[Severity], *, left_out: Collection[str] = ()) -> Iterator[Alert]:
    """The same alarm under each of these severities but its own: what may still be on from before a restart."""
    if "severity" in left_out:
        return
    mine = alert_of(event, starts_at=None, left_out=left_out)
    for severity in FIRING:
        if severity in among and severity is not event.severity:
            yield Alert(labels=mine.labels | {"severity": severity.value}, annotations={}, starts_at=None)


def _annotations(event: Event) -> dict[str, str]:
    """What may differ from one repetition to the next. `summary` and `runbook_url` are what templates look for."""
    told = {
        "summary": event.text,
        "text": event.text,
        "value": event.value,
        "unit": event.unit,
        "threshold": event.threshold,
        "cause": event.cause,
        "runbook": event.runbook,
        "runbook_url": event.runbook,
        "alarmId": event.alarm_id,
        "eventId": event.event_id,
    }
    return {name: one_line(value) for name, value in told.items() if value}


def _value(text: str) -> str:
    return one_line(text)[:_LONGEST_VALUE]


def _free_name(name: str, taken: Collection[str]) -> str:
    """A valid name that is not taken: other characters become `_`; none begins with `__`, which is Prometheus's own."""
    plain = _NOT_LABEL_CHARACTER.sub("_", name)[:_LONGEST_NAME]
    plain = re.sub(r"^(?:__+|(?=[0-9])|$)", "_", plain)
    found, count = plain, 1
    while found in taken:
        count += 1
        found = f"{plain}_{count}"
    return found
