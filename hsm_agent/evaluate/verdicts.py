"""From a rule, a reading and what is remembered to a verdict. Every kind of condition is judged here, in one match."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hsm_agent.evaluate import growth, rates, trends
from hsm_agent.evaluate.levels import judge, judge_below
from hsm_agent.evaluate.limits import own, rate_unit
from hsm_agent.evaluate.messages import amount, duration_text
from hsm_agent.evaluate.rules import (
    WINDOWS,
    Above,
    Below,
    Changes,
    Falls,
    Grows,
    NotFalling,
    RateChanges,
    Reaches,
    Rule,
    floor_spacing,
    line_spacing,
    rate_spacing,
    steady_length,
)
from hsm_agent.metrics import unit
from hsm_agent.model import Reading, Severity, number_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.evaluate.trends import Line, Points, Windows

CLEARED, WARNING, CRITICAL = Severity.CLEARED, Severity.WARNING, Severity.CRITICAL
UNDECIDED = Severity.INDETERMINATE
"""The verdict while a history is too short or torn: it neither raises nor clears."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one rule remembers of one series besides its histories."""

    seen: str | None = None
    """`Changes`: the content that was seen last."""
    clock: float | None = None
    """`Changes`: when it changed last. `NotFalling`: since when it has not fallen. `Falls`: when it fell last."""
    last: float | None = None
    """`NotFalling`: the last value. `Falls`: the value from which it fell. `Grows`: where one told sooner began."""
    before: float | None = None
    """`Falls`: the last value."""


NOTHING = Memory()


class Past(Protocol):
    """The histories of the series that is judged."""

    def windows(self, length: float) -> Windows | None: ...

    def points(self, spacing: float) -> Points | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a condition says of a reading: how grave, and which number was judged.

    `before` is the content that a change replaced; `note` is what people should know besides the number.
    `again` marks a further change or fall that people must be told of although it is raised already.
    """

    severity: Severity
    value: float | None
    unit: str
    before: str = ""
    note: str = ""
    again: bool = False


def assess(rule: Rule, reading: Reading, current: Severity, memory: Memory, past: Past) -> tuple[Verdict, Memory]:
    """Judge a reading that has a value. `current` is the severity the rule has reached so far."""
    value = reading.value
    assert value is not None
    match rule.condition:
        case Above() | Below() as condition:
            return _level(rule, condition, reading, value, current), memory
        case Grows() as condition:
            return _growth(condition, reading, value, current, memory, past)
        case RateChanges() as condition:
            return _rate(condition, reading, value, past), memory
        case Reaches() as condition:
            return _forecast(rule, condition, reading, value, current, past), memory
        case Changes() as condition:
            return _change(condition, reading, value, memory)
        case NotFalling() as condition:
            return _stuck(condition, reading, value, memory)
        case Falls() as condition:  # pragma: no branch - the last kind there is
            return _fall(condition, reading, value, memory)


def _level(rule: Rule, condition: Above | Below, reading: Reading, value: float, current: Severity) -> Verdict:
    warning = own(condition.warning, reading.limit)
    critical = own(condition.critical, reading.limit)
    margin = rule.margin(reading.metric)
    if warning is None and critical is None:
        severity = UNDECIDED
    elif isinstance(condition, Below):
        severity = judge_below(value, warning=warning, critical=critical, hysteresis=margin, current=current)
    else:
        judged = abs(value) if condition.absolute else value
        severity = judge(judged, warning=warning, critical=critical, hysteresis=margin, current=current)
    return Verdict(severity=severity, value=value, unit=unit(reading.metric), note=reading.note)


def _rising(warning: float | None, critical: float | None) -> Iterable[tuple[Severity, float]]:
    """The levels a condition has, the graver one last."""
    if warning is not None:
        yield WARNING, warning
    if critical is not None:
        yield CRITICAL, critical


def _growth(
    condition: Grows, reading: Reading, value: float, current: Severity, memory: Memory, past: Past
) -> tuple[Verdict, Memory]:
    name, start = unit(reading.metric), memory.last
    over = start is not None and _is_over(condition, start, value, past)
    severity, length, undecided = _six_windows(condition, CLEARED if over else current, reading.time, past)
    found = _sooner(condition, reading.time, past) if condition.sooner else None
    if start is not None and not over and current.rank > severity.rank:
        severity, length = current, 0.0  # told sooner, and neither back where it began nor at rest
    if found is not None and found[0].rank > severity.rank:
        severity, length = found[0], 0.0
    if severity is CLEARED:
        return Verdict(severity=UNDECIDED if undecided and not over else CLEARED, value=value, unit=name), NOTHING
    if length:
        windows = past.windows(length)
        start = windows.lows[-WINDOWS:][0] if windows and windows.lows else None
        since, kept = f"in {duration_text(length * WINDOWS)}", NOTHING
    else:
        start = found[1].start if start is None and found is not None else start
        since, kept = f"in {duration_text(found[2])}" if found else "since it began", Memory(last=start)
    began = None if start is None else round(start, 1)
    note = f"from {amount(began, name)} to {amount(value, name)} {since}"
    return Verdict(severity=severity, value=value, unit=name, note=note), kept


def _six_windows(condition: Grows, current: Severity, time: float, past: Past) -> tuple[Severity, float, bool]:
    """What the six windows say, the length of those that say it, and whether they are too few to call it well."""
    severity, length = CLEARED, 0.0
    undecided: bool | None = None
    for level, seconds in _rising(condition.warning, condition.critical):
        reached = current.rank >= level.rank
        windows = past.windows(seconds)
        growing = trends.grows(windows, at_least=condition.at_least, raised=reached)
        if growing and not reached and condition.sooner is not None and windows is not None:
            points = past.points(floor_spacing(condition.sooner))
            growing = growth.is_beyond(points, windows.lows[-1] or 0.0, before=time - WINDOWS * seconds)
        if growing or (growing is None and reached):  # what cannot be told leaves a level as it was
            severity, length = level, seconds
        if undecided is None:  # the lowest level says whether all is well
            undecided = growing is None
    return severity, length, bool(undecided)


def _sooner(condition: Grows, time: float, past: Past) -> tuple[Severity, growth.Growth, float] | None:
    """Growth that is steady and unusual: how grave, which, and over how long."""
    assert condition.sooner is not None
    points = past.points(floor_spacing(condition.sooner))
    found = None
    for level, span in _rising(condition.sooner.warning, condition.sooner.critical):
        try:
            grown = growth.steady(past.windows(steady_length(span)), at_least=condition.at_least)
        except LookupError:
            continue
        if grown and growth.is_unusual(grown, points, time=time, span=span, against=condition.sooner.against):
            found = (level, grown, span)
    return found


def _is_over(condition: Grows, start: float, value: float, past: Past) -> bool:
    """Whether a growth that was told sooner is back where it began, or has come to rest over the longest windows."""
    if value <= start:
        return True
    longest = max(length for length in (condition.warning, condition.critical) if length is not None)
    return trends.grows(past.windows(longest), at_least=condition.at_least, raised=True) is False


def _rate(condition: RateChanges, reading: Reading, value: float, past: Past) -> Verdict:
    points = past.points(rate_spacing(condition.against))
    compare = rates.compare_counter if reading.metric.endswith("_total") else rates.compare_gauge
    found = compare(points, value, time=reading.time, against=condition.against)
    name = rate_unit(reading.metric)
    if found is None:
        return Verdict(severity=UNDECIDED, value=None, unit=name)
    far = found.difference > 0 and found.difference >= condition.at_least and found.percent >= condition.percent
    return Verdict(
        severity=condition.severity if far else CLEARED,
        value=found.now,
        unit=name,
        note=f"{amount(found.then, name)} {duration_text(condition.against)} ago",
    )


def _forecast(rule: Rule, condition: Reaches, reading: Reading, value: float, current: Severity, past: Past) -> Verdict:
    name = unit(reading.metric)
    points = past.points(line_spacing(condition.over))
    line = points.line(condition.over) if points else None
    if line is None:
        return Verdict(severity=UNDECIDED, value=value, unit=name)
    # "Gets there within" is a level like any other once the line's highest value until then is judged; so the
    # hysteresis is in the metric's unit here as well.
    severity, now = CLEARED, line.at(reading.time)
    for level, ahead in _rising(condition.warning, condition.critical):
        margin = rule.margin(reading.metric) if current.rank >= level.rank else 0.0
        if max(now, line.at(reading.time + ahead)) >= condition.level - margin:
            severity = level
    return Verdict(severity=severity, value=value, unit=name, note=_eta(condition.level, now, line))


def _eta(level: float, now: float, line: Line) -> str:
    if now >= level:
        return "now"
    return f"in {duration_text((level - now) / line.slope)}" if line.slope > 0 else "never at its present pace"


def _change(condition: Changes, reading: Reading, value: float, memory: Memory) -> tuple[Verdict, Memory]:
    name = unit(reading.metric)
    content = json.dumps([value, reading.labels], ensure_ascii=False, separators=(",", ":"))
    clock, again, before, note = memory.clock, False, "", ""
    if memory.seen is None:
        clock = None
    elif memory.seen != content:
        old_value, old_labels = json.loads(memory.seen)
        old, new = content_text(old_labels), content_text(reading.labels)
        again = old != new
        # A counter that is back at 0 was reset with its process: nothing has happened since.
        if again or not (reading.metric.endswith("_total") and value < old_value and value == 0):
            clock = reading.time
            before, after = (old, new) if again else (number_text(old_value), number_text(value))
            note = f"{before} -> {after}"
    severity = CLEARED if clock is None else condition.severity
    verdict = Verdict(severity=severity, value=value, unit=name, before=before, note=note, again=again)
    return verdict, Memory(seen=content, clock=clock)


def content_text(labels: Iterable[tuple[str, str]]) -> str:
    """Labels as people read them."""
    return ", ".join(f"{name}={value}" for name, value in labels)


def _stuck(condition: NotFalling, reading: Reading, value: float, memory: Memory) -> tuple[Verdict, Memory]:
    name = unit(reading.metric)
    if value <= condition.above:
        return Verdict(severity=CLEARED, value=value, unit=name), NOTHING
    since = memory.clock
    if since is None or since > reading.time or memory.last is None or value < memory.last:
        since = reading.time
    severity = CLEARED
    for level, seconds in _rising(condition.warning, condition.critical):
        if reading.time - since >= seconds:
            severity = level
    note = f"for {duration_text(reading.time - since)}"
    return Verdict(severity=severity, value=value, unit=name, note=note), Memory(clock=since, last=value)


def _fall(condition: Falls, reading: Reading, value: float, memory: Memory) -> tuple[Verdict, Memory]:
    name = unit(reading.metric)
    high, before, clock = memory.last, memory.before, memory.clock
    if high is None or before is None or value >= high:
        return Verdict(severity=CLEARED, value=value, unit=name), Memory(last=value, before=value)
    fell = value < before or clock is None
    note = f"{number_text(high)} -> {number_text(value)}"
    return (
        Verdict(
            severity=condition.severity,
            value=value,
            unit=name,
            before=number_text(high),
            note=note,
            again=fell and clock is not None,
        ),
        Memory(clock=reading.time if fell else clock, last=high, before=value),
    )
