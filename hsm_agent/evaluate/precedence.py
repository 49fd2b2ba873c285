"""Which of two rules speaks where both would tell of one fault. Pure.

A rule gives way only to another one that really judges the same object now and reads at least as full, and only
before it has raised anything: what it has raised it judges to its end, so that two readings which part and meet
again make no storm of alarms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.evaluate.verdicts import UNDECIDED, Past, assess
from hsm_agent.evaluate.watches import UNKNOWN_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsm_agent.evaluate.alarms import Context
    from hsm_agent.evaluate.rules import Rule
    from hsm_agent.evaluate.state import Draft
    from hsm_agent.model import Reading, Series, Severity

AGREEMENT_PERCENT = 5.0
"""How far the other reading may be below the rule's own and still be taken for the same fault."""


def gives_way(
    draft: Draft, rule: Rule, reading: Reading, context: Context, past: Callable[[Series], Past]
) -> Rule | None:
    """The rule that speaks instead of this one, if there is one; `past` finds the histories of a series."""
    way = rule.gives_way
    if way is None or way.metric != reading.metric or reading.value is None:
        return None
    other = draft.latest.get((reading.source, reading.resource, way.to))
    if other is None or other.value is None or abs(context.now - other.time) > UNKNOWN_AFTER:
        return None
    if other.value < reading.value - AGREEMENT_PERCENT:
        return None
    plan = context.rules.plan(other.series, other.labels)
    speaker = next((each for each in plan.rules if each.name == way.rule), None)
    if speaker is None:
        return None
    watch = draft.watch((speaker.name, other.series))
    verdict, _ = assess(speaker, other, watch.level, watch.memory, past(other.series))
    return None if verdict.severity is UNDECIDED else speaker


def told_elsewhere(draft: Draft, name: str, series: Series, level: Severity, context: Context) -> str:
    """The source whose alarm on the same HSM tells of this already, at least as gravely; else nothing.

    Whoever was told of first speaks; a source that is down, or whose alarm is held back, does not.
    """
    source, resource, metric, labels = series
    for other in sorted(context.sharing.get(resource, ())):
        place = (other, resource, metric, labels)
        if other == source or not context.is_up(place):
            continue
        watch = draft.watch((name, place))
        if watch.alarm is not None and not watch.unknown and watch.alarm.told.rank >= level.rank:
            return other
    return ""
