"""Texts for people: numbers with units, durations, limits, messages from templates.

A template names its fields as `{resource}`; a field that is not known stays as it is written.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import (
    WINDOWS,
    Above,
    Below,
    Changes,
    Condition,
    Falls,
    Grows,
    LevelOrOwn,
    NotFalling,
    RateChanges,
    Reaches,
)
from hsm_agent.metrics import unit
from hsm_agent.model import Severity, number_text

if TYPE_CHECKING:
    from hsm_agent.model import Labels, Series

FIELDS = frozenset(
    {
        *("source", "resource", "where", "metric", "rule", "severity", "note"),
        *("value", "unit", "amount", "threshold", "limit"),
    }
)
"""What a template may name besides labels. `amount` and `limit` are value and threshold with their unit, rounded;
`where` is source/resource; `note` is what a trend or a change has to add."""
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_BINARY = ("KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_SINGULARS = {"entries": "entry"}
_COUNTED = frozenset({"sessions", "records", "objects", "entries"})


def duration_text(seconds: float) -> str:
    """A duration in its two largest units: `90d`, `1h 30m`, `45s`; below a second in milliseconds."""
    if seconds == inf:
        return "never"
    if seconds < 0:
        return f"-{duration_text(-seconds)}"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    left = round(seconds)
    counts = []
    for letter, size in _UNITS:
        count, left = divmod(left, size)
        counts.append((count, letter))
    first = next((index for index, (count, _) in enumerate(counts) if count), len(counts) - 1)
    return " ".join(f"{count}{letter}" for count, letter in counts[first : first + 2] if count) or "0s"


def ago_text(seconds: float) -> str:
    """How long ago something was, for people: a part of a second is over before they have read it."""
    return "just now" if seconds < 1 else f"{duration_text(seconds)} ago"


def counted(count: float, plural: str) -> str:
    """A number of things: `1 alarm`, `2 alarms`, `1 entry`."""
    noun = _SINGULARS.get(plural, plural.removesuffix("s")) if count == 1 else plural
    return f"{number_text(count)} {noun}"


def amount(value: float | None, unit_name: str) -> str:
    """A value with its unit for people: `76.9 %`, `1h 30m`, `16.0 MiB`, `2048 sessions`."""
    if value is None:
        return "no value"
    match unit_name:
        case "percent":
            return f"{number_text(round(value, 1))} %"
        case "seconds":
            return duration_text(value)
        case "bytes":
            return _bytes(value)
        case _:
            shown = value if isinstance(value, int) else round(value, 2)
            return counted(shown, unit_name) if unit_name in _COUNTED else f"{number_text(shown)} {unit_name}".rstrip()


def _bytes(value: float) -> str:
    if abs(value) < _STEP:
        return counted(value, "bytes")
    for name in _BINARY[:-1]:
        value /= _STEP
        if abs(value) < _STEP:
            return f"{value:.1f} {name}"
    return f"{value / _STEP:.1f} {_BINARY[-1]}"


def where(series: Series) -> str:
    """The place of a series: `source/resource`, or the source alone."""
    source, resource, _, _ = series
    return f"{source}/{resource}" if resource else source


def render(template: str, fields: dict[str, str], labels: Labels) -> str:
    """The template with its fields filled in; the fields of the event go before labels of the same name."""
    known = {**dict(labels), **fields}
    return _FIELD.sub(lambda found: known.get(found[1], found[0]), template)


DEFAULT_TEMPLATE = "{rule}: {metric} of {where} is {amount} (limit {limit})"


def cleared_text(rule: str, series: Series, reason: str) -> str:
    """The message of a clear; `reason` is the present value, or why there is none."""
    return f"Cleared: {rule} on {where(series)}: {reason}"


UNKNOWN, UNKNOWN_END = (
    "Unknown: ",
    "That is no sign that all is well; first find out why the reading is gone.",
)
"""How the message of a rule that can no longer be evaluated begins and ends."""


def unknown_text(rule: str, series: Series, reason: str) -> str:
    """The message of a rule that can no longer be evaluated, raised or not."""
    because = f" ({reason})" if reason else ""
    return f"{UNKNOWN}{rule} on {where(series)}: {series[2]} has no value any more{because}. {UNKNOWN_END}"


def until_text(until: float) -> str:
    return f"until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%SZ}"


def level_of(level: LevelOrOwn | None, limit: float | None) -> float | None:
    """A level as a number; `own` is the reading's limit, None where it has none."""
    return limit if level == "own" else level


def _either(severity: Severity, warning: float | None, critical: float | None) -> float | None:
    """The level of a severity; the other one where a rule has only that (as when a warning is escalated)."""
    first, second = (critical, warning) if severity is Severity.CRITICAL else (warning, critical)
    return second if first is None else first


def rate_unit(metric: str) -> str:
    """Unit of what is compared: increase per second of a counter, the value itself of a gauge."""
    return "per second" if metric.endswith("_total") else unit(metric)


def _growth_limit(condition: Grows, severity: Severity) -> str:
    own_length = condition.critical if severity is Severity.CRITICAL else condition.warning
    sooner = condition.sooner
    span = _either(severity, sooner.warning, sooner.critical) if sooner else None
    length = own_length if span else _either(severity, condition.warning, condition.critical)
    ways = [f"{WINDOWS} x {duration_text(length)}"] if length else []
    ways += [f"{duration_text(span)} if unusual"] if span else []
    return f"{number_text(condition.at_least)} in {' or '.join(ways)}"


def limit_of(condition: Condition, severity: Severity, metric: str, limit: float | None) -> tuple[str, str]:
    """Threshold for machines and limit for people; both empty where the condition has none (`changes`, `falls`)."""
    name = unit(metric)
    match condition:
        case Above() | Below():
            level = _either(severity, level_of(condition.warning, limit), level_of(condition.critical, limit))
            return number_text(level), amount(level, name)
        case Grows():
            least = _growth_limit(condition, severity)
            return least, least
        case RateChanges():
            least = f"{number_text(condition.percent)} % and {amount(condition.at_least, rate_unit(metric))}"
            text = f"{least} against {duration_text(condition.against)} ago"
            return text, text
        case Reaches():
            within = duration_text(_either(severity, condition.warning, condition.critical) or 0.0)
            return f"{number_text(condition.level)} within {within}", f"{amount(condition.level, name)} within {within}"
        case Changes() | Falls():
            return "", ""
        case NotFalling():  # pragma: no branch - the last kind there is
            lasting = duration_text(_either(severity, condition.warning, condition.critical) or 0.0)
            return lasting, lasting
