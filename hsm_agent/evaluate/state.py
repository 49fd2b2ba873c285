"""The memory of judging: every watch, history and silence, as one value that a step reads and an outcome renews.

A step never changes the book: it hands back an Outcome, whose events and rows belong into one transaction, and which
`Book.apply` takes in afterwards. All of it fits into rows of text (`rows`), so the book survives restarts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hsm_agent.evaluate import checked
from hsm_agent.evaluate import state_codec as rows
from hsm_agent.evaluate.state_codec import CHUNK, series_key
from hsm_agent.evaluate.trends import Points, Windows, interval
from hsm_agent.evaluate.watches import RESTING, Alarm, Presence, Track, Watch
from hsm_agent.model import ActiveAlarm, Event, Reading, Series, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hsm_agent.evaluate.silences import Silence

WatchKey = tuple[str, Series]
"""A rule's name and a series."""
HistoryKey = tuple[Series, float]
"""A series, and the length of the windows or the spacing of the points."""
PresenceKey = tuple[str, str, str]
"""Source, resource and metric, whatever the labels."""

K = TypeVar("K")
V = TypeVar("V")


class Layer(Generic[K, V]):
    """Changes on top of a mapping that stays as it is. None stands for an entry that is gone."""

    def __init__(self, base: Mapping[K, V]) -> None:
        self._base = base
        self.changed: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        return self.changed[key] if key in self.changed else self._base.get(key)

    def put(self, key: K, value: V | None) -> None:
        if value != self.get(key):
            self.changed[key] = value

    def values(self) -> list[V]:
        """What there is, in order of first appearance."""
        return [value for value in {**self._base, **self.changed}.values() if value is not None]

    def apply(self, base: dict[K, V]) -> None:
        for key, value in self.changed.items():
            if value is None:
                base.pop(key, None)
            else:
                base[key] = value


class Book:
    """What is remembered. Written by `apply` alone."""

    def __init__(self) -> None:
        self.watches: dict[WatchKey, Watch] = {}
        self.tracks: dict[Series, Track] = {}
        self.presences: dict[PresenceKey, Presence] = {}
        self.latest: dict[PresenceKey, Reading] = {}
        """Readings that other rules give way to, as this process read them: not written down, so that no old value
        holds anything back after a restart."""
        self.windows: dict[HistoryKey, Windows] = {}
        self.points: dict[HistoryKey, Points] = {}
        self.silences: dict[str, Silence] = {}
        self.alarmed: dict[WatchKey, None] = {}
        """Watches with an alarm: what a step has to look at even without readings."""
        self.missing: dict[Series, None] = {}
        """Series that had a value and have none."""
        self.unheard: dict[Series, None] = {}
        """Series with an alarm that survived a restart and have not been read since."""

    def apply(self, outcome: Outcome) -> None:
        """Take in what a step found."""
        draft = outcome.draft
        draft.watches.apply(self.watches)
        draft.tracks.apply(self.tracks)
        draft.presences.apply(self.presences)
        draft.latest.apply(self.latest)
        draft.windows.apply(self.windows)
        draft.points.apply(self.points)
        draft.silences.apply(self.silences)
        for series in draft.heard:
            self.unheard.pop(series, None)
        for key, watch in draft.watches.changed.items():
            _mark(self.alarmed, key, present=watch is not None and watch.alarm is not None)
        for series, track in draft.tracks.changed.items():
            _mark(self.missing, series, present=track is not None and track.missing)

    @classmethod
    def load(cls, texts: Mapping[str, str]) -> tuple[Book, tuple[str, ...]]:
        """The book out of its rows, and the keys of rows that cannot be read."""
        book = cls()
        unreadable = []
        chunks: dict[HistoryKey, list[str]] = {}
        for key, text in texts.items():
            try:
                book._take(checked.parse(key), text, chunks)
            except (ValueError, TypeError, KeyError):
                unreadable.append(key)
        for history, found in chunks.items():
            book.points[history] = rows.points_from(found)
        book.alarmed = {key: None for key, watch in book.watches.items() if watch.alarm is not None}
        book.missing = {series: None for series, track in book.tracks.items() if track.missing}
        book.unheard = {series: None for _, series in book.alarmed}
        return book, tuple(unreadable)

    def _take(self, key: list[Any], text: str, chunks: dict[HistoryKey, list[str]]) -> None:
        match key:
            case ["watch", *series, str(rule)]:
                self.watches[rule, rows.series_from(series)] = rows.watch_from(text)
            case ["track", *series]:
                self.tracks[rows.series_from(series)] = rows.track_from(text)
            case ["presence", str(source), str(resource), str(metric)]:
                self.presences[source, resource, metric] = rows.presence_from(text)
            case ["windows", *series, float() | int() as length]:
                self.windows[rows.series_from(series), checked.span(length)] = rows.windows_from(text)
            case ["points", *series, float() | int() as spacing, int()]:
                rows.points_from([text])  # a row that cannot be read must not spoil its neighbours
                chunks.setdefault((rows.series_from(series), checked.span(spacing)), []).append(text)
            case ["silence", str(silence_id)]:
                self.silences[silence_id] = rows.silence_from(text)
            case _:
                raise ValueError(f"unknown kind of row: {key}")


def _mark(marks: dict[K, None], key: K, *, present: bool) -> None:
    if present:
        marks.setdefault(key)
    else:
        marks.pop(key, None)


class Draft:
    """A book while a step works on it: the same reads, but writes go to a layer on top."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.watches = Layer(book.watches)
        self.tracks = Layer(book.tracks)
        self.presences = Layer(book.presences)
        self.latest = Layer(book.latest)
        self.windows = Layer(book.windows)
        self.points = Layer(book.points)
        self.silences = Layer(book.silences)
        self.heard: dict[Series, None] = {}
        self.events: list[Event] = []
        self.points_rows: dict[str, str | None] = {}

    def watch(self, key: WatchKey) -> Watch:
        """A watch; one that is not remembered is at rest."""
        return self.watches.get(key) or RESTING

    def put_watch(self, key: WatchKey, watch: Watch) -> None:
        """Remember a watch; one at rest needs no room."""
        self.watches.put(key, None if watch == RESTING else watch)

    def put_points(self, key: HistoryKey, points: Points, phase: float) -> None:
        """Remember a history that got a new point or lost some; rows of points that went are deleted."""
        series, spacing = key
        before = self.points.get(key)
        number = partial(_chunk_of, spacing=spacing, phase=phase)
        kept = range(number(points.times[0]), number(points.times[-1]) + 1)
        if before is not None:
            for chunk in range(number(before.times[0]), number(before.times[-1]) + 1):
                if chunk not in kept:
                    self.points_rows[series_key("points", series, spacing, chunk)] = None
        self.points_rows[series_key("points", series, spacing, kept[-1])] = rows.newest_chunk(points, number)
        self.points.put(key, points)

    def drop_points(self, key: HistoryKey, points: Points, phase: float) -> None:
        """Forget a history, rows included."""
        series, spacing = key
        for chunk in range(_chunk_of(points.times[0], spacing, phase), _chunk_of(points.times[-1], spacing, phase) + 1):
            self.points_rows[series_key("points", series, spacing, chunk)] = None
        self.points.put(key, None)

    def outcome(self) -> Outcome:
        """What came of it."""
        texts: dict[str, str | None] = {}
        _write(texts, self.watches, lambda key: series_key("watch", key[1], key[0]), rows.watch_text)
        _write(texts, self.tracks, lambda series: series_key("track", series), rows.track_text)
        _write(texts, self.presences, lambda key: rows.dump(["presence", *key]), rows.presence_text)
        _write(texts, self.windows, lambda key: series_key("windows", *key), rows.windows_text)
        _write(texts, self.silences, lambda key: rows.dump(["silence", key]), rows.silence_text)
        texts.update(self.points_rows)
        alarms_changed = bool(self.silences.changed) or any(
            getattr(self.book.watches.get(key), "alarm", None) != getattr(watch, "alarm", None)
            for key, watch in self.watches.changed.items()
        )
        return Outcome(events=tuple(self.events), writes=texts, alarms_changed=alarms_changed, draft=self)


def _chunk_of(time: float, spacing: float, phase: float) -> int:
    return interval(time, spacing, phase) // CHUNK


def _write(
    texts: dict[str, str | None], layer: Layer[K, V], key_text: Callable[[K], str], text: Callable[[V], str]
) -> None:
    for key, value in layer.changed.items():
        texts[key_text(key)] = None if value is None else text(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a step found. `events` in order and `writes` (key to JSON text, None deletes) are one transaction."""

    events: tuple[Event, ...]
    writes: Mapping[str, str | None]
    alarms_changed: bool
    """Whether `active` gives something else than before."""
    draft: Draft = field(repr=False)


def raised(watches: Mapping[WatchKey, Watch], keys: Iterable[WatchKey]) -> list[tuple[WatchKey, Watch, Alarm]]:
    """Those of the watches that have an alarm, the oldest first."""
    found = [(key, watch, watch.alarm) for key in keys if (watch := watches.get(key)) and watch.alarm]
    return sorted(found, key=lambda item: (item[2].since, item[0]))


def active(book: Book) -> dict[WatchKey, ActiveAlarm]:
    """The alarms that are raised now, oldest first. One that waits for an inhibition to end is not raised yet."""
    found = {}
    for key, watch, alarm in raised(book.watches, book.alarmed):
        rule, series = key
        silenced = any(silence.covers(rule, series[0], series[1]) for silence in book.silences.values())
        if silenced or alarm.told is not Severity.CLEARED:
            found[key] = ActiveAlarm(
                alarm_id=alarm.alarm_id,
                rule=rule,
                series=series,
                severity=watch.shown,
                since=alarm.since,
                event=alarm.event,
                silenced=silenced,
            )
    return found
