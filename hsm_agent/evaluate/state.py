"""The state of all alarms: what is remembered of rules, series and objects, the histories, and the silences.

`AlarmState` is changed by `transaction.StepResult.apply_to` alone. All of it fits into rows of text (a JSON key and a
JSON value), so that a restart changes nothing. A row that cannot be read is reported, never guessed.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from math import isinf
from typing import TYPE_CHECKING, Any, TypeVar

from hsm_agent import codec
from hsm_agent.codec import stored
from hsm_agent.evaluate.trends import Points, Windows
from hsm_agent.model import ActiveAlarm, Event, Series, Severity
from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hsm_agent.model import Reading

RuleKey = tuple[str, Series]
"""A rule's name and a series."""
HistoryKey = tuple[Series, float]
"""A series, and the length of the windows or the spacing of the points."""
MetricKey = tuple[str, str, str]
"""Source, resource and metric, whatever the labels."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLevels:
    """Since when each level has been reached without a break, while its `for` has not passed yet.

    `warning` is the time of whichever level below critical is reached.
    """

    warning: float | None = field(default=None, metadata=stored("warning_since"))
    critical: float | None = field(default=None, metadata=stored("critical_since"))


NOTHING_PENDING = PendingLevels()


def _seen_content(value: object) -> str:
    content = codec.text(value)
    _number, labels = codec.parse(content)
    codec.number(_number)
    codec.labels(labels)
    return content


def _number_or_none(value: object) -> float | None:
    return codec.optional(codec.number, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionMemory:
    """What the condition of a rule remembers of one series besides its histories."""

    seen: str | None = field(default=None, metadata=stored(check=lambda value: codec.optional(_seen_content, value)))
    """`Changes`: the last content, as the JSON of value and labels."""
    clock: float | None = None
    """`Changes`: when it changed last. `NotFalling`: since when it has not fallen. `Falls`: when it fell last."""
    last: float | None = field(default=None, metadata=stored(check=_number_or_none))
    """`NotFalling`: the last value. `Falls`: the value it fell from. `Grows`: where growth found by `sooner` began."""
    before: float | None = field(default=None, metadata=stored(check=_number_or_none))
    """`Falls`: the last value."""


NO_MEMORY = ConditionMemory()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm from raise to clear.

    `notified_severity` is the severity of the last notification, CLEARED while there was none (a silence, an
    inhibition). `event` is the last notification, or the one that is held back.
    """

    alarm_id: str = field(metadata=stored("id"))
    since: float
    event: Event
    notified_severity: Severity = field(default=Severity.CLEARED, metadata=stored("told", always=True))
    notified_at: float = field(default=0.0, metadata=stored("told_at", always=True))
    notification_pending: bool = field(default=False, metadata=stored("owed", always=True))
    """A further change happened while the alarm was held back; it is notified on release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleState:
    """The state of one rule on one series.

    `level` is the severity after hysteresis and `for`; `unknown` overrides it.
    """

    level: Severity = Severity.CLEARED
    unknown: bool = False
    pending: PendingLevels = field(default=NOTHING_PENDING, metadata=stored(inline=True))
    memory: ConditionMemory = field(default=NO_MEMORY, metadata=stored(inline=True))
    alarm: Alarm | None = None

    @property
    def severity(self) -> Severity:
        """The current severity."""
        return Severity.INDETERMINATE if self.unknown else self.level


IDLE = RuleState()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesState:
    """Whether a series that had a value has one now; `since` is when it lost it, None while its source is down."""

    missing: bool = False
    since: float | None = None
    reason: str = ""


HAS_VALUE = SeriesState()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectState:
    """Whether the last reading of an object's presence was zero."""

    zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Notifications of raises and changes that an operator holds back; clears are sent.

    `source`, `resource` and `rule` are globs; times are UTC seconds.
    """

    silence_id: str
    until: float
    reason: str
    by_uid: int
    created: float
    source: str = field(default="*", metadata=stored(always=True))
    resource: str = field(default="*", metadata=stored(always=True))
    rule: str = field(default="*", metadata=stored(always=True))

    def covers(self, rule: str, source: str, resource: str) -> bool:
        return (
            glob_matches(rule, self.rule)
            and glob_matches(source, self.source)
            and glob_matches(resource, self.resource)
        )

    @property
    def scope(self) -> str:
        """What it covers, as text."""
        return f"rule {self.rule} on {self.source}/{self.resource}"


class AlarmState:
    """Everything that evaluation remembers between two steps."""

    def __init__(self) -> None:
        self.rule_states: dict[RuleKey, RuleState] = {}
        self.series_states: dict[Series, SeriesState] = {}
        self.object_states: dict[MetricKey, ObjectState] = {}
        self.latest: dict[MetricKey, Reading] = {}
        """Readings that other rules give way to. Not stored, so that no old value holds anything back after a
        restart."""
        self.windows: dict[HistoryKey, Windows] = {}
        self.points: dict[HistoryKey, Points] = {}
        self.silences: dict[str, Silence] = {}
        self.alarmed: dict[RuleKey, None] = {}
        """Index of `rule_states` with an alarm: a step looks at them even without readings."""
        self.missing: dict[Series, None] = {}
        """Index of `series_states` that are missing."""
        self.unread: dict[Series, None] = {}
        """Series with an alarm that survived a restart and have not been read since."""

    @classmethod
    def load(cls, rows: Mapping[str, str]) -> tuple[AlarmState, tuple[str, ...]]:
        """The state from its rows, and the keys of rows that cannot be read."""
        loading = Loading(rows)
        for _ in loading:
            pass
        return loading.state, tuple(loading.unreadable)

    def read_row(self, key: list[Any], text: str, chunks: dict[HistoryKey, list[Points]]) -> None:
        """Add what a row says, points to `chunks`, and nothing to an index. ValueError where it cannot be read."""
        # The kinds of rows keep the names they had in older versions.
        match key:
            case ["watch", *series, str(rule)]:
                self.rule_states[rule, series_of(series)] = codec.decode(RuleState, codec.parse(text))
            case ["track", *series]:
                self.series_states[series_of(series)] = codec.decode(SeriesState, codec.parse(text))
            case ["presence", str(source), str(resource), str(metric)]:
                # An older version also wrote since when the object was lost.
                found = codec.decode(ObjectState, codec.parse(text), ignored=("lost",))
                self.object_states[source, resource, metric] = found
            case ["windows", *series, float() | int() as length]:
                self.windows[series_of(series), codec.positive(length)] = _windows_of(text)
            case ["points", *series, float() | int() as spacing, int()]:
                points = points_of([text])  # by itself: a row that cannot be read must not spoil its neighbours
                history = (series_of(series), codec.positive(spacing))
                if points.times and isinf(max(-points.times[0], points.times[-1]) / history[1]):
                    raise ValueError("points of no interval that can be counted")
                _append(chunks.setdefault(history, []), points)
            case ["silence", str(silence_id)]:
                self.silences[silence_id] = codec.decode(Silence, codec.parse(text))
            case _:
                raise ValueError(f"unknown kind of row: {key}")


class Loading:
    """A state as it is read from its rows, a step of the iteration each.

    It takes seconds where there are histories of a thousand tokens, and others may run between any two steps.
    """

    def __init__(self, rows: Mapping[str, str]) -> None:
        self.state = AlarmState()
        """Whole when the iteration has ended."""
        self.unreadable: list[str] = []
        """Keys of the rows that cannot be read."""
        self._rows = rows

    def __iter__(self) -> Iterator[None]:
        state = self.state
        chunks: dict[HistoryKey, list[Points]] = {}
        for key, text in self._rows.items():
            try:
                state.read_row(codec.parse(key), text, chunks)
            except (ValueError, TypeError):  # TypeError: an array where something else is unpacked
                self.unreadable.append(key)
            yield
        for history, found in chunks.items():
            state.points[history] = joined(found)
            yield
        state.alarmed = {key: None for key, rule_state in state.rule_states.items() if rule_state.alarm is not None}
        state.missing = {series: None for series, each in state.series_states.items() if each.missing}
        state.unread = {series: None for _, series in state.alarmed}


def series_of(fields: Sequence[object]) -> Series:
    """The series of a row's key. ValueError where it is none."""
    source, resource, metric, labels = fields
    return (codec.text(source), codec.text(resource), codec.text(metric), codec.labels(labels))


def _windows_of(text: str) -> Windows:
    number, low, lows = codec.parse(text)
    return Windows(
        number=codec.whole(number),
        low=codec.number(low),
        lows=tuple(codec.optional(codec.number, each) for each in lows),
    )


def points_of(rows: Sequence[str]) -> Points:
    """A history from its rows, in any order."""
    found = [(time, value) for text in rows for time, value in codec.parse(text)]
    pairs = sorted((float(codec.finite(time)), float(codec.number(value))) for time, value in found)
    return Points(array("d", [time for time, _ in pairs]), array("d", [value for _, value in pairs]))


def _append(pieces: list[Points], points: Points) -> None:
    """Put points behind the last piece, which nobody else holds yet, where they are later.

    A piece for each row of a thousand tokens takes a third more memory than the agent has otherwise.
    """
    if not pieces or not points.times or (pieces[-1].times and pieces[-1].times[-1] > points.times[0]):
        pieces.append(points)
        return
    pieces[-1].times.extend(points.times)
    pieces[-1].values.extend(points.values)


def joined(pieces: Sequence[Points]) -> Points:
    """One history of several, in any order."""
    if len(pieces) == 1:
        return pieces[0]
    times, values = array("d"), array("d")
    for piece in sorted((piece for piece in pieces if piece.times), key=lambda piece: piece.times[0]):
        if times and times[-1] > piece.times[0]:  # they overlap, as those that were written here never do
            pairs = sorted(pair for each in pieces for pair in zip(each.times, each.values, strict=True))
            return Points(array("d", [time for time, _ in pairs]), array("d", [value for _, value in pairs]))
        times += piece.times
        values += piece.values
    return Points(times, values)


def part_of(state: AlarmState, is_wanted: Callable[[Series], bool]) -> AlarmState:
    """A copy of what is about some series, without silences; what is remembered of metrics whatever their labels too.

    Small where they are few: to withdraw them looks at nothing else.
    """
    part = AlarmState()
    part.rule_states = {key: each for key, each in state.rule_states.items() if is_wanted(key[1])}
    part.series_states = {series: each for series, each in state.series_states.items() if is_wanted(series)}
    part.object_states = {key: each for key, each in state.object_states.items() if is_wanted((*key, ()))}
    part.latest = {key: each for key, each in state.latest.items() if is_wanted((*key, ()))}
    part.windows = {key: each for key, each in state.windows.items() if is_wanted(key[0])}
    part.points = {key: each for key, each in state.points.items() if is_wanted(key[0])}
    part.alarmed = {key: None for key in state.alarmed if is_wanted(key[1])}
    part.missing = {series: None for series in state.missing if is_wanted(series)}
    part.unread = {series: None for series in state.unread if is_wanted(series)}
    return part


def with_alarm(state: AlarmState) -> list[tuple[RuleKey, RuleState, Alarm]]:
    """The rule states that have an alarm, the oldest first."""
    found = [(key, each, each.alarm) for key in state.alarmed if (each := state.rule_states.get(key)) and each.alarm]
    return sorted(found, key=lambda item: (item[2].since, item[0]))


def active(state: AlarmState) -> dict[RuleKey, ActiveAlarm]:
    """The raised alarms, the oldest first. An alarm that was held back by an inhibition only is not raised yet."""
    found = {}
    for key, rule_state, alarm in with_alarm(state):
        rule, series = key
        silenced = any(silence.covers(rule, series[0], series[1]) for silence in state.silences.values())
        if silenced or alarm.notified_severity is not Severity.CLEARED:
            found[key] = ActiveAlarm(
                alarm_id=alarm.alarm_id,
                rule=rule,
                series=series,
                severity=rule_state.severity,
                since=alarm.since,
                event=alarm.event,
                silenced=silenced,
            )
    return found
