"""A snapshot as a view of it that hides names shows it: what is made of it has nothing to hide any more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.model import Reading, Severity
from hsm_agent.serve.snapshot import unread_info

if TYPE_CHECKING:
    from hsm_agent.evaluate.state import Silence
    from hsm_agent.model import ActiveAlarm, KnownObject
    from hsm_agent.serve.hide import Mask
    from hsm_agent.serve.snapshot import Snapshot


def masked(present: Snapshot, mask: Mask) -> Snapshot:
    """The same present without the names that the mask hides. To be called on a thread."""
    if not mask.hidden:
        return present
    mask.learn((*present.readings, *map(unread_info, present.known)), present.alarms)
    return replace(
        present,
        labels={
            source: tuple((name, mask.text(value)) for name, value in labels)
            for source, labels in present.labels.items()
        },
        readings=tuple(_reading(each, mask) for each in present.readings),
        sources={
            name: replace(each, last_error=mask.foreign_text(each.last_error)) for name, each in present.sources.items()
        },
        sinks={
            name: replace(each, last_error=mask.foreign_text(each.last_error)) for name, each in present.sinks.items()
        },
        alarms=tuple(_alarm(each, mask) for each in present.alarms),
        silences=tuple(_silence(each, mask) for each in present.silences),
        spool=replace(present.spool, reason=mask.text(present.spool.reason)),
        known=tuple(_known(each, mask) for each in present.known),
        group=None if present.group is None else replace(present.group, problem=mask.text(present.group.problem)),
        histories={
            ((source, mask.name(resource), metric, mask.labels(metric, labels)), spacing): points
            for ((source, resource, metric, labels), spacing), points in present.histories.items()
        },
    )


def _known(one: KnownObject, mask: Mask) -> KnownObject:
    identity = None if one.identity is None else mask.labels("token_info", one.identity)
    return replace(one, resource=mask.name(one.resource), identity=identity)


def _reading(reading: Reading, mask: Mask) -> Reading:
    # Named in full: `replace` takes three times as long, and there are tens of thousands.
    return Reading(
        source=reading.source,
        resource=mask.name(reading.resource),
        metric=reading.metric,
        value=reading.value,
        time=reading.time,
        labels=mask.labels(reading.metric, reading.labels) if reading.labels else (),
        reason=mask.foreign_text(reading.reason),
        limit=reading.limit,
        note=mask.note(reading.note, reading.metric),
        hsm=mask.name(reading.hsm) if reading.hsm else "",
    )


def _alarm(alarm: ActiveAlarm, mask: Mask) -> ActiveAlarm:
    source, resource, metric, labels = alarm.series
    event = alarm.event
    shown = replace(
        event,
        text=mask.alarm_text(event.text, metric, is_unknown=alarm.severity is Severity.INDETERMINATE),
        threshold=mask.threshold(metric, event.threshold),
        resource=mask.name(event.resource),
        runbook=mask.text(event.runbook),
        labels=mask.labels(metric, event.labels),
    )
    return replace(alarm, series=(source, mask.name(resource), metric, mask.labels(metric, labels)), event=shown)


def _silence(silence: Silence, mask: Mask) -> Silence:
    return replace(silence, resource=mask.glob(silence.resource), reason=mask.text(silence.reason))
