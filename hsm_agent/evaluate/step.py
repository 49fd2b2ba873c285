"""One step of evaluation: new readings and the passing of time in, events and changed state out.

`step` is a function of its arguments alone. Readings that belong together (a poll, with the source's own readings)
go into one step, so that inhibiting rules are known before the rules they inhibit are notified.
"""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.evaluate import trends
from hsm_agent.evaluate.alarms import Context, Trigger, notice, notify_all
from hsm_agent.evaluate.conditions import UNDECIDED, apply_for, evaluate
from hsm_agent.evaluate.messages import until_text
from hsm_agent.evaluate.rules import PRESENCE, Changes, Falls, Rule, SeriesPlan
from hsm_agent.evaluate.state import (
    HAS_VALUE,
    AlarmState,
    ConditionMemory,
    ObjectState,
    RuleKey,
    RuleState,
    SeriesState,
)
from hsm_agent.evaluate.transaction import StepResult, Transaction
from hsm_agent.model import Reading, Series, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.evaluate.trends import Points, Windows

CLEARED, WARNING, CRITICAL = Severity.CLEARED, Severity.WARNING, Severity.CRITICAL
UNKNOWN_AFTER_SECONDS = 600.0
"""A series that had a value and has had none for so long, while its source is up, makes its rules unknown."""
AGREEMENT_PERCENT = 5.0
"""How far the reading of the rule that takes precedence may be below the rule's own, for both to show one fault."""
WORTH_A_NOTICE_SECONDS = 60.0
"""A silence that is corrected by so much, because the clock was set back, is worth an event."""
UNREAD = "not read since the agent started"

Triggers = dict[RuleKey, Trigger]


def step(state: AlarmState, readings: Iterable[Reading], context: Context) -> StepResult:
    """Evaluate readings, and let time pass. Without readings it is a tick."""
    transaction = Transaction(state)
    triggers: Triggers = {}
    readings = tuple(readings)
    _correct_future_times(transaction, context)
    # Before any rule is evaluated: presence, and the readings that take precedence.
    for reading in readings:
        key = (reading.source, reading.resource, reading.metric)
        if reading.metric in context.rules.deferred_to:
            transaction.latest.put(key, reading if _has_value(reading) else None)
        if reading.metric == PRESENCE and _has_value(reading):
            transaction.object_states.put(key, ObjectState(zero=reading.value == 0))
    for reading in readings:
        series = reading.series
        plan = context.rules.plan(series, reading.labels)
        if plan.rules:
            transaction.read[series] = None
            if _has_value(reading):
                _take_value(transaction, reading, plan, context, triggers)
            else:
                _take_missing(transaction, reading, context)
    _pass_time(transaction, context, triggers)
    notify_all(transaction, triggers, context)
    return transaction.result()


def _has_value(reading: Reading) -> bool:
    """Infinity is a value ("never"), NaN is none."""
    return reading.value is not None and not isnan(reading.value)


class _SeriesHistories(NamedTuple):
    """The histories of one series, this step's values included."""

    transaction: Transaction
    series: Series

    def windows(self, length: float) -> Windows | None:
        return self.transaction.windows.get((self.series, length))

    def points(self, spacing: float) -> Points | None:
        return self.transaction.points.get((self.series, spacing))


def _add_to_histories(transaction: Transaction, reading: Reading, value: float, plan: SeriesPlan) -> None:
    series = reading.series
    transaction.series_states.put(series, HAS_VALUE)
    for length, count in plan.windows.items():
        windows = trends.observe(
            transaction.windows.get((series, length)), value, time=reading.time, length=length, keep=count
        )
        transaction.windows.put((series, length), windows)
    for spacing, keep in plan.points.items():
        _add_point(transaction, series, value, reading.time, (spacing, keep, plan.phase))
    for spacing, (keep, length) in plan.floors.items():
        found = trends.newest_low(transaction.windows.get((series, length)), length)
        if found is not None:
            low, ended = found
            _add_point(transaction, series, low, ended, (spacing, keep, plan.phase))


def _add_point(
    transaction: Transaction, series: Series, value: float, time: float, kept: tuple[float, float, float]
) -> None:
    spacing, keep, phase = kept
    before = transaction.points.get((series, spacing))
    points = (before or trends.Points()).add(value, time=time, spacing=spacing, keep=keep, phase=phase)
    if points is not before:
        transaction.put_points((series, spacing), points, phase)


def _take_value(
    transaction: Transaction, reading: Reading, plan: SeriesPlan, context: Context, triggers: Triggers
) -> None:
    """A reading with a value: added to the histories, then evaluated by each of its rules."""
    assert reading.value is not None
    series = reading.series
    _add_to_histories(transaction, reading, reading.value, plan)
    for rule in plan.rules:
        other = _gives_way(transaction, rule, reading, context) if rule.gives_way is not None else None
        if other is None:
            _evaluate(transaction, rule, reading, context, triggers)
        else:
            idle = RuleState(alarm=transaction.rule_state((rule.name, series)).alarm)
            _rest(transaction, rule, series, idle, f"{other.name} speaks for it now", triggers)


def _gives_way(transaction: Transaction, rule: Rule, reading: Reading, context: Context) -> Rule | None:
    """The rule that takes precedence because both would raise an alarm about one fault, None if there is none.

    It must evaluate the same object now, and read at least as full. A raised rule is evaluated until it clears, so that
    two readings that diverge and meet again do not cause one alarm after the other.
    """
    precedence = rule.gives_way
    if precedence is None or precedence.metric != reading.metric or reading.value is None:
        return None
    if transaction.rule_state((rule.name, reading.series)).level is not CLEARED:
        return None
    other = transaction.latest.get((reading.source, reading.resource, precedence.to))
    if other is None or other.value is None or abs(context.now - other.time) > UNKNOWN_AFTER_SECONDS:
        return None
    if other.value < reading.value - AGREEMENT_PERCENT:
        return None
    plan = context.rules.plan(other.series, other.labels)
    candidate = next((each for each in plan.rules if each.name == precedence.rule), None)
    if candidate is None:
        return None
    state = transaction.rule_state((candidate.name, other.series))
    evaluation, _ = evaluate(candidate, other, state.level, state.memory, _SeriesHistories(transaction, other.series))
    return None if evaluation.severity is UNDECIDED else candidate


def _evaluate(transaction: Transaction, rule: Rule, reading: Reading, context: Context, triggers: Triggers) -> None:
    series = reading.series
    key = (rule.name, series)
    state = transaction.rule_state(key)
    evaluation, memory = evaluate(rule, reading, state.level, state.memory, _SeriesHistories(transaction, series))
    level, pending = state.level, state.pending
    if evaluation.severity is not UNDECIDED:
        reached = evaluation.severity
        if reached is WARNING and rule.escalate is not None:
            labels = context.rules.labels_of(reading.source, reading.labels)
            reached = CRITICAL if rule.escalate.covers(reading.source, reading.resource, labels) else WARNING
        level, pending = apply_for(level, reached, pending, for_seconds=rule.for_seconds, time=reading.time)
    shared = level is not CLEARED and series[1] in context.sharing
    other = _source_that_notified(transaction, rule.name, series, level, context) if shared else ""
    if other:
        if isinstance(rule.condition, Changes | Falls):
            memory = _from_now_on(memory)
        _rest(
            transaction, rule, series, RuleState(memory=memory, alarm=state.alarm), f"{other} tells of it now", triggers
        )
        return
    transaction.put_rule_state(key, RuleState(level=level, pending=pending, memory=memory, alarm=state.alarm))
    if level is not CLEARED or state.alarm is not None:
        triggers[key] = Trigger(rule=rule, reading=reading, evaluation=evaluation)


def _source_that_notified(
    transaction: Transaction, name: str, series: Series, level: Severity, context: Context
) -> str:
    """The other source whose alarm on the same HSM was notified, at least as severe; empty if there is none.

    The source that notified first goes on. One that is down, or whose alarm is held back, does not count.
    """
    source, resource, metric, labels = series
    for other in sorted(context.sharing[resource]):
        other_series = (other, resource, metric, labels)
        if other == source or not context.is_up(other_series):
            continue
        state = transaction.rule_state((name, other_series))
        if state.alarm is not None and not state.unknown and state.alarm.notified_severity.rank >= level.rank:
            return other
    return ""


def _from_now_on(memory: ConditionMemory) -> ConditionMemory:
    """The memory of `Changes` or `Falls` that measures anew: from now on, and from the last value."""
    return replace(memory, clock=None, last=memory.before)


def _rest(transaction: Transaction, rule: Rule, series: Series, state: RuleState, why: str, triggers: Triggers) -> None:
    """Set a rule to rest because another alarm covers the fault; its own alarm ends."""
    transaction.put_rule_state((rule.name, series), state)
    if state.alarm is not None:
        triggers[rule.name, series] = Trigger(rule=rule, why=why)


def _take_missing(transaction: Transaction, reading: Reading, context: Context) -> None:
    """A reading without a value counts only once there was one."""
    series = reading.series
    state = transaction.series_states.get(series)
    if state is None:
        return
    # UNREAD says that the series was not polled yet after a restart. The ten minutes begin at the first poll.
    known = state.missing and state.reason != UNREAD
    since = state.since if known else context.now if context.is_up(series) else None
    transaction.series_states.put(series, SeriesState(missing=True, since=since, reason=reading.reason))


def _pass_time(transaction: Transaction, context: Context, triggers: Triggers) -> None:
    base = transaction.base
    for series in base.unread:
        # An alarm that survived a restart, on an object that no source reads any more.
        if series not in transaction.read and context.is_up(series):
            transaction.read[series] = None
            if series not in base.missing:
                transaction.series_states.put(series, SeriesState(missing=True, since=context.now, reason=UNREAD))
    for series in {**base.missing, **dict.fromkeys(transaction.series_states.changed)}:
        state = transaction.series_states.get(series)
        if state is not None and state.missing:
            _wait_for_value(transaction, series, state, context, triggers)
    for key in sorted(base.alarmed):  # sorted, so that the order is the same after a restart
        _clear_after(transaction, key, context, triggers)
    for silence in transaction.silences.values():
        if silence.until <= context.now:
            transaction.silences.put(silence.silence_id, None)
            transaction.events.append(notice(f"Silence ended: {silence.scope} ({silence.reason})", context))


def _wait_for_value(
    transaction: Transaction, series: Series, state: SeriesState, context: Context, triggers: Triggers
) -> None:
    """Make the rules of a series unknown after ten minutes without a value; only time with its source up counts."""
    if not context.is_up(series):
        transaction.series_states.put(series, replace(state, since=None))
        return
    if state.since is None or state.since > context.now:
        transaction.series_states.put(series, replace(state, since=context.now))
        return
    if context.now - state.since < UNKNOWN_AFTER_SECONDS:
        return
    for rule in context.rules.plan_of(series).rules:
        key = (rule.name, series)
        rule_state = transaction.rule_state(key)
        if not rule_state.unknown:
            unknown = RuleState(level=rule_state.level, unknown=True, memory=rule_state.memory, alarm=rule_state.alarm)
            transaction.put_rule_state(key, unknown)
            triggers[key] = Trigger(rule=rule, why=state.reason)


def _clear_after(transaction: Transaction, key: RuleKey, context: Context, triggers: Triggers) -> None:
    """Clear `changes` and `falls` alarms after `clear_after`."""
    name, series = key
    rule, state = context.rules.named(name), transaction.rule_state(key)
    if rule is None or rule.clear_after_seconds is None or not context.is_up(series):
        return
    if not isinstance(rule.condition, Changes | Falls):
        return
    changed = state.memory.clock
    if state.level is CLEARED or changed is None or context.now - changed < rule.clear_after_seconds:
        return
    transaction.put_rule_state(key, replace(state, level=CLEARED, memory=_from_now_on(state.memory)))
    triggers[key] = Trigger(rule=rule, why="no further change")


def _correct_future_times(transaction: Transaction, context: Context) -> None:
    """Bring times that lie in the future, since the wall clock was set back, to the present.

    What counts from such a time would wait until it comes: a silence of two hours, set while the clock was a year
    ahead, would last a year. Pending levels, windows, points and missing series handle such times themselves.
    """
    now = context.now
    for key in transaction.base.alarmed:
        state = transaction.rule_state(key)
        alarm, memory = state.alarm, state.memory
        if alarm is not None and max(alarm.since, alarm.notified_at) > now:
            alarm = replace(alarm, since=min(alarm.since, now), notified_at=min(alarm.notified_at, now))
        if memory.clock is not None and memory.clock > now:
            memory = replace(memory, clock=now)
        transaction.put_rule_state(key, replace(state, alarm=alarm, memory=memory))
    for silence in transaction.silences.values():
        ahead = silence.created - now
        if ahead <= 0:
            continue
        corrected = replace(silence, created=now, until=silence.until - ahead)
        transaction.silences.put(silence.silence_id, corrected)
        if ahead >= WORTH_A_NOTICE_SECONDS:
            until = until_text(corrected.until)
            text = f"Silence lasts {until}, the clock was set back: {corrected.scope} ({corrected.reason})"
            transaction.events.append(notice(text, context))
