"""Parts of the alarm state: what is the group's and what is the agent's own, and single rows taken from elsewhere.

What the agent says of itself (its source, `AGENT_SOURCE`) is its own, all else the group's, silences included.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from hsm_agent import codec
from hsm_agent.evaluate.rules import phase_of
from hsm_agent.evaluate.state import (
    AlarmState,
    joined,
    part_of,
    series_of,
)
from hsm_agent.evaluate.transaction import Transaction, row_number
from hsm_agent.evaluate.trends import Points
from hsm_agent.model import AGENT_SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hsm_agent.evaluate.state import HistoryKey, Silence
    from hsm_agent.model import Series


_ROWS_AT_ONCE = 100


def is_own(series: Series) -> bool:
    """Whether a series is the agent's own, whoever leads its group."""
    return series[0] == AGENT_SOURCE


def is_shared(series: Series) -> bool:
    """Whether a series is the group's."""
    return series[0] != AGENT_SOURCE


def is_shared_row(key: str) -> bool:
    """Whether the row of this key is the group's; not where it is no row of the alarm state."""
    try:
        match codec.parse(key):
            case ["silence", str()]:
                return True
            case [str(), str(source), *_]:
                return source != AGENT_SOURCE
            case _:
                return False
    except ValueError:
        return False


def series_in(key: str) -> Series | None:
    """The series that a row is about, where it says what a rule makes of it or holds points of it; else None."""
    try:
        match codec.parse(key):
            case ["watch" | "points", source, resource, metric, labels, *_]:
                return series_of((source, resource, metric, labels))
            case _:
                return None
    except ValueError:
        return None


def view(state: AlarmState, *, own: bool, now: float) -> AlarmState:
    """The state as a step of one scope sees it: the same dictionaries, but indexes of this scope's series alone.

    The agent's own scope holds no silence that a step of it would end or correct: silences are the group's.
    """
    part = AlarmState()
    part.rule_states, part.series_states, part.object_states = (
        state.rule_states,
        state.series_states,
        state.object_states,
    )
    part.latest, part.windows, part.points = state.latest, state.windows, state.points
    part.silences = _in_force(state.silences, now) if own else state.silences
    part.alarmed = {key: None for key in state.alarmed if is_own(key[1]) is own}
    part.missing = {series: None for series in state.missing if is_own(series) is own}
    part.unread = {series: None for series in state.unread if is_own(series) is own}
    return part


def _in_force(silences: Mapping[str, Silence], now: float) -> dict[str, Silence]:
    return {
        name: each if each.created <= now else replace(each, created=now)
        for name, each in silences.items()
        if each.until > now
    }


def rows_of(state: AlarmState) -> dict[str, str]:
    """Every row of a state, as they would be stored if all of it had changed."""
    return dict(each_row(state))


def each_row(state: AlarmState) -> Iterator[tuple[str, str]]:
    """The same one after the other, key and text: others may run in between, as long as the state stays as it is."""
    for name in ("rule_states", "series_states", "object_states", "windows", "silences"):
        entries: Iterator[Any] = iter(getattr(state, name).items())
        while portion := dict(islice(entries, _ROWS_AT_ONCE)):
            transaction = Transaction(AlarmState())
            getattr(transaction, name).changed.update(portion)
            yield from ((key, text) for key, text in transaction.result().rows.items() if text is not None)
    for history, points in state.points.items():
        yield from _chunks(history, points)


def _chunks(history: HistoryKey, points: Points) -> Iterator[tuple[str, str]]:
    series, spacing = history
    row_of = partial(row_number, spacing=spacing, phase=phase_of(series))
    begin = 0
    while begin < len(points.times):
        number = row_of(points.times[begin])
        end = bisect_right(points.times, number, begin, key=row_of)
        pairs = list(zip(points.times[begin:end], points.values[begin:end], strict=True))
        yield codec.dump(["points", *series, spacing, number]), codec.dump(pairs)
        begin = end


def take_in_rows(state: AlarmState, rows: Mapping[str, str | None]) -> tuple[str, ...]:
    """Change the state as the rows say that another agent's has changed; None erases. Keys that cannot be read.

    A row that cannot be read leaves nothing behind, as at a start.
    """
    unreadable = []
    for key, text in rows.items():
        try:
            fields = codec.parse(key)
            _erase(state, fields)
            if text is not None:
                _add(state, fields, text)
        except (ValueError, TypeError):  # TypeError: an array where something else is unpacked
            unreadable.append(key)
    return tuple(unreadable)


def _erase(state: AlarmState, key: list[Any]) -> None:
    match key:
        case ["watch", *fields, str(rule)]:
            rule_key = (rule, series_of(fields))
            state.rule_states.pop(rule_key, None)
            state.alarmed.pop(rule_key, None)
        case ["track", *fields]:
            state.series_states.pop(series_of(fields), None)
            state.missing.pop(series_of(fields), None)
        case ["presence", str(source), str(resource), str(metric)]:
            state.object_states.pop((source, resource, metric), None)
        case ["windows", *fields, float() | int() as length]:
            state.windows.pop((series_of(fields), length), None)
        case ["points", *fields, float() | int() as spacing, int(number)]:
            _replace_chunk(state, (series_of(fields), codec.positive(spacing)), number, Points())
        case ["silence", str(silence_id)]:
            state.silences.pop(silence_id, None)
        case _:
            raise ValueError(f"unknown kind of row: {key}")


def _add(state: AlarmState, key: list[Any], text: str) -> None:
    chunks: dict[HistoryKey, list[Points]] = {}
    state.read_row(key, text, chunks)
    for history, (chunk,) in chunks.items():
        _replace_chunk(state, history, key[-1], chunk)
    match key:
        case ["watch", *fields, str(rule)] if state.rule_states[rule, series_of(fields)].alarm is not None:
            state.alarmed[rule, series_of(fields)] = None
        case ["track", *fields] if state.series_states[series_of(fields)].missing:
            state.missing[series_of(fields)] = None
        case _:
            pass


def _replace_chunk(state: AlarmState, history: HistoryKey, number: int, chunk: Points) -> None:
    """Let a history hold these points, and none else of those that go into the row of this number."""
    series, spacing = history
    before = state.points.get(history) or Points()
    row_of = partial(row_number, spacing=spacing, phase=phase_of(series))
    begin = bisect_left(before.times, number, key=row_of)
    end = bisect_right(before.times, number, begin, key=row_of)
    older = Points(before.times[:begin], before.values[:begin])
    newer = Points(before.times[end:], before.values[end:])
    found = joined([older, chunk, newer])
    if found.times:
        state.points[history] = found
    else:
        state.points.pop(history, None)


def adopt(state: AlarmState, fresh: AlarmState) -> None:
    """Let the state hold `fresh` instead of all that is the group's; what is the agent's own stays."""
    own = part_of(state, is_own)
    for name in ("rule_states", "series_states", "object_states", "latest", "windows", "points", "alarmed", "missing"):
        held: dict[Any, Any] = getattr(state, name)
        held.clear()
        held.update(getattr(own, name))
        held.update(getattr(fresh, name))
    state.unread.clear()
    state.unread.update(own.unread)
    state.silences.clear()
    state.silences.update(fresh.silences)
