"""The level that a severity stands for, as an event shows it and as a person says it."""

from __future__ import annotations

from hsm_agent.evaluate.messages import amount, duration_text
from hsm_agent.evaluate.rules import (
    WINDOWS,
    Above,
    Below,
    Changes,
    Condition,
    Falls,
    Grows,
    Level,
    NotFalling,
    RateChanges,
    Reaches,
)
from hsm_agent.metrics import unit
from hsm_agent.model import Severity, number_text


def own(level: Level | None, limit: float | None) -> float | None:
    """A level as a number; `own` is the limit the reading brings, and no level where it brings none."""
    return limit if level == "own" else level


def either(severity: Severity, warning: float | None, critical: float | None) -> float | None:
    """The level of a severity; the other one where a rule has only that (as when a warning is escalated)."""
    first, second = (critical, warning) if severity is Severity.CRITICAL else (warning, critical)
    return second if first is None else first


def rate_unit(metric: str) -> str:
    """Unit of what is compared: increase per second of a counter, the value itself of a gauge."""
    return "per second" if metric.endswith("_total") else unit(metric)


def _growth_limit(condition: Grows, severity: Severity) -> str:
    own_length = condition.critical if severity is Severity.CRITICAL else condition.warning
    sooner = condition.sooner
    span = either(severity, sooner.warning, sooner.critical) if sooner else None
    length = own_length if span else either(severity, condition.warning, condition.critical)
    ways = [f"{WINDOWS} x {duration_text(length)}"] if length else []
    ways += [f"{duration_text(span)} if unusual"] if span else []
    return f"{number_text(condition.at_least)} in {' or '.join(ways)}"


def limit_of(condition: Condition, severity: Severity, metric: str, limit: float | None) -> tuple[str, str]:
    """Threshold for machines and limit for people; both empty where the condition has none (`changes`, `falls`)."""
    name = unit(metric)
    match condition:
        case Above() | Below():
            level = either(severity, own(condition.warning, limit), own(condition.critical, limit))
            return number_text(level), amount(level, name)
        case Grows():
            least = _growth_limit(condition, severity)
            return least, least
        case RateChanges():
            least = f"{number_text(condition.percent)} % and {amount(condition.at_least, rate_unit(metric))}"
            text = f"{least} against {duration_text(condition.against)} ago"
            return text, text
        case Reaches():
            within = duration_text(either(severity, condition.warning, condition.critical) or 0.0)
            return f"{number_text(condition.level)} within {within}", f"{amount(condition.level, name)} within {within}"
        case Changes() | Falls():
            return "", ""
        case NotFalling():  # pragma: no branch - the last kind there is
            lasting = duration_text(either(severity, condition.warning, condition.critical) or 0.0)
            return lasting, lasting
