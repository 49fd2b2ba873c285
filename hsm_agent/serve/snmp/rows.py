"""From what is true now to the rows of the MIB's tables: pure functions, values in, values out.

A number without a value is None: it is then absent from the table, never 0 or -1. A text without one is empty.
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.evaluate.hsms import is_of_hsm
from hsm_agent.metrics import unit
from hsm_agent.metrics.tables import SUCCESS, UNVERIFIABLE
from hsm_agent.model import (
    ActiveAlarm,
    Guarantee,
    KnownObject,
    MemberStatus,
    Reading,
    Series,
    Severity,
    SinkStatus,
    SourceState,
    SourceStatus,
    number_text,
)
from hsm_agent.serve.snapshot import TOKEN_VALUES, is_audited, is_token, pin_status, token_status, unread_info
from hsm_agent.wire.snmp import mib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hsm_agent.state.row_indexes import MibRowKey

Cells = tuple[mib.CellValue | None, ...]
Owner = tuple[str, str]
"""The source and resource a row is about: they decide which views it is in."""
_NO_OWNER: Owner = ("", "")


class Row(NamedTuple):
    """One row: the key of its index, its owner, and its cells in the order of the table's columns."""

    table: mib.Table
    key: MibRowKey
    owner: Owner
    cells: Cells
    names: tuple[str, ...] = ()
    """Of a token: what a scope may know it by, whatever its cells show."""


def rows_of_source(
    name: str,
    status: SourceStatus | None,
    readings: Sequence[Reading],
    worst: Mapping[Series, Severity],
    known: Iterable[KnownObject] = (),
) -> Iterator[Row]:
    """Every row that belongs to one source.

    `worst` is the worst severity raised on each series; `known` is what was there before the agent was started.
    """
    if status is not None:
        yield source_row(status)
    of_resource: dict[str, dict[str, list[Reading]]] = {}
    for reading in readings:
        yield reading_row(reading, worst.get(reading.series, Severity.CLEARED))
        of_resource.setdefault(reading.resource, {}).setdefault(reading.metric, []).append(reading)
    is_down = status is not None and status.state is SourceState.DOWN
    tokens, audits = set(), set()
    for resource, metrics in of_resource.items():
        if is_token(resource, metrics) or "token_initialized" in metrics:
            tokens.add(resource)
            yield token_row(name, resource, metrics, is_down=is_down)
        if is_audited(metrics):
            audits.add(resource)
            yield audit_row(name, resource, metrics)
    for one in known:
        if one.identity is not None and one.resource not in tokens:
            yield token_row(name, one.resource, {"token_info": [unread_info(one)]}, is_down=False)
        if one.is_audited and one.resource not in audits:
            yield audit_row(name, one.resource, {})


def source_row(status: SourceStatus) -> Row:
    """A source. The time since its last success is kept as that moment; the answer makes an age of it."""
    poll = status.last_poll_seconds
    cells: Cells = (
        status.name,
        status.kind,
        status.state.value,
        status.last_success,
        None if poll is None else poll * 1000,
        status.failures,
        status.last_error,
    )
    return Row(mib.SOURCE, (status.name,), (status.name, ""), cells)


Metrics = dict[str, list[Reading]]
"""The readings of one resource by metric; several where they differ in labels."""

_AUDIT_LEVELS = ("audit_records", "audit_capacity_records", "audit_used_percent")
_CHAIN_UNKNOWN, _CHAIN_INTACT, _CHAIN_BROKEN, _CHAIN_UNVERIFIABLE = 1, 2, 3, 4  # HsmChainState of the MIB
_TOKEN_LABELS = ("label", "serial", "manufacturer", "model", "firmware", "hardware")
_MAX_SLOT_ID = 2**32 - 1


def token_row(source: str, resource: str, metrics: Metrics, *, is_down: bool) -> Row:
    """A token; while its source is down its status is unknown, and the rest is what was read last."""
    value = partial(_value, metrics)
    labels = _labels(metrics, "token_info") or {"label": resource}  # never seen: all there is is its name
    cells: Cells = (
        source,
        *(labels.get(name, "") for name in _TOKEN_LABELS),
        _slot_id(_labels(metrics, "slot_info").get("slot_id", "")),
        token_status(value, metrics, is_down=is_down).value,
        *(_finite(metrics, one.metric) for one in TOKEN_VALUES),
        pin_status(value, "token_pin").value,
        pin_status(value, "token_so_pin").value,
        resource,
        labels.get("label") or resource,
    )
    names = (resource, *(labels[name] for name in ("label", "serial") if labels.get(name)))
    return Row(mib.TOKEN, (source, resource), (source, resource), cells, names)


def _slot_id(text: str) -> int | None:
    """The slot's number, None where a module numbers its slots beyond 32 bits."""
    return int(text) if re.fullmatch("[0-9]{1,10}", text) and int(text) <= _MAX_SLOT_ID else None


def audit_row(source: str, resource: str, metrics: Metrics) -> Row:
    """An audit store, or an audit trail."""
    until_full = _value(metrics, "audit_seconds_to_full")
    events = metrics.get("trail_events_total", ())
    failed = [each for each in events if dict(each.labels).get("result") != SUCCESS]
    cells: Cells = (
        source,
        resource,
        *(_finite(metrics, metric) for metric in _AUDIT_LEVELS),
        _or_never(until_full),
        _chain_state(metrics.get("trail_chain_intact", ())),
        _sum(events) if events else None,
        _sum(failed) if events else None,
        None if _or_never(until_full) is None else until_full != math.inf,
    )
    return Row(mib.AUDIT, (source, resource), (source, resource), cells)


_METRIC = {mib.READING.name: 2, mib.ACTIVE.name: 4}
"""By table: which cell names the metric."""


def is_of_whole_hsm(row: Row) -> bool:
    """Whether it is an audit store, or a reading of an HSM and not of one of its partitions, or an alarm on such a one.

    Always the same for one row: a view keeps what it has once shown.
    """
    cell = _METRIC.get(row.table.name)
    return row.table is mib.AUDIT if cell is None else is_of_hsm(str(row.cells[cell]))


def _chain_state(readings: Sequence[Reading]) -> int:
    """Unverifiable: there is a trail whose hashes need a key."""
    for reading in readings:
        if reading.value is not None:
            return _CHAIN_INTACT if reading.value else _CHAIN_BROKEN
        if reading.reason.startswith(UNVERIFIABLE):
            return _CHAIN_UNVERIFIABLE
    return _CHAIN_UNKNOWN


def _sum(readings: Iterable[Reading]) -> int:
    return sum(int(reading.value) for reading in readings if reading.value is not None)


def reading_row(reading: Reading, severity: Severity) -> Row:
    """A reading. Its time is kept as it is; the answer makes an age of it."""
    source, resource, metric, labels = reading.series
    cells: Cells = (
        source,
        resource,
        metric,
        number_text(value) if (value := _or_never(reading.value)) is not None else None,
        unit(metric),
        severity.number,
        reading.time,
        ",".join(f"{name}={value}" for name, value in reading.labels),
    )
    key = (source, resource, metric, *(part for label in labels for part in label))
    return Row(mib.READING, key, (source, resource), cells)


def active_row(alarm: ActiveAlarm) -> Row:
    """A raised alarm. Kept by rule and series: the same trouble is the same row whenever it comes back."""
    event = alarm.event
    source, resource, metric, labels = alarm.series
    cells: Cells = (
        event.event_id,
        alarm.severity.number,
        source,
        resource,
        metric,
        mib.decimal_text(event.value),
        event.threshold,
        alarm.rule,
        event.text,
        alarm.since,
        alarm.alarm_id,
        alarm.silenced,
    )
    key = (alarm.rule, source, resource, metric, *(part for label in labels for part in label))
    return Row(mib.ACTIVE, key, (source, resource), cells)


def worst_severities(alarms: Iterable[ActiveAlarm]) -> dict[Series, Severity]:
    """The most urgent severity raised on each series."""
    worst: dict[Series, Severity] = {}
    for alarm in alarms:
        if alarm.severity.rank > worst.get(alarm.series, Severity.CLEARED).rank:
            worst[alarm.series] = alarm.severity
    return worst


_GUARANTEES = {Guarantee.BEST_EFFORT: 1, Guarantee.AT_LEAST_ONCE: 2}


def sink_row(status: SinkStatus) -> Row:
    """A sink."""
    cells: Cells = (
        status.name,
        status.kind,
        _GUARANTEES[status.guarantee],
        status.state.value,
        status.queued,
        status.delivered,
        status.failed,
        status.dropped,
        status.last_error,
    )
    return Row(mib.SINK, (status.name,), _NO_OWNER, cells)


def member_row(member: MemberStatus) -> Row:
    """A member of the agent's group."""
    cells: Cells = (
        member.name,
        member.role.number,
        member.is_up,
        member.seconds_since_seen,
        member.version,
        member.sources_up,
        member.sources_expected,
        member.config_differs,
    )
    return Row(mib.MEMBER, (member.name,), _NO_OWNER, cells)


def _value(metrics: Metrics, metric: str) -> float | int | None:
    readings = metrics.get(metric)
    return readings[0].value if readings else None


def _finite(metrics: Metrics, metric: str) -> float | int | None:
    value = _value(metrics, metric)
    return value if value is not None and math.isfinite(value) else None


def _or_never(value: float | None) -> float | None:
    """The value, with the MIB's number for "never"; None for what is no number at all."""
    if value == math.inf:
        return mib.NEVER
    return value if value is not None and math.isfinite(value) else None


def _labels(metrics: Metrics, metric: str) -> dict[str, str]:
    readings = metrics.get(metric)
    return dict(readings[0].labels) if readings else {}
