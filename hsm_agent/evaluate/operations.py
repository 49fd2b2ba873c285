"""What operators and a new configuration change: silence, end a silence, forget, withdraw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.evaluate.alarms import Context, close, notice, notify_all
from hsm_agent.evaluate.messages import until_text
from hsm_agent.evaluate.rules import PRESENCE
from hsm_agent.evaluate.state import AlarmState, with_alarm
from hsm_agent.evaluate.transaction import StepResult, Transaction
from hsm_agent.text import glob_matches, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hsm_agent.evaluate.state import Silence
    from hsm_agent.model import Series

WITHDRAWN = "withdrawn, no longer in the configuration"


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
    _forget_objects(transaction, is_configured, context)
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


def _forget_objects(transaction: Transaction, is_configured: Callable[[Series], bool], context: Context) -> None:
    base = transaction.base
    for key in base.object_states:
        if key[2] != PRESENCE or not is_configured((*key, ())):
            transaction.object_states.put(key, None)
    for key in base.latest:
        if key[2] not in context.rules.deferred_to or not is_configured((*key, ())):
            transaction.latest.put(key, None)
