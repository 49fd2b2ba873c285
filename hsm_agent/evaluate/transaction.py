"""Copy on write: a step reads and changes a `Transaction` on top of the alarm state, which itself stays as it is.

The result's events and rows are stored in one database transaction; only then are the changes applied in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from hsm_agent.codec import dump, encode
from hsm_agent.evaluate.state import IDLE, AlarmState, HistoryKey, RuleKey, RuleState
from hsm_agent.evaluate.trends import Points, interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hsm_agent.model import Event, Series

CHUNK = 24
"""Points in a row: a new point rewrites a day of hourly ones, not the whole history."""

K = TypeVar("K")
V = TypeVar("V")


class Overlay(Generic[K, V]):
    """Changes on top of a mapping that stays as it is. None stands for a removed entry."""

    def __init__(self, base: Mapping[K, V]) -> None:
        self._base = base
        self.changed: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        return self.changed[key] if key in self.changed else self._base.get(key)

    def put(self, key: K, value: V | None) -> None:
        if value != self.get(key):
            self.changed[key] = value

    def values(self) -> list[V]:
        """All values, in order of first appearance."""
        return [value for value in {**self._base, **self.changed}.values() if value is not None]

    def apply_to(self, base: dict[K, V]) -> None:
        for key, value in self.changed.items():
            if value is None:
                base.pop(key, None)
            else:
                base[key] = value


class Transaction:
    """The alarm state as one step sees and changes it."""

    def __init__(self, base: AlarmState) -> None:
        self.base = base
        self.rule_states = Overlay(base.rule_states)
        self.series_states = Overlay(base.series_states)
        self.object_states = Overlay(base.object_states)
        self.latest = Overlay(base.latest)
        self.windows = Overlay(base.windows)
        self.points = Overlay(base.points)
        self.silences = Overlay(base.silences)
        self.read: dict[Series, None] = {}
        """Series that were read in this step."""
        self.events: list[Event] = []
        self._points_rows: dict[str, str | None] = {}

    def rule_state(self, key: RuleKey) -> RuleState:
        return self.rule_states.get(key) or IDLE

    def put_rule_state(self, key: RuleKey, rule_state: RuleState) -> None:
        """Remember the state of a rule; an idle one needs no row."""
        self.rule_states.put(key, None if rule_state == IDLE else rule_state)

    def put_points(self, key: HistoryKey, points: Points, phase: float) -> None:
        """Remember a history that got a new point or lost some; rows whose points are all gone are deleted."""
        kept = _row_numbers(points, key, phase)
        before = self.points.get(key)
        for number in _row_numbers(before, key, phase) if before is not None else ():
            if number not in kept:
                self._points_rows[dump(["points", *key[0], key[1], number])] = None
        newest = newest_row(points, partial(row_number, spacing=key[1], phase=phase))
        self._points_rows[dump(["points", *key[0], key[1], kept[-1]])] = newest
        self.points.put(key, points)

    def drop_points(self, key: HistoryKey, points: Points, phase: float) -> None:
        """Forget a history and its rows."""
        for number in _row_numbers(points, key, phase):
            self._points_rows[dump(["points", *key[0], key[1], number])] = None
        self.points.put(key, None)

    def result(self) -> StepResult:
        """The events, and a row for everything that changed."""
        rows: dict[str, str | None] = {}
        # The kinds of rows have the names of older versions.
        for (rule, series), rule_state in self.rule_states.changed.items():
            rows[dump(["watch", *series, rule])] = _row(rule_state)
        for series, series_state in self.series_states.changed.items():
            rows[dump(["track", *series])] = _row(series_state)
        for metric, object_state in self.object_states.changed.items():
            rows[dump(["presence", *metric])] = _row(object_state)
        for (series, length), windows in self.windows.changed.items():
            content = None if windows is None else dump([windows.number, windows.low, windows.lows])
            rows[dump(["windows", *series, length])] = content
        for silence_id, silence in self.silences.changed.items():
            rows[dump(["silence", silence_id])] = _row(silence)
        rows.update(self._points_rows)
        alarms_changed = bool(self.silences.changed) or any(
            getattr(self.base.rule_states.get(key), "alarm", None) != getattr(rule_state, "alarm", None)
            for key, rule_state in self.rule_states.changed.items()
        )
        return StepResult(events=tuple(self.events), rows=rows, alarms_changed=alarms_changed, transaction=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step changed. `events` in order and `rows` (key to JSON text, None deletes) are stored together."""

    events: tuple[Event, ...]
    rows: Mapping[str, str | None]
    alarms_changed: bool
    """Whether `state.active` differs from before."""
    transaction: Transaction = field(repr=False)

    def apply_to(self, state: AlarmState) -> None:
        """Make the changes in memory. `state` may hold more than the state that the step was given."""
        transaction = self.transaction
        transaction.rule_states.apply_to(state.rule_states)
        transaction.series_states.apply_to(state.series_states)
        transaction.object_states.apply_to(state.object_states)
        transaction.latest.apply_to(state.latest)
        transaction.windows.apply_to(state.windows)
        transaction.points.apply_to(state.points)
        transaction.silences.apply_to(state.silences)
        for series in transaction.read:
            state.unread.pop(series, None)
        for key, rule_state in transaction.rule_states.changed.items():
            if rule_state is not None and rule_state.alarm is not None:
                state.alarmed.setdefault(key)
            else:
                state.alarmed.pop(key, None)
        for series, series_state in transaction.series_states.changed.items():
            if series_state is not None and series_state.missing:
                state.missing.setdefault(series)
            else:
                state.missing.pop(series, None)


def _row(value: object | None) -> str | None:
    return None if value is None else dump(encode(value))


def row_number(time: float, spacing: float, phase: float) -> int:
    """Number of the row that a point of this time goes into."""
    return interval(time, spacing, phase) // CHUNK


def _row_numbers(points: Points, key: HistoryKey, phase: float) -> range:
    first, last = (row_number(points.times[end], key[1], phase) for end in (0, -1))
    return range(first, last + 1)


def newest_row(points: Points, row_of: Callable[[float], int]) -> str:
    """The row that holds the newest point; `row_of` is the number of the row of a time."""
    start = len(points.times) - 1
    newest = row_of(points.times[start])
    while start > 0 and row_of(points.times[start - 1]) == newest:
        start -= 1
    return dump(list(zip(points.times[start:], points.values[start:], strict=True)))
