"""The present as one document: what `/api/v1/status` and `hsm-agent status --format json` answer.

A pure function of a snapshot. Secrets are not in the present, hence not in the document.

JSON knows neither infinity nor NaN (RFC 8259 section 6): a value that is not a finite number is text, `"inf"`, as in
`poll --format json`. Where there is no data, `value` is null, `text` is empty and `reason` says why.
Times are UTC seconds since the epoch; ages and durations are seconds.
"""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.metrics import unit
from hsm_agent.model import AGENT_SOURCE, Severity, SinkState, SourceState, number_text
from hsm_agent.serve.group import group_document
from hsm_agent.serve.snapshot import TOKEN_VALUES, is_token, pin_status, token_status, unread_info, value_now
from hsm_agent.text import harmless
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hsm_agent.evaluate.state import Silence
    from hsm_agent.model import ActiveAlarm, Labels, Reading, SinkStatus, SourceStatus
    from hsm_agent.serve.snapshot import Snapshot
    from hsm_agent.spool import SpoolStats

    Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_IDENTITY = ("label", "serial", "manufacturer", "model", "firmware", "hardware")
_TOKEN_MEMBERS = {value.member: value.metric for value in TOKEN_VALUES if value.member} | {
    "audit_records": "audit_records",
    "audit_used_percent": "audit_used_percent",
    "audit_seconds_to_full": "audit_seconds_to_full",
}
"""What an operator asks of a token first; everything else is under `readings`."""


def status(present: Snapshot) -> dict[str, Json]:
    """The whole document, fit for a strict JSON encoder."""
    return summary(present) | {"readings": [reading_row(reading, present) for reading in present.readings]}


def summary(present: Snapshot) -> dict[str, Json]:
    """The document but for the readings, of which there are fifty to a token."""
    return {
        "agent": _agent(present),
        "sources": [_source(source, present) for source in present.sources.values()],
        **_objects(present),
        "alarms": [_alarm(alarm) for alarm in present.alarms],
        "silences": [_silence(silence) for silence in present.silences],
        "sinks": [_sink(sink, present) for sink in present.sinks.values()],
        "spool": _spool(present.spool),
        **({} if present.group is None else {"group": group_document(present.group)}),
    }


def json_bytes(document: Mapping[str, object]) -> bytes:
    """The document as one line of strict JSON, encoded piece by piece. To be called on a thread where it may be large.

    Python's encoder lets no other thread run until its call is over. The status of a thousand tokens takes it a tenth
    of a second, whatever thread it is called on: far longer than the event loop may be held up.
    """
    members = (f"{json.dumps(name)}: {''.join(_json_pieces(value))}" for name, value in document.items())
    return f"{{{', '.join(members)}}}".encode()


def _json_pieces(value: object) -> Iterator[str]:
    if not isinstance(value, list):
        yield json.dumps(value, allow_nan=False)
        return
    yield "["
    for position, item in enumerate(value):
        if position:
            yield ", "
        yield json.dumps(item, allow_nan=False)
    yield "]"


def reading_row(reading: Reading, present: Snapshot) -> dict[str, Json]:
    """One reading as it stands in the document."""
    value = value_now(reading, present)
    return {
        "source": reading.source,
        "resource": harmless(reading.resource),
        "metric": reading.metric,
        "labels": _labels(reading.labels),
        "value": _number(value),
        "text": number_text(value),
        "unit": unit(reading.metric),
        "time": reading.time,
        "reason": harmless(reading.reason),
    }


def _agent(present: Snapshot) -> Json:
    return {
        "name": present.agent_name,
        "version": VERSION,
        "started": present.started,
        "configured": present.configured,
        "now": present.now,
        "uptime_seconds": max(0.0, present.now - present.started),
        "polls": present.polls,
        "labels": _labels(present.labels.get(AGENT_SOURCE, ())),
        "worst_severity": _worst(alarm.severity for alarm in present.alarms),
    }


def _source(source: SourceStatus, present: Snapshot) -> Json:
    return {
        "name": source.name,
        "kind": source.kind,
        "status": source.state.name.lower(),
        "every_seconds": source.every_seconds,
        "age_seconds": _since(source.last_success, present),
        "last_poll_seconds": source.last_poll_seconds,
        "failures": source.failures,
        "last_error": harmless(source.last_error),
        "labels": _labels(present.labels.get(source.name, ())),
    }


def _objects(present: Snapshot) -> dict[str, Json]:
    """A row for each token: who it is, how it is, and the worst alarm on it; and for each audit store of no token."""
    by_place: dict[tuple[str, str], dict[str, Reading]] = {}
    for reading in present.readings:
        by_place.setdefault((reading.source, reading.resource), {})[reading.metric] = reading
    raised: dict[tuple[str, str], list[Severity]] = {}
    for alarm in present.alarms:
        raised.setdefault((alarm.series[0], alarm.series[1]), []).append(alarm.severity)
    tokens = {place: metrics for place, metrics in by_place.items() if is_token(place[1], metrics)}
    for one in present.known:
        if one.identity is not None:
            tokens.setdefault((one.source, one.resource), {"token_info": unread_info(one)})
    audited = {place: metrics for place, metrics in by_place.items() if "audit_used_percent" in metrics}
    stores = {place: metrics for place, metrics in audited.items() if place not in tokens}
    return {
        "tokens": [_token(place, each, _worst(raised.get(place, ())), present) for place, each in tokens.items()],
        "audit_stores": [_audit_store(place, each, _worst(raised.get(place, ()))) for place, each in stores.items()],
    }


def _audit_store(place: tuple[str, str], metrics: dict[str, Reading], worst: str) -> Json:
    names = ("audit_records", "audit_used_percent", "audit_seconds_to_full")
    row: dict[str, Json] = {"source": place[0], "resource": harmless(place[1])}
    return row | {name: _number(_value(metrics, name)) for name in names} | {"worst_severity": worst}


def _token(place: tuple[str, str], metrics: dict[str, Reading], worst: str, present: Snapshot) -> Json:
    source = present.sources.get(place[0])
    is_down = source is not None and source.state is SourceState.DOWN
    labels = _labels(metrics["token_info"].labels) if "token_info" in metrics else {}
    row: dict[str, Json] = {"source": place[0], "resource": harmless(place[1])}
    row |= {name: labels.get(name) for name in _IDENTITY}
    row["hsm"] = next((harmless(reading.hsm) for reading in metrics.values() if reading.hsm), None)
    row |= {name: _number(_value(metrics, metric)) for name, metric in _TOKEN_MEMBERS.items()}
    value = partial(_value, metrics)
    status = token_status(value, metrics, is_down=is_down)
    row["status"] = status.name.lower()
    row["pin_status"] = pin_status(value, "token_pin").name.lower()
    row["so_pin_status"] = pin_status(value, "token_so_pin").name.lower()
    row["worst_severity"] = worst
    return row


def _alarm(alarm: ActiveAlarm) -> Json:
    source, resource, metric, labels = alarm.series
    return {
        "alarm_id": alarm.alarm_id,
        "event_id": alarm.event.event_id,
        "rule": alarm.rule,
        "severity": alarm.severity.value,
        "source": source,
        "resource": harmless(resource),
        "metric": metric,
        "labels": _labels(labels),
        "since": alarm.since,
        "silenced": alarm.silenced,
        "value": alarm.event.value,
        "unit": alarm.event.unit,
        "threshold": harmless(alarm.event.threshold),
        "text": harmless(alarm.event.text),
        "runbook": alarm.event.runbook,
    }


def _silence(silence: Silence) -> Json:
    return {
        "id": silence.silence_id,
        "source": harmless(silence.source),
        "resource": harmless(silence.resource),
        "rule": harmless(silence.rule),
        "created": silence.created,
        "until": silence.until,
        "by_uid": silence.by_uid,
        "reason": harmless(silence.reason),
    }


def _sink(sink: SinkStatus, present: Snapshot) -> Json:
    return {
        "name": sink.name,
        "kind": sink.kind,
        "guarantee": sink.guarantee.value,
        "status": sink.state.name.lower(),
        "queued": sink.queued,
        "delivered": sink.delivered,
        "failed": sink.failed,
        "dropped": sink.dropped,
        "failing_seconds": _since(sink.failing_since, present),
        # What was wrong before it accepted the last event is no news beside "up".
        "last_error": "" if sink.state is SinkState.UP else harmless(sink.last_error),
    }


def _spool(spool: SpoolStats) -> Json:
    return {
        "entries": spool.entries,
        "bytes": spool.bytes,
        "used_percent": spool.used_percent,
        "dropped_total": spool.dropped_total,
        "failed": spool.failed,
        "reason": harmless(spool.reason),
        "sinks": {
            name: {"queued": queue.queued, "dead_letters": queue.dead_letters, "dropped_total": queue.dropped_total}
            for name, queue in spool.sinks.items()
        },
    }


def _labels(labels: Labels) -> dict[str, Json]:
    return {name: harmless(value) for name, value in labels}


def _value(metrics: dict[str, Reading], metric: str) -> float | int | None:
    return metrics[metric].value if metric in metrics else None


def _worst(severities: Iterable[Severity]) -> str:
    return max(severities, key=lambda severity: severity.rank, default=Severity.CLEARED).value


def _since(moment: float | None, present: Snapshot) -> float | None:
    return None if moment is None else max(0.0, present.monotonic - moment)


def _number(value: float | None) -> float | int | str | None:
    return value if value is None or math.isfinite(value) else number_text(value)
