"""What is remembered as rows of text, a key and a JSON value each, so that a restart changes nothing.

Only what differs from the default is written. A row that cannot be read is reported, never guessed.
"""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING, Any

from hsm_agent.evaluate.levels import Waiting
from hsm_agent.evaluate.silences import Silence
from hsm_agent.evaluate.trends import Points, Windows
from hsm_agent.evaluate.verdicts import Memory
from hsm_agent.evaluate.watches import Alarm, Presence, Track, Watch
from hsm_agent.model import Event, EventKind, Labels, Series, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

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
    return tuple((str(name), str(content)) for name, content in value)


def series_from(parts: list[Any]) -> Series:
    """A series out of the parts of a key."""
    source, resource, metric, labels = parts
    return (str(source), str(resource), str(metric), labels_from(labels))


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


def event_from(fields: dict[str, Any]) -> Event:
    """An event out of its JSON fields."""
    known = {
        **fields,
        "kind": EventKind(fields["kind"]),
        "severity": Severity(fields["severity"]),
        "labels": labels_from(fields.get("labels", ())),
    }
    return Event(**{"event_id": "", "time": 0.0, "text": "", "agent": "", **known})


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
    fields = json.loads(text)
    alarm = fields.get("alarm")
    return Watch(
        level=Severity(fields.get("level", Severity.CLEARED.value)),
        unknown=fields.get("unknown", False),
        waiting=Waiting(warning=fields.get("warning_since"), critical=fields.get("critical_since")),
        memory=Memory(
            seen=fields.get("seen"),
            clock=fields.get("clock"),
            last=fields.get("last"),
            before=fields.get("before"),
        ),
        alarm=None
        if alarm is None
        else Alarm(
            alarm_id=alarm["id"],
            since=alarm["since"],
            told=Severity(alarm["told"]),
            told_at=alarm["told_at"],
            owed=alarm["owed"],
            event=event_from(alarm["event"]),
        ),
    )


def track_text(track: Track) -> str:
    """A track as JSON."""
    return dump(_without_defaults(missing=track.missing, since=track.since, reason=track.reason))


def track_from(text: str) -> Track:
    """A track out of its JSON."""
    return Track(**json.loads(text))


def presence_text(presence: Presence) -> str:
    """A presence as JSON."""
    return dump(_without_defaults(zero=presence.zero))


def presence_from(text: str) -> Presence:
    """A presence out of its JSON."""
    return Presence(zero=bool(json.loads(text).get("zero", False)))


def windows_text(windows: Windows) -> str:
    """Windows as JSON."""
    return dump([windows.number, windows.low, windows.lows])


def windows_from(text: str) -> Windows:
    """Windows out of their JSON."""
    number, low, lows = json.loads(text)
    return Windows(number=number, low=low, lows=tuple(lows))


def silence_text(silence: Silence) -> str:
    """A silence as JSON."""
    return dump({name: getattr(silence, name) for name in Silence.__slots__})


def silence_from(text: str) -> Silence:
    """A silence out of its JSON."""
    return Silence(**json.loads(text))


def newest_chunk(points: Points, number: Callable[[float], int]) -> str:
    """The row that holds the newest point; `number` tells the row of a time."""
    start = len(points.times) - 1
    newest = number(points.times[start])
    while start > 0 and number(points.times[start - 1]) == newest:
        start -= 1
    return dump(list(zip(points.times[start:], points.values[start:], strict=True)))


def points_from(texts: list[str]) -> Points:
    """A history out of its rows, in whatever order they come."""
    pairs = sorted((float(time), float(value)) for text in texts for time, value in json.loads(text))
    return Points(array("d", [time for time, _ in pairs]), array("d", [value for _, value in pairs]))
