"""One step of judging: new readings and the passing of time in, events and what is to be remembered out.

`step` is a function of its arguments alone. Readings that belong together (a poll, with the source's own readings)
go into one step: what inhibits is then known before what it inhibits is told.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import isnan
from typing import TYPE_CHECKING

from hsm_agent.evaluate import clocks, trends
from hsm_agent.evaluate.alarms import Context, Touch, notice, tell_all
from hsm_agent.evaluate.levels import settle
from hsm_agent.evaluate.precedence import gives_way, told_elsewhere
from hsm_agent.evaluate.rules import PRESENCE, Changes, Falls, Plan, Rule
from hsm_agent.evaluate.state import Book, Draft, Outcome, WatchKey
from hsm_agent.evaluate.verdicts import UNDECIDED, assess
from hsm_agent.evaluate.watches import PRESENT, UNKNOWN_AFTER, Presence, Track, Watch
from hsm_agent.model import Reading, Series, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.evaluate.trends import Points, Windows

UNREAD = "not read since the agent started"
Touched = dict[WatchKey, Touch]
CLEARED, WARNING, CRITICAL = Severity.CLEARED, Severity.WARNING, Severity.CRITICAL


def step(book: Book, readings: Iterable[Reading], context: Context) -> Outcome:
    """Judge readings, and let time pass. Without readings it is a tick."""
    draft = Draft(book)
    touched: Touched = {}
    readings = tuple(readings)
    clocks.mend(draft, context)
    for reading in readings:
        _note_presence(draft, reading, context)
    for reading in readings:
        plan = context.rules.plan(reading.series, reading.labels)
        if plan.rules:
            draft.heard[reading.series] = None
            if _has_value(reading):
                _take(draft, reading, plan, context, touched)
            else:
                _miss(draft, reading, context)
    _pass_time(draft, context, touched)
    _expire_silences(draft, context)
    tell_all(draft, touched, context)
    return draft.outcome()


def _has_value(reading: Reading) -> bool:
    """Infinity is a value ("never"), NaN is none."""
    return reading.value is not None and not isnan(reading.value)


def _note_presence(draft: Draft, reading: Reading, context: Context) -> None:
    key = (reading.source, reading.resource, reading.metric)
    if reading.metric in context.rules.deferred_to:
        draft.latest.put(key, reading if _has_value(reading) else None)
    if reading.metric != PRESENCE:
        return
    if _has_value(reading):
        draft.presences.put(key, Presence(zero=reading.value == 0))


class _Past:
    """The histories of one series, as far as the step has got."""

    def __init__(self, draft: Draft, series: Series) -> None:
        self._draft = draft
        self._series = series

    def windows(self, length: float) -> Windows | None:
        return self._draft.windows.get((self._series, length))

    def points(self, spacing: float) -> Points | None:
        return self._draft.points.get((self._series, spacing))


def _remember(draft: Draft, reading: Reading, value: float, plan: Plan) -> None:
    series = reading.series
    draft.tracks.put(series, PRESENT)
    for length, count in plan.windows:
        windows = trends.observe(
            draft.windows.get((series, length)), value, time=reading.time, length=length, keep=count
        )
        draft.windows.put((series, length), windows)
    for spacing, keep in plan.points:
        _add_point(draft, series, value, reading.time, (spacing, keep, plan.phase))
    for spacing, keep, length in plan.floors:
        found = trends.newest_low(draft.windows.get((series, length)), length)
        if found is not None:
            low, ended = found
            _add_point(draft, series, low, ended, (spacing, keep, plan.phase))


def _add_point(draft: Draft, series: Series, value: float, time: float, kept: tuple[float, float, float]) -> None:
    spacing, keep, phase = kept
    before = draft.points.get((series, spacing))
    points = (before or trends.Points()).add(value, time=time, spacing=spacing, keep=keep, phase=phase)
    if points is not before:
        draft.put_points((series, spacing), points, phase)


def _take(draft: Draft, reading: Reading, plan: Plan, context: Context, touched: Touched) -> None:
    """A reading with a value: into the histories, then before each of its rules."""
    assert reading.value is not None
    _remember(draft, reading, reading.value, plan)
    for rule in plan.rules:
        speaker = None
        watch = draft.watch((rule.name, reading.series))
        if watch.level is CLEARED:
            speaker = gives_way(draft, rule, reading, context, partial(_Past, draft))
        if speaker is None:
            _judge(draft, rule, reading, context, touched)
        else:
            _rest(draft, rule, reading.series, Watch(alarm=watch.alarm), f"{speaker.name} speaks for it now", touched)


def _judge(draft: Draft, rule: Rule, reading: Reading, context: Context, touched: Touched) -> None:
    series = reading.series
    key = (rule.name, series)
    watch = draft.watch(key)
    verdict, memory = assess(rule, reading, watch.level, watch.memory, _Past(draft, series))
    judged = verdict.severity
    if judged is UNDECIDED:
        level, waiting = watch.level, watch.waiting
    else:
        judged = _escalated(rule, judged, reading, context)
        level, waiting = settle(watch.level, judged, watch.waiting, hold=rule.hold, time=reading.time)
    other = told_elsewhere(draft, rule.name, series, level, context) if level is not CLEARED else ""
    if other:
        if isinstance(rule.condition, Changes | Falls):  # told of there; from here on it is as it is
            memory = replace(memory, clock=None, last=memory.before)
        _rest(draft, rule, series, Watch(memory=memory, alarm=watch.alarm), f"{other} tells of it now", touched)
        return
    now = Watch(level=level, waiting=waiting, memory=memory, alarm=watch.alarm)
    draft.put_watch(key, now)
    if level is not CLEARED or now.alarm is not None:
        touched[key] = Touch(rule=rule, reading=reading, verdict=verdict)


def _rest(draft: Draft, rule: Rule, series: Series, resting: Watch, why: str, touched: Touched) -> None:
    """Say nothing of what another one tells of; an alarm of one's own ends."""
    draft.put_watch((rule.name, series), resting)
    if resting.alarm is not None:
        touched[rule.name, series] = Touch(rule=rule, why=why)


def _escalated(rule: Rule, judged: Severity, reading: Reading, context: Context) -> Severity:
    if judged is not WARNING or rule.escalate is None:
        return judged
    labels = context.rules.labels_of(reading.source, reading.labels)
    return CRITICAL if rule.escalate.covers(reading.source, reading.resource, labels) else judged


def _miss(draft: Draft, reading: Reading, context: Context) -> None:
    """A reading without a value counts once there was one."""
    series = reading.series
    track = draft.tracks.get(series)
    if track is None:
        return
    # That it was not read yet after a restart said nothing of the reading: its ten minutes begin here.
    known = track.missing and track.reason != UNREAD
    since = track.since if known else context.now if context.is_up(series) else None
    draft.tracks.put(series, Track(missing=True, since=since, reason=reading.reason))


def _pass_time(draft: Draft, context: Context, touched: Touched) -> None:
    for series in draft.book.unheard:
        # An alarm that survived a restart, of an object that nothing reads any more.
        if series not in draft.heard and context.is_up(series):
            draft.heard[series] = None
            if series not in draft.book.missing:
                draft.tracks.put(series, Track(missing=True, since=context.now, reason=UNREAD))
    for series in {**draft.book.missing, **dict.fromkeys(draft.tracks.changed)}:
        track = draft.tracks.get(series)
        if track is not None and track.missing:
            _wait_for_value(draft, series, track, context, touched)
    for key in sorted(draft.book.alarmed):  # the same order after a restart
        _lapse(draft, key, context, touched)


def _wait_for_value(draft: Draft, series: Series, track: Track, context: Context, touched: Touched) -> None:
    """Ten minutes without a value, its source being up, make the rules of a series unknown."""
    if not context.is_up(series):
        draft.tracks.put(series, replace(track, since=None))
        return
    if track.since is None or track.since > context.now:
        draft.tracks.put(series, replace(track, since=context.now))
        return
    if context.now - track.since < UNKNOWN_AFTER:
        return
    for rule in context.rules.plan_of(series).rules:
        key = (rule.name, series)
        watch = draft.watch(key)
        if not watch.unknown:
            draft.put_watch(key, Watch(level=watch.level, unknown=True, memory=watch.memory, alarm=watch.alarm))
            touched[key] = Touch(rule=rule, why=track.reason)


def _lapse(draft: Draft, key: WatchKey, context: Context, touched: Touched) -> None:
    """What cannot clear by itself clears when its time has come."""
    name, series = key
    rule, watch = context.rules.named(name), draft.watch(key)
    if rule is None or rule.clear_after is None or not context.is_up(series):
        return
    if not isinstance(rule.condition, Changes | Falls):
        return
    changed = watch.memory.clock
    if watch.level is CLEARED or changed is None or context.now - changed < rule.clear_after:
        return
    # What has fallen is measured anew from where it is; a change has neither of both.
    memory = replace(watch.memory, clock=None, last=watch.memory.before)
    draft.put_watch(key, replace(watch, level=CLEARED, memory=memory))
    touched[key] = Touch(rule=rule, why="no further change")


def _expire_silences(draft: Draft, context: Context) -> None:
    """End the silences whose time has come, aloud."""
    for silence in draft.silences.values():
        if silence.until <= context.now:
            draft.silences.put(silence.silence_id, None)
            draft.events.append(notice(f"Silence ended: {silence.scope} ({silence.reason})", context))
