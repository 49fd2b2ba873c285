"""Evaluation of one rule's condition on one reading, and `for`. Pure: the time is that of the reading."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hsm_agent.evaluate import trends
from hsm_agent.evaluate.messages import amount, duration_text, level_of, rate_unit
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
from hsm_agent.evaluate.state import NO_MEMORY, NOTHING_PENDING, ConditionMemory, PendingLevels
from hsm_agent.metrics import unit
from hsm_agent.model import Reading, Severity, number_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.evaluate.trends import Line, Points, Windows

CLEARED, WARNING, CRITICAL = Severity.CLEARED, Severity.WARNING, Severity.CRITICAL
UNDECIDED = Severity.INDETERMINATE
"""The severity while a history is too short or incomplete: it neither raises nor clears."""


class Histories(Protocol):
    """The histories of the series that is evaluated."""

    def windows(self, length: float) -> Windows | None: ...

    def points(self, spacing: float) -> Points | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of a condition: the severity, and the number it was found from, with its unit.

    `before` is the content that a change replaced; `note` is what the message adds to the number.
    `again` marks a further change or fall, which is notified although the alarm is raised already.
    """

    severity: Severity
    value: float | None
    unit: str
    before: str = ""
    note: str = ""
    again: bool = False


def evaluate(
    rule: Rule, reading: Reading, current: Severity, memory: ConditionMemory, histories: Histories
) -> tuple[Evaluation, ConditionMemory]:
    """Evaluate a reading that has a value. `current` is the severity the rule has reached so far."""
    value, name = reading.value, unit(reading.metric)
    assert value is not None
    match rule.condition:
        case Above() | Below() as condition:
            severity = _level(rule, condition, reading, value, current)
            return Evaluation(severity=severity, value=value, unit=name, note=reading.note), memory
        case Grows() as condition:
            return _growth(condition, reading, value, current, memory, histories)
        case RateChanges() as condition:
            return _rate(condition, reading, value, histories), memory
        case Reaches() as condition:
            severity, note = _forecast(rule, condition, reading, current, histories)
            return Evaluation(severity=severity, value=value, unit=name, note=note), memory
        case Changes() as condition:
            return _change(condition, reading, value, memory, name)
        case NotFalling() as condition:
            severity, note, memory = _stuck(condition, reading, value, memory)
            return Evaluation(severity=severity, value=value, unit=name, note=note), memory
        case Falls() as condition:  # pragma: no branch - the last kind there is
            return _fall(condition, reading, value, memory, name)


def severity_above(
    value: float, *, warning: float | None, critical: float | None, hysteresis: float, current: Severity
) -> Severity:
    """Severity of a value against rising levels.

    A level is reached at value >= level. One that `current` has reached already is left at value < level - hysteresis.

    >>> severity_above(75, warning=75, critical=90, hysteresis=5, current=Severity.CLEARED)
    <Severity.WARNING: 'warning'>
    >>> severity_above(70, warning=75, critical=90, hysteresis=5, current=Severity.WARNING)
    <Severity.WARNING: 'warning'>
    """
    for severity, level in ((CRITICAL, critical), (WARNING, warning)):
        if level is None:
            continue
        margin = hysteresis if current.rank >= severity.rank else 0.0
        if value >= level - margin:
            return severity
    return CLEARED


def _negative(level: float | None) -> float | None:
    return None if level is None else -level


def severity_below(
    value: float, *, warning: float | None, critical: float | None, hysteresis: float, current: Severity
) -> Severity:
    """Severity of a value against falling levels: reached at value <= level, left at value > level + hysteresis."""
    warning, critical = _negative(warning), _negative(critical)
    return severity_above(-value, warning=warning, critical=critical, hysteresis=hysteresis, current=current)


def apply_for(
    current: Severity, reached: Severity, pending: PendingLevels, *, for_seconds: float, time: float
) -> tuple[Severity, PendingLevels]:
    """The severity after `for`, and the levels that are still pending.

    A rise counts once it has lasted `for_seconds`, each level by its own clock; a fall counts at once.
    """
    if reached.rank <= current.rank or for_seconds <= 0:
        return reached, NOTHING_PENDING
    severity = current
    clocks: dict[Severity, float | None] = {}
    below_critical = WARNING if reached is CRITICAL else reached
    for level, since in ((below_critical, pending.warning), (CRITICAL, pending.critical)):
        clocks[level] = None
        if not current.rank < level.rank <= reached.rank:
            continue
        # A time in the future was written before the wall clock was set back: the level begins again.
        began = time if since is None or since > time else since
        if time - began >= for_seconds:
            severity = level
        else:
            clocks[level] = began
    return severity, PendingLevels(warning=clocks[below_critical], critical=clocks[CRITICAL])


def _level(rule: Rule, condition: Above | Below, reading: Reading, value: float, current: Severity) -> Severity:
    warning = level_of(condition.warning, reading.limit)
    critical = level_of(condition.critical, reading.limit)
    margin = rule.margin(reading.metric)
    if warning is None and critical is None:  # `own`, and the reading has no limit
        return UNDECIDED
    if isinstance(condition, Below):
        return severity_below(value, warning=warning, critical=critical, hysteresis=margin, current=current)
    compared = abs(value) if condition.absolute else value
    return severity_above(compared, warning=warning, critical=critical, hysteresis=margin, current=current)


def _rising(warning: float | None, critical: float | None) -> Iterable[tuple[Severity, float]]:
    """The levels a condition has, the more severe one last."""
    if warning is not None:
        yield WARNING, warning
    if critical is not None:
        yield CRITICAL, critical


def _growth(
    condition: Grows,
    reading: Reading,
    value: float,
    current: Severity,
    memory: ConditionMemory,
    histories: Histories,
) -> tuple[Evaluation, ConditionMemory]:
    name, start = unit(reading.metric), memory.last
    over = start is not None and _is_over(condition, start, value, histories)
    severity, length, undecided = _six_windows(condition, CLEARED if over else current, reading.time, histories)
    found = _sooner(condition, reading.time, histories) if condition.sooner else None
    if start is not None and not over and current.rank > severity.rank:
        # Raised by `sooner`, and neither back where it began nor at rest: the six windows cannot clear it.
        severity, length = current, 0.0
    if found is not None and found[0].rank > severity.rank:
        severity, length = found[0], 0.0
    if severity is CLEARED:
        decided = UNDECIDED if undecided and not over else CLEARED
        return Evaluation(severity=decided, value=value, unit=name), NO_MEMORY
    # A `length` of 0 stands for growth found by `sooner`, whose start is remembered until it is over.
    if length:
        windows = histories.windows(length)
        start = windows.lows[-WINDOWS:][0] if windows and windows.lows else None
        since, kept = f"in {duration_text(length * WINDOWS)}", NO_MEMORY
    else:
        start = found[1].start if start is None and found is not None else start
        since, kept = f"in {duration_text(found[2])}" if found else "since it began", ConditionMemory(last=start)
    began = None if start is None else round(start, 1)
    note = f"from {amount(began, name)} to {amount(value, name)} {since}"
    return Evaluation(severity=severity, value=value, unit=name, note=note), kept


def _six_windows(
    condition: Grows, current: Severity, time: float, histories: Histories
) -> tuple[Severity, float, bool]:
    """The severity by six windows, the length of these windows, and whether they are too few to clear."""
    severity, length = CLEARED, 0.0
    undecided: bool | None = None
    for level, seconds in _rising(condition.warning, condition.critical):
        reached = current.rank >= level.rank
        windows = histories.windows(seconds)
        growing = trends.grows(windows, at_least=condition.at_least, raised=reached)
        # With `sooner`, half a day of rising is compared with earlier days, too: a working day rises as long.
        if growing and not reached and condition.sooner is not None and windows is not None:
            points = histories.points(floor_spacing(condition.sooner))
            growing = trends.is_beyond(points, windows.lows[-1] or 0.0, before=time - WINDOWS * seconds)
        if growing or (growing is None and reached):  # a history with a gap leaves a reached level as it was
            severity, length = level, seconds
        if undecided is None:  # the lowest level decides whether the rule may clear
            undecided = growing is None
    return severity, length, bool(undecided)


def _sooner(condition: Grows, time: float, histories: Histories) -> tuple[Severity, trends.SteadyGrowth, float] | None:
    """Growth that is steady and unusual: its severity, the growth, and the seconds it took."""
    assert condition.sooner is not None
    points = histories.points(floor_spacing(condition.sooner))
    found = None
    for level, span in _rising(condition.sooner.warning, condition.sooner.critical):
        try:
            grown = trends.steady(histories.windows(steady_length(span)), at_least=condition.at_least)
        except LookupError:
            continue
        if grown and trends.is_unusual(grown, points, time=time, span=span, against=condition.sooner.against):
            found = (level, grown, span)
    return found


def _is_over(condition: Grows, start: float, value: float, histories: Histories) -> bool:
    """Whether growth found by `sooner` is back where it began, or has come to rest over the longest windows."""
    if value <= start:
        return True
    longest = max(length for length in (condition.warning, condition.critical) if length is not None)
    return trends.grows(histories.windows(longest), at_least=condition.at_least, raised=True) is False


def _rate(condition: RateChanges, reading: Reading, value: float, histories: Histories) -> Evaluation:
    points = histories.points(rate_spacing(condition.against))
    compare = trends.compare_counter if reading.metric.endswith("_total") else trends.compare_gauge
    found = compare(points, value, time=reading.time, against=condition.against)
    name = rate_unit(reading.metric)
    if found is None:
        return Evaluation(severity=UNDECIDED, value=None, unit=name)
    far = found.difference > 0 and found.difference >= condition.at_least and found.percent >= condition.percent
    return Evaluation(
        severity=condition.severity if far else CLEARED,
        value=found.now,
        unit=name,
        note=f"{amount(found.then, name)} {duration_text(condition.against)} ago",
    )


def _forecast(
    rule: Rule, condition: Reaches, reading: Reading, current: Severity, histories: Histories
) -> tuple[Severity, str]:
    points = histories.points(line_spacing(condition.over))
    line = points.line(condition.over) if points else None
    if line is None:
        return UNDECIDED, ""
    # "Reaches it within" is a level like any other when the line's highest value until then is compared. Therefore the
    # hysteresis is in the metric's unit here, too.
    severity, now = CLEARED, line.at(reading.time)
    for level, ahead in _rising(condition.warning, condition.critical):
        margin = rule.margin(reading.metric) if current.rank >= level.rank else 0.0
        if max(now, line.at(reading.time + ahead)) >= condition.level - margin:
            severity = level
    return severity, _eta(condition.level, now, line)


def _eta(level: float, now: float, line: Line) -> str:
    if now >= level:
        return "now"
    return f"in {duration_text((level - now) / line.slope)}" if line.slope > 0 else "never at its present pace"


def _change(
    condition: Changes, reading: Reading, value: float, memory: ConditionMemory, name: str
) -> tuple[Evaluation, ConditionMemory]:
    content = json.dumps([value, reading.labels], ensure_ascii=False, separators=(",", ":"))
    clock, again, before, note = memory.clock, False, "", ""
    if memory.seen is None:
        clock = None
    elif memory.seen != content:
        old_value, old_labels = json.loads(memory.seen)
        old, new = _labels_text(old_labels), _labels_text(reading.labels)
        again = old != new  # other labels (a firmware version) are notified again, a counter's next step is not
        # A counter that is back at 0 was reset with its process: nothing has happened since.
        if again or not (reading.metric.endswith("_total") and value < old_value and value == 0):
            clock = reading.time
            before, after = (old, new) if again else (number_text(old_value), number_text(value))
            note = f"{before} -> {after}" + (f": {reading.note}" if reading.note else "")
    severity = CLEARED if clock is None else condition.severity
    evaluation = Evaluation(severity=severity, value=value, unit=name, before=before, note=note, again=again)
    return evaluation, ConditionMemory(seen=content, clock=clock)


def _labels_text(labels: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels)


def _stuck(
    condition: NotFalling, reading: Reading, value: float, memory: ConditionMemory
) -> tuple[Severity, str, ConditionMemory]:
    if value <= condition.above:
        return CLEARED, "", NO_MEMORY
    since = memory.clock
    # A time in the future was written before the wall clock was set back.
    if since is None or since > reading.time or memory.last is None or value < memory.last:
        since = reading.time
    severity = CLEARED
    for level, seconds in _rising(condition.warning, condition.critical):
        if reading.time - since >= seconds:
            severity = level
    return severity, f"for {duration_text(reading.time - since)}", ConditionMemory(clock=since, last=value)


def _fall(
    condition: Falls, reading: Reading, value: float, memory: ConditionMemory, name: str
) -> tuple[Evaluation, ConditionMemory]:
    high, before, clock = memory.last, memory.before, memory.clock
    # A memory without `before` was written by another condition of an older configuration.
    if high is None or before is None or value >= high:
        return Evaluation(severity=CLEARED, value=value, unit=name), ConditionMemory(last=value, before=value)
    fell = value < before or clock is None
    evaluation = Evaluation(
        severity=condition.severity,
        value=value,
        unit=name,
        before=number_text(high),
        note=f"{number_text(high)} -> {number_text(value)}",
        again=fell and clock is not None,
    )
    return evaluation, ConditionMemory(clock=reading.time if fell else clock, last=high, before=value)
