"""What is remembered as rows of text, a key and a JSON value each, so that a restart changes nothing.

Only what differs from the default is written. A row that cannot be read is reported, never guessed.
"""

from __future__ import annotations

import json
from array import array
from functools import partial
from typing import TYPE_CHECKING, Any

from hsm_agent.evaluate import checked
from hsm_agent.evaluate.levels import Waiting
from hsm_agent.evaluate.silences import Silence
from hsm_agent.evaluate.trends import Points, Windows
from hsm_agent.evaluate.verdicts import Memory
from hsm_agent.evaluate.watches import Alarm, Presence, Track, Watch
from hsm_agent.model import Event, EventKind, Labels, Series, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_TEXTS = {"kind", "severity", "time", "labels"}
_WATCH = ("level", "unknown", "warning_since", "critical_since", "seen", "clock", "last", "before", "alarm")
CHUNK = 24
"""Points in a row: a new point rewrites a day of hourly ones, not the whole history."""


def dump(value: object) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def series_key(kind: str, series: Series, *more: object) -> str:
    """Key of a row that belongs to a series."""
    return dump([kind, *series, *more])


def labels_from(value: Any) -> Labels:
    """Labels out of JSON."""
    return tuple((checked.text(name), checked.text(content)) for name, content in value)


def series_from(parts: list[Any]) -> Series:
    """A series out of the parts of a key."""
    source, resource, metric, labels = parts
    return (checked.text(source), checked.text(resource), checked.text(metric), labels_from(labels))


def _without_defaults(**fields: object) -> dict[str, object]:
    # By identity: 0 and 0.0 equal False, and are values.
    return {name: value for name, value in fields.items() if value is not None and value is not False and value != ""}


def event_text(event: Event) -> dict[str, object]:
    """An event as JSON fields, empty ones left out."""
    return _without_defaults(
        **{name: getattr(event, name) for name in Event.__slots__ if name not in ("kind", "severity")},
        kind=event.kind.value,
        severity=event.severity.value,
    )


def event_from(value: object) -> Event:
    """An event out of its JSON fields."""
    fields = checked.members(value, *Event.__slots__)
    known = {
        "event_id": "",
        "text": "",
        "agent": "",
        **{name: checked.text(content) for name, content in fields.items() if name not in _NO_TEXTS},
    }
    return Event(
        **known,
        kind=EventKind(fields["kind"]),
        severity=Severity(fields["severity"]),
        time=checked.moment(fields.get("time", 0.0)),
        labels=labels_from(fields.get("labels", ())),
    )


def watch_text(watch: Watch) -> str:
    """A watch as JSON."""
    alarm = watch.alarm
    return dump(
        _without_defaults(
            level="" if watch.level is Severity.CLEARED else watch.level.value,
            unknown=watch.unknown,
            warning_since=watch.waiting.warning,
            critical_since=watch.waiting.critical,
            seen=watch.memory.seen,
            clock=watch.memory.clock,
            last=watch.memory.last,
            before=watch.memory.before,
            alarm=None
            if alarm is None
            else {
                "id": alarm.alarm_id,
                "since": alarm.since,
                "told": alarm.told.value,
                "told_at": alarm.told_at,
                "owed": alarm.owed,
                "event": event_text(alarm.event),
            },
        )
    )


def watch_from(text: str) -> Watch:
    """A watch out of its JSON."""
    fields = checked.members(checked.parse(text), *_WATCH)
    time, number = partial(checked.optional, checked.moment), partial(checked.optional, checked.number)
    alarm = fields.get("alarm")
    return Watch(
        level=Severity(fields.get("level", Severity.CLEARED.value)),
        unknown=checked.flag(fields.get("unknown", False)),
        waiting=Waiting(warning=time(fields.get("warning_since")), critical=time(fields.get("critical_since"))),
        memory=Memory(
            seen=checked.optional(_seen, fields.get("seen")),
            clock=time(fields.get("clock")),
            last=number(fields.get("last")),
            before=number(fields.get("before")),
        ),
        alarm=None if alarm is None else _alarm_from(alarm),
    )


def _seen(value: object) -> str:
    """What `Changes` saw last: a value and labels, as text."""
    content = checked.text(value)
    seen, labels = checked.parse(content)
    checked.number(seen)
    labels_from(labels)
    return content


def _alarm_from(value: object) -> Alarm:
    fields = checked.members(value, "id", "since", "told", "told_at", "owed", "event")
    return Alarm(
        alarm_id=checked.text(fields["id"]),
        since=checked.moment(fields["since"]),
        told=Severity(fields["told"]),
        told_at=checked.moment(fields["told_at"]),
        owed=checked.flag(fields["owed"]),
        event=event_from(fields["event"]),
    )


def track_text(track: Track) -> str:
    """A track as JSON."""
    return dump(_without_defaults(missing=track.missing, since=track.since, reason=track.reason))


def track_from(text: str) -> Track:
    """A track out of its JSON."""
    fields = checked.members(checked.parse(text), "missing", "since", "reason")
    return Track(
        missing=checked.flag(fields.get("missing", False)),
        since=checked.optional(checked.moment, fields.get("since")),
        reason=checked.text(fields.get("reason", "")),
    )


def presence_text(presence: Presence) -> str:
    """A presence as JSON."""
    return dump(_without_defaults(zero=presence.zero))


def presence_from(text: str) -> Presence:
    """A presence out of its JSON."""
    fields = checked.members(checked.parse(text), "zero", "lost")  # an older version wrote since when it was lost
    return Presence(zero=checked.flag(fields.get("zero", False)))


def windows_text(windows: Windows) -> str:
    """Windows as JSON."""
    return dump([windows.number, windows.low, windows.lows])


def windows_from(text: str) -> Windows:
    """Windows out of their JSON."""
    number, low, lows = checked.parse(text)
    return Windows(
        number=checked.whole(number),
        low=checked.number(low),
        lows=tuple(checked.optional(checked.number, each) for each in lows),
    )


def silence_text(silence: Silence) -> str:
    """A silence as JSON."""
    return dump({name: getattr(silence, name) for name in Silence.__slots__})


def silence_from(text: str) -> Silence:
    """A silence out of its JSON."""
    fields = checked.members(checked.parse(text), *Silence.__slots__)
    return Silence(
        **{name: checked.text(fields[name]) for name in ("silence_id", "reason", "source", "resource", "rule")},
        until=checked.moment(fields["until"]),
        created=checked.moment(fields["created"]),
        by_uid=checked.whole(fields["by_uid"]),
    )


def newest_chunk(points: Points, number: Callable[[float], int]) -> str:
    """The row that holds the newest point; `number` tells the row of a time."""
    start = len(points.times) - 1
    newest = number(points.times[start])
    while start > 0 and number(points.times[start - 1]) == newest:
        start -= 1
    return dump(list(zip(points.times[start:], points.values[start:], strict=True)))


def points_from(texts: list[str]) -> Points:
    """A history out of its rows, in whatever order they come."""
    found = [(time, value) for text in texts for time, value in checked.parse(text)]
    pairs = sorted((float(checked.moment(time)), float(checked.number(value))) for time, value in found)
    return Points(array("d", [time for time, _ in pairs]), array("d", [value for _, value in pairs]))
