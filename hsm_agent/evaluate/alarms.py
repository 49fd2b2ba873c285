"""Alarms: which events follow from the state of the rules and from what was notified before.

Every transition of an alarm is made here, and nowhere else: raised, changed, cleared, repeated, held back. So are the
changes that operators and a new configuration make: silence, end a silence, forget, withdraw.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hsm_agent.evaluate.messages import (
    DEFAULT_TEMPLATE,
    amount,
    cleared_text,
    limit_of,
    render,
    unknown_text,
    until_text,
    where,
)
from hsm_agent.evaluate.rules import PRESENCE, Rule, Ruleset
from hsm_agent.evaluate.state import IDLE, Alarm, AlarmState, RuleState, with_alarm
from hsm_agent.evaluate.transaction import Transaction
from hsm_agent.metrics import METRICS, THRESHOLD, unit
from hsm_agent.model import AGENT_SOURCE, Event, EventKind, Reading, Series, Severity, number_text
from hsm_agent.text import glob_matches, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from hsm_agent.evaluate.conditions import Evaluation
    from hsm_agent.evaluate.state import RuleKey, Silence
    from hsm_agent.evaluate.transaction import StepResult

CLEARED = Severity.CLEARED
WITHDRAWN = "withdrawn, no longer in the configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a step is given besides readings and state: the rules in force, the time (UTC seconds), the agent's name.

    `up` are the sources that are up or degraded. `new_id` makes a unique identifier. `sharing` are the sources that
    read an HSM, by its name; `gone` are HSMs, by source, all of whose partitions are gone.
    """

    rules: Ruleset
    now: float
    new_id: Callable[[], str]
    agent: str
    up: Collection[str] = ()
    sharing: Mapping[str, Collection[str]] = field(default_factory=dict)
    gone: Collection[tuple[str, str]] = ()

    def is_up(self, series: Series) -> bool:
        """Whether the source of a series is up; the agent itself, and its readings about a source, always are."""
        return series[0] in self.up or series[0] == AGENT_SOURCE or series[2].startswith("source_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Why a rule is looked at in this step: a reading and its evaluation, or the reason `why` there is no value."""

    rule: Rule
    reading: Reading | None = None
    evaluation: Evaluation | None = None
    why: str = ""

    @property
    def is_further(self) -> bool:
        """Whether it is a further change or fall, which is notified although the alarm is raised already."""
        return self.evaluation is not None and self.evaluation.again


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A rule on a series, its state before notification, and what triggered it (None: only time has passed)."""

    key: RuleKey
    rule: Rule
    state: RuleState
    trigger: Trigger | None


def notify_all(transaction: Transaction, triggers: dict[RuleKey, Trigger], context: Context) -> None:
    """Emit the events of all triggered rules, and of every alarm that time may have released."""
    # Rules, and the sources for which they are raised now, whether notified or not.
    keys = [*triggers, *transaction.base.alarmed]
    inhibiting = {
        (rule, series[0]) for rule, series in keys if transaction.rule_state((rule, series)).level is not CLEARED
    }
    for key, trigger in triggers.items():
        _notify(transaction, key, trigger.rule, trigger, context, inhibiting)
    for key, _, _ in with_alarm(transaction.base):
        rule = context.rules.named(key[0])
        if rule is not None and key not in triggers and transaction.rule_state(key).alarm is not None:
            _notify(transaction, key, rule, None, context, inhibiting)


def _notify(
    transaction: Transaction,
    key: RuleKey,
    rule: Rule,
    trigger: Trigger | None,
    context: Context,
    inhibiting: set[tuple[str, str]],
) -> None:
    subject = _Subject(key=key, rule=rule, state=transaction.rule_state(key), trigger=trigger)
    state, alarm = subject.state, subject.state.alarm
    if state.severity is CLEARED:
        close(transaction, key, trigger, context)
        return
    due = _due_event(subject, context)
    if due is not None and not _is_held(transaction, subject, context, inhibiting):
        event = _compose(due, subject, context, context.new_id())
        alarm_id, since = (alarm.alarm_id, alarm.since) if alarm else (context.new_id(), context.now)
        event = replace(event, alarm_id=alarm_id)
        transaction.events.append(event)
        alarm = Alarm(
            alarm_id=alarm_id, since=since, event=event, notified_severity=state.severity, notified_at=context.now
        )
    elif alarm is None:
        event = _compose(EventKind.RAISED, subject, context, context.new_id())
        event = replace(event, alarm_id=context.new_id())
        alarm = Alarm(alarm_id=event.alarm_id, since=context.now, event=event)
    elif due is not None and trigger is not None:
        alarm = _update_held(alarm, due, subject, trigger, context)
    transaction.put_rule_state(key, replace(state, alarm=alarm))


def _is_held(transaction: Transaction, subject: _Subject, context: Context, inhibiting: set[tuple[str, str]]) -> bool:
    """Whether an event is held back: by an inhibition, a silence, a source that is down, or an object that is gone."""
    name, series = subject.key
    source, resource, metric, _ = series
    if any((other, source) in inhibiting for other in subject.rule.inhibited_by):
        return True
    if any(silence.covers(name, source, resource) for silence in transaction.silences.values()):
        return True
    # A source that is down raises nothing. A reading with a value proves that it is not down.
    if (subject.trigger is None or subject.trigger.evaluation is None) and not context.is_up(series):
        return True
    # A token that was removed leaves all rules on it without a value. Only `token-missing` is notified then.
    alarm = subject.state.alarm
    not_notified = alarm is None or alarm.notified_severity is CLEARED
    object_state = transaction.object_states.get((source, resource, PRESENCE))
    gone = (object_state is not None and object_state.zero) or (source, resource) in context.gone
    return subject.state.unknown and not_notified and metric != PRESENCE and gone


def _due_event(subject: _Subject, context: Context) -> EventKind | None:
    """The event that has to be sent, None where the last notification still says it all."""
    alarm = subject.state.alarm
    if alarm is None or alarm.notified_severity is CLEARED:
        return EventKind.RAISED
    if alarm.notified_severity is not subject.state.severity:
        return EventKind.CHANGED
    if alarm.notification_pending or (subject.trigger is not None and subject.trigger.is_further):
        return EventKind.RAISED
    repeat_seconds = subject.rule.repeat_seconds
    repeats = repeat_seconds is not None and context.now - alarm.notified_at >= repeat_seconds
    return EventKind.RAISED if repeats and context.is_up(subject.key[1]) else None


def _update_held(alarm: Alarm, due: EventKind, subject: _Subject, trigger: Trigger, context: Context) -> Alarm:
    """Update a held-back alarm: status shows the current state; the latest state is sent when it is released."""
    severity = subject.state.severity
    if alarm.notified_severity is severity and not trigger.is_further:  # a repetition that is held adds nothing
        return alarm
    # The identifier and time stay as long as the event says the same: sinks and status must not see a new event.
    same = alarm.event.severity is severity and not trigger.is_further
    event = _compose(due, subject, context, alarm.event.event_id if same else context.new_id())
    event = replace(event, alarm_id=alarm.alarm_id, time=alarm.event.time if same else context.now)
    pending = alarm.notification_pending or (trigger.is_further and alarm.notified_severity is not CLEARED)
    return replace(alarm, event=event, notification_pending=pending)


def _compose(kind: EventKind, subject: _Subject, context: Context, event_id: str) -> Event:
    """The event of a transition; without a trigger it repeats the content of the alarm's last event."""
    rule, state, trigger = subject.rule, subject.state, subject.trigger
    before = state.alarm.event if state.alarm else None
    if trigger is None:
        assert before is not None
        return replace(before, event_id=event_id, kind=kind, severity=state.severity, time=context.now)
    name, series = subject.key
    source, resource, metric, labels = series
    event = Event(
        event_id=event_id,
        kind=kind,
        severity=state.severity,
        time=context.now,
        text=unknown_text(name, series, trigger.why) if state.unknown else "",
        agent=context.agent,
        source=source,
        resource=resource,
        metric=metric,
        unit=unit(metric),
        threshold=before.threshold if before else "",
        rule=name,
        runbook=rule.runbook,
        cause=METRICS[metric].cause if metric in METRICS else THRESHOLD,
        labels=context.rules.labels_of(source, trigger.reading.labels if trigger.reading else labels),
    )
    return event if state.unknown else _with_value(event, series, trigger)


def _with_value(event: Event, series: Series, trigger: Trigger) -> Event:
    """The event with its value, its threshold and the rule's text."""
    evaluation, reading = trigger.evaluation, trigger.reading
    assert evaluation is not None
    assert reading is not None
    threshold, limit = limit_of(trigger.rule.condition, event.severity, event.metric, reading.limit)
    threshold = evaluation.before or threshold or event.threshold
    fields = {
        "source": event.source,
        "resource": event.resource,
        "where": where(series),
        "metric": event.metric,
        "value": number_text(evaluation.value),
        "unit": evaluation.unit,
        "amount": amount(evaluation.value, evaluation.unit),
        "threshold": threshold,
        "limit": limit or threshold,
        "rule": event.rule,
        "severity": event.severity.value,
        "note": evaluation.note,
    }
    text = render(trigger.rule.text or DEFAULT_TEMPLATE, fields, event.labels)
    return replace(event, value=fields["value"], unit=evaluation.unit, threshold=threshold, text=text)


def close(transaction: Transaction, key: RuleKey, trigger: Trigger | None, context: Context, why: str = "") -> None:
    """Close an alarm. Emits a clear event only if its raise was notified."""
    state = transaction.rule_state(key)
    alarm = state.alarm
    assert alarm is not None
    if alarm.notified_severity is not CLEARED:
        evaluation = trigger.evaluation if trigger else None
        reason = why or (trigger.why if trigger else "")
        event = replace(
            alarm.event,
            event_id=context.new_id(),
            kind=EventKind.CLEARED,
            severity=CLEARED,
            time=context.now,
            agent=context.agent,
        )
        if trigger and evaluation and trigger.reading:
            reason = f"{event.metric} is {amount(evaluation.value, evaluation.unit)}"
            if trigger.reading.note:
                reason = f"{reason}: {trigger.reading.note}"
            threshold, _ = limit_of(trigger.rule.condition, CLEARED, event.metric, trigger.reading.limit)
            event = replace(
                event,
                value=number_text(evaluation.value),
                unit=evaluation.unit,
                threshold=threshold or event.threshold,
                labels=context.rules.labels_of(event.source, trigger.reading.labels),
            )
        transaction.events.append(replace(event, text=cleared_text(key[0], key[1], reason)))
    transaction.put_rule_state(key, replace(state, alarm=None))


def notice(text: str, context: Context) -> Event:
    """The event of an action of the agent itself or of an operator."""
    return Event(
        event_id=context.new_id(),
        kind=EventKind.NOTICE,
        severity=CLEARED,
        time=context.now,
        text=text,
        agent=context.agent,
        source=AGENT_SOURCE,
        labels=context.rules.labels_of(AGENT_SOURCE, ()),
    )


def silence(state: AlarmState, wanted: Silence, context: Context) -> StepResult:
    """Begin a silence. Its begin is an event, as its end will be."""
    transaction = Transaction(state)
    transaction.silences.put(wanted.silence_id, wanted)
    lasts = until_text(wanted.until)
    transaction.events.append(
        notice(f"Silence begun by uid {wanted.by_uid}, {lasts}: {wanted.scope} ({wanted.reason})", context)
    )
    return transaction.result()


def end_silence(state: AlarmState, silence_id: str, by_uid: int, context: Context) -> StepResult:
    """End a silence before its time; alarms that still hold are notified. LookupError if there is none of that id."""
    transaction = Transaction(state)
    ended = state.silences.get(silence_id)
    if ended is None:
        raise LookupError(f"no silence {silence_id}")
    transaction.silences.put(silence_id, None)
    transaction.events.append(notice(f"Silence ended by uid {by_uid}: {ended.scope} ({ended.reason})", context))
    notify_all(transaction, {}, context)
    return transaction.result()


def unmatched_globs(silence: Silence, objects: Iterable[tuple[str, str]], rules: Iterable[str]) -> list[str]:
    """A sentence for each glob of a silence that matches nothing; `objects` are the sources and resources read now."""
    known = list(objects)
    sources = sorted({source for source, _ in known})
    resources = sorted({resource for source, resource in known if glob_matches(source, silence.source)})
    return [
        f"no {what} matches '{glob}'{suggestion(glob, names) or ','} what comes under that name later is silenced"
        for what, glob, names in (
            ("source", silence.source, sources),
            ("resource", silence.resource, resources or sorted({resource for _, resource in known})),
            ("rule in force", silence.rule, sorted(rules)),
        )
        if not any(glob_matches(name, glob) for name in names) and glob != "*"
    ]


def forget(state: AlarmState, alarm_id: str, by_uid: int, context: Context) -> StepResult:
    """Clear an alarm whose object is gone for good. LookupError if there is none of that id.

    If the object is there after all, its next reading is evaluated as a first one.
    """
    transaction = Transaction(state)
    for key, _, alarm in with_alarm(state):
        if alarm.alarm_id == alarm_id:
            close(transaction, key, None, context, f"forgotten by uid {by_uid}")
            transaction.rule_states.put(key, None)
            transaction.series_states.put(key[1], None)
            transaction.events.append(notice(f"Alarm {alarm_id} ({key[0]}) forgotten by uid {by_uid}", context))
            return transaction.result()
    raise LookupError(f"no alarm {alarm_id}")


def merge(state: AlarmState, instead: AlarmState, own: Collection[str], by: str, context: Context) -> tuple[Event, ...]:
    """The clears of the alarms that this agent told of for itself (`own`), because `instead`, of `by`, is held now.

    Nothing else is made of them: the state goes as it is.
    """
    transaction = Transaction(state)
    for key, _, alarm in with_alarm(state):
        if alarm.alarm_id in own:
            other = instead.rule_states.get(key, IDLE).alarm
            why = f"not seen by {by}" if other is None else f"merged into {other.alarm_id} of {by}"
            close(transaction, key, None, context, why)
    return tuple(transaction.events)


def lost_silences(state: AlarmState, instead: AlarmState, by: str, context: Context) -> tuple[Event, ...]:
    """Notices of the silences in force that end because `instead`, of `by`, is held now and has them not."""
    lost = [
        each
        for silence_id, each in state.silences.items()
        if each.until > context.now and silence_id not in instead.silences
    ]
    return tuple(notice(f"Silence ended, {by} has none such: {each.scope} ({each.reason})", context) for each in lost)


def withdraw(
    state: AlarmState, is_configured: Callable[[Series], bool], context: Context, *, why: str = WITHDRAWN
) -> StepResult:
    """Clear the alarms of everything that left the configuration, and forget all state that only served it.

    `context.rules` are the new rules; `is_configured` says whether the source and the object of a series still are.
    Called after a reload, at start once the state is loaded, and when an object is gone for good (`why`).
    """
    transaction = Transaction(state)
    for key, rule_state in state.rule_states.items():
        name, series = key
        if is_configured(series) and any(rule.name == name for rule in context.rules.plan_of(series).rules):
            continue
        if rule_state.alarm is not None:
            close(transaction, key, None, context, why)
        transaction.rule_states.put(key, None)
    _forget_series(transaction, is_configured, context)
    for metric in state.object_states:
        if metric[2] != PRESENCE or not is_configured((*metric, ())):
            transaction.object_states.put(metric, None)
    for metric in state.latest:
        if metric[2] not in context.rules.deferred_to or not is_configured((*metric, ())):
            transaction.latest.put(metric, None)
    return transaction.result()


def _forget_series(transaction: Transaction, is_configured: Callable[[Series], bool], context: Context) -> None:
    base = transaction.base
    for series in base.series_states:
        if not is_configured(series) or not context.rules.plan_of(series).rules:
            transaction.series_states.put(series, None)
    for series, length in base.windows:
        if not is_configured(series) or length not in context.rules.plan_of(series).windows:
            transaction.windows.put((series, length), None)
    for (series, spacing), points in base.points.items():
        plan = context.rules.plan_of(series)
        if not is_configured(series) or spacing not in plan.points | plan.floors:
            transaction.drop_points((series, spacing), points, plan.phase)
