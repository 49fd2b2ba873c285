"""The present as one document: what `/api/v1/status` and `hsm-agent status --format json` answer.

A pure function of a snapshot. Secrets are not in the present, hence not in the document.

JSON knows neither infinity nor NaN (RFC 8259 section 6). A number that has no JSON form is `null`, and the `text`
beside it says what it is (`inf`); where there is no data, `value` is null, `text` is empty and `reason` says why.
Times are UTC in the form of RFC 3339, durations are seconds.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hsm_agent.metrics import unit
from hsm_agent.model import AGENT_SOURCE, Severity, number_text
from hsm_agent.serve.snapshot import current_age
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.model import ActiveAlarm, Reading, SinkStatus, SourceStatus
    from hsm_agent.serve.snapshot import SilenceInForce, Snapshot, SpoolFigures

    Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

TOKEN_METRICS = (
    "token_present",
    "token_initialized",
    "token_memory_private_used_percent",
    "token_storage_used_percent",
    "token_sessions",
    "token_sessions_max",
    "token_sessions_used_percent",
    "token_pin_state",
    "token_so_pin_state",
    "audit_used_percent",
)
"""What an operator asks of a token first; everything else stands under `readings`."""


def status(present: Snapshot) -> dict[str, Json]:
    """The whole document, fit for a strict JSON encoder."""
    return {
        "agent": _agent(present),
        "sources": [_source(source, present) for source in present.sources],
        "tokens": _tokens(present),
        "alarms": [_alarm(alarm) for alarm in present.alarms],
        "silences": [_silence(silence) for silence in present.silences],
        "sinks": [_sink(sink, present) for sink in present.sinks],
        "spool": _spool(present.spool),
        "readings": _readings(present),
    }


def _agent(present: Snapshot) -> Json:
    return {
        "name": present.agent_name,
        "version": VERSION,
        "started": _time(present.started),
        "now": _time(present.now),
        "uptime_seconds": _number(max(0.0, present.now - present.started)),
        "polls": present.polls,
        "labels": dict(present.labels.get(AGENT_SOURCE, ())),
        "worst_severity": _worst(alarm.severity for alarm in present.alarms),
    }


def _source(source: SourceStatus, present: Snapshot) -> Json:
    since = None if source.last_success is None else max(0.0, present.monotonic - source.last_success)
    return {
        "name": source.name,
        "kind": source.kind,
        "state": source.state.name.lower(),
        "every_seconds": source.every,
        "seconds_since_success": _number(since),
        "last_poll_seconds": _number(source.last_poll_seconds),
        "failures": source.failures,
        "last_error": source.last_error,
        "labels": dict(present.labels.get(source.name, ())),
    }


def _tokens(present: Snapshot) -> list[Json]:
    """A row for each token: who it is, what is asked first, and the worst alarm on it."""
    found: dict[tuple[str, str], dict[str, Json]] = {}
    for reading in present.readings:
        if reading.metric.startswith("token_"):
            row = found.setdefault((reading.source, reading.resource), _empty_row(reading))
            if reading.metric == "token_info":
                row["info"] = dict(reading.labels)
    for reading in present.readings:
        wanted = found.get((reading.source, reading.resource))
        if wanted is not None and reading.metric in TOKEN_METRICS:
            wanted[reading.metric] = _number(reading.value)
    for alarm in sorted(present.alarms, key=lambda alarm: alarm.severity.rank):
        alarmed = found.get((alarm.series[0], alarm.series[1]))
        if alarmed is not None:
            alarmed["worst_severity"] = alarm.severity.value
    return list(found.values())


def _empty_row(reading: Reading) -> dict[str, Json]:
    row: dict[str, Json] = {"source": reading.source, "resource": reading.resource, "info": {}}
    return row | dict.fromkeys(TOKEN_METRICS) | {"worst_severity": Severity.CLEARED.value}


def _alarm(alarm: ActiveAlarm) -> Json:
    source, resource, metric, labels = alarm.series
    return {
        "alarm_id": alarm.alarm_id,
        "event_id": alarm.event.event_id,
        "rule": alarm.rule,
        "severity": alarm.severity.value,
        "source": source,
        "resource": resource,
        "metric": metric,
        "labels": dict(labels),
        "since": _time(alarm.since),
        "silenced": alarm.silenced,
        "value": alarm.event.value,
        "unit": alarm.event.unit,
        "threshold": alarm.event.threshold,
        "text": alarm.event.text,
        "runbook": alarm.event.runbook,
    }


def _silence(silence: SilenceInForce) -> Json:
    return {
        "id": silence.id,
        "source": silence.source,
        "resource": silence.resource,
        "rule": silence.rule,
        "until": _time(silence.until),
        "reason": silence.reason,
    }


def _sink(sink: SinkStatus, present: Snapshot) -> Json:
    return {
        "name": sink.name,
        "kind": sink.kind,
        "guarantee": sink.guarantee.value,
        "state": sink.state.name.lower(),
        "queued": sink.queued,
        "delivered": sink.delivered,
        "failed": sink.failed,
        "dropped": sink.dropped,
        "failing_seconds": _number(
            None if sink.failing_since is None else max(0.0, present.monotonic - sink.failing_since)
        ),
        "last_error": sink.last_error,
    }


def _spool(spool: SpoolFigures) -> Json:
    return {
        "entries": spool.entries,
        "bytes": spool.bytes,
        "used_percent": _number(spool.used_percent),
        "dropped_total": spool.dropped_total,
        "failed": spool.failed,
        "queued": dict(spool.queued),
        "dead_letters": dict(spool.dead_letters),
    }


def _readings(present: Snapshot) -> list[Json]:
    sources = {source.name: source for source in present.sources}
    rows: list[Json] = []
    for reading in present.readings:
        value = current_age(reading, sources.get(reading.source), present)
        row: dict[str, Json] = {
            "source": reading.source,
            "resource": reading.resource,
            "metric": reading.metric,
            "labels": dict(reading.labels),
            "value": _number(value),
            "text": number_text(value),
            "unit": unit(reading.metric),
            "time": _time(reading.time),
        }
        if value is None:
            row["reason"] = reading.reason
        rows.append(row)
    return rows


def _worst(severities: Iterable[Severity]) -> str:
    return max(severities, key=lambda severity: severity.rank, default=Severity.CLEARED).value


def _number(value: float | None) -> float | int | None:
    return value if value is None or math.isfinite(value) else None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
