"""Telling: from what is true and what was told to the events in between.

Every transition of an alarm is made here, and nowhere else: raised, changed, cleared, told again, held back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hsm_agent.evaluate.limits import limit_of
from hsm_agent.evaluate.messages import DEFAULT_TEMPLATE, amount, cleared_text, render, unknown_text, where
from hsm_agent.evaluate.rules import PRESENCE, Rule, Ruleset
from hsm_agent.evaluate.state import raised
from hsm_agent.evaluate.watches import Alarm, Watch
from hsm_agent.metrics import METRICS, THRESHOLD, unit
from hsm_agent.model import AGENT_SOURCE, Event, EventKind, Reading, Series, Severity, number_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from hsm_agent.evaluate.state import Draft, WatchKey
    from hsm_agent.evaluate.verdicts import Verdict

CLEARED = Severity.CLEARED


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a step is told of the world: the rules in force, the time (UTC seconds), who speaks, who is up.

    `up` names the sources that are up or degraded. `new_id` makes an identifier that nothing else has. `sharing` names
    the sources that read an HSM, by its name; `gone` are HSMs, by source, all of whose partitions are gone.
    """

    rules: Ruleset
    now: float
    new_id: Callable[[], str]
    agent: str
    up: Collection[str] = ()
    sharing: Mapping[str, Collection[str]] = field(default_factory=dict)
    gone: Collection[tuple[str, str]] = ()

    def is_up(self, series: Series) -> bool:
        """Whether what the series hangs on can be read; the agent itself and its account of a source always can."""
        return series[0] in self.up or series[0] == AGENT_SOURCE or series[2].startswith("source_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """Why a watch is looked at: a reading and its verdict, or `why` in words where there is no value."""

    rule: Rule
    reading: Reading | None = None
    verdict: Verdict | None = None
    why: str = ""


def tell_all(draft: Draft, touched: dict[WatchKey, Touch], context: Context) -> None:
    """Tell what has to be told: of what was touched, and of every alarm that time may have released."""
    inhibiting = _inhibiting(draft, touched)
    for key, touch in touched.items():
        _tell(draft, key, touch.rule, touch, context, inhibiting)
    for key, _, _ in raised(draft.book.watches, draft.book.alarmed):
        rule = context.rules.named(key[0])
        if rule is not None and key not in touched and draft.watch(key).alarm is not None:
            _tell(draft, key, rule, None, context, inhibiting)


def _inhibiting(draft: Draft, touched: dict[WatchKey, Touch]) -> set[tuple[str, str]]:
    """Rules and the sources for which they are raised now, told or not."""
    keys = [*touched, *draft.book.alarmed]
    return {(rule, series[0]) for rule, series in keys if draft.watch((rule, series)).level is not CLEARED}


def _held(
    draft: Draft, key: WatchKey, rule: Rule, watch: Watch, context: Context, inhibiting: set[tuple[str, str]]
) -> bool:
    name, (source, resource, metric, _) = key
    if any((other, source) in inhibiting for other in rule.inhibited_by):
        return True
    if any(silence.covers(name, source, resource) for silence in draft.silences.values()):
        return True
    # A token that was taken out leaves every rule on it without a value: that it is gone is told once.
    untold = watch.alarm is None or watch.alarm.told is CLEARED
    presence = draft.presences.get((source, resource, PRESENCE))
    gone = (presence is not None and presence.zero) or (source, resource) in context.gone
    return watch.unknown and untold and metric != PRESENCE and gone


def _tell(
    draft: Draft, key: WatchKey, rule: Rule, touch: Touch | None, context: Context, inhibiting: set[tuple[str, str]]
) -> None:
    watch = draft.watch(key)
    alarm = watch.alarm
    if watch.shown is CLEARED:
        close(draft, key, touch, context)
        return
    due = _due(watch, rule, touch, key, context)
    held = _held(draft, key, rule, watch, context, inhibiting)
    if touch is None or touch.verdict is None:  # a source that is down raises nothing; a value proves it is not
        held = held or not context.is_up(key[1])
    if due is not None and not held:
        event = _compose(due, key, rule, watch, touch, context)
        alarm_id, since = (alarm.alarm_id, alarm.since) if alarm else (context.new_id(), context.now)
        event = replace(event, alarm_id=alarm_id)
        draft.events.append(event)
        alarm = Alarm(alarm_id=alarm_id, since=since, event=event, told=watch.shown, told_at=context.now)
    elif alarm is None:
        event = replace(_compose(EventKind.RAISED, key, rule, watch, touch, context), alarm_id=context.new_id())
        alarm = Alarm(alarm_id=event.alarm_id, since=context.now, event=event)
    elif due is not None and touch is not None:
        alarm = _waiting(alarm, due, key, rule, watch, touch, context)
    draft.put_watch(key, replace(watch, alarm=alarm))


def _due(watch: Watch, rule: Rule, touch: Touch | None, key: WatchKey, context: Context) -> EventKind | None:
    """The event that people are owed."""
    alarm = watch.alarm
    if alarm is None or alarm.told is CLEARED:
        return EventKind.RAISED
    if alarm.told is not watch.shown:
        return EventKind.CHANGED
    if alarm.owed or (touch is not None and touch.verdict is not None and touch.verdict.again):
        return EventKind.RAISED
    again = rule.repeat_every is not None and context.now - alarm.told_at >= rule.repeat_every
    return EventKind.RAISED if again and context.is_up(key[1]) else None


def _waiting(
    alarm: Alarm, due: EventKind, key: WatchKey, rule: Rule, watch: Watch, touch: Touch, context: Context
) -> Alarm:
    """The alarm while nobody is told: who looks at it sees how things stand, and the release tells the latest."""
    again = touch.verdict is not None and touch.verdict.again
    if alarm.told is watch.shown and not again:  # a repetition that has to wait has nothing new to say
        return alarm
    same = alarm.event.severity is watch.shown and not again
    event = _compose(due, key, rule, watch, touch, context, alarm.event.event_id if same else None)
    event = replace(event, alarm_id=alarm.alarm_id, time=alarm.event.time if same else context.now)
    return replace(alarm, event=event, owed=alarm.owed or (again and alarm.told is not CLEARED))


def _compose(
    kind: EventKind,
    key: WatchKey,
    rule: Rule,
    watch: Watch,
    touch: Touch | None,
    context: Context,
    event_id: str | None = None,
) -> Event:
    """The event of a transition; with nothing new to say, what was known of it last."""
    before = watch.alarm.event if watch.alarm else None
    event_id = context.new_id() if event_id is None else event_id
    if touch is None:
        assert before is not None
        return replace(before, event_id=event_id, kind=kind, severity=watch.shown, time=context.now)
    name, series = key
    source, resource, metric, labels = series
    event = Event(
        event_id=event_id,
        kind=kind,
        severity=watch.shown,
        time=context.now,
        text=unknown_text(name, series, touch.why),
        agent=context.agent,
        source=source,
        resource=resource,
        metric=metric,
        unit=unit(metric),
        threshold=before.threshold if before else "",
        rule=name,
        runbook=rule.runbook,
        cause=METRICS[metric].cause if metric in METRICS else THRESHOLD,
        labels=context.rules.labels_of(source, touch.reading.labels if touch.reading else labels),
    )
    return event if watch.unknown else _worded(event, rule, series, touch)


def _worded(event: Event, rule: Rule, series: Series, touch: Touch) -> Event:
    """The event with its number, its threshold and the rule's text."""
    verdict, reading = touch.verdict, touch.reading
    assert verdict is not None
    assert reading is not None
    threshold, limit = limit_of(rule.condition, event.severity, event.metric, reading.limit)
    threshold = verdict.before or threshold or event.threshold
    fields = {
        "source": event.source,
        "resource": event.resource,
        "where": where(series),
        "metric": event.metric,
        "value": number_text(verdict.value),
        "unit": verdict.unit,
        "amount": amount(verdict.value, verdict.unit),
        "threshold": threshold,
        "limit": limit or threshold,
        "rule": event.rule,
        "severity": event.severity.value,
        "note": verdict.note,
    }
    text = render(rule.text or DEFAULT_TEMPLATE, fields, event.labels)
    return replace(event, value=fields["value"], unit=verdict.unit, threshold=threshold, text=text)


def close(draft: Draft, key: WatchKey, touch: Touch | None, context: Context, why: str = "") -> None:
    """End an alarm. Whoever was told of it is told of its end; a raise that nobody heard ends unheard."""
    watch = draft.watch(key)
    alarm = watch.alarm
    assert alarm is not None
    if alarm.told is not CLEARED:
        verdict = touch.verdict if touch else None
        said = why or (touch.why if touch else "")
        event = replace(
            alarm.event,
            event_id=context.new_id(),
            kind=EventKind.CLEARED,
            severity=CLEARED,
            time=context.now,
            agent=context.agent,
        )
        if touch and verdict and touch.reading:
            said = f"{event.metric} is {amount(verdict.value, verdict.unit)}"
            if touch.reading.note:
                said = f"{said}: {touch.reading.note}"
            threshold, _ = limit_of(touch.rule.condition, CLEARED, event.metric, touch.reading.limit)
            event = replace(
                event,
                value=number_text(verdict.value),
                unit=verdict.unit,
                threshold=threshold or event.threshold,
                labels=context.rules.labels_of(event.source, touch.reading.labels),
            )
        draft.events.append(replace(event, text=cleared_text(key[0], key[1], said)))
    draft.put_watch(key, replace(watch, alarm=None))


def notice(text: str, context: Context) -> Event:
    """What the agent or an operator did, told as an event of the agent."""
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
