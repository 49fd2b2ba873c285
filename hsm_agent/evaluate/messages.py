"""What is written for people: numbers with units, durations, messages from templates.

A template names its fields as `{resource}`; a field that is not known stays as it is written.
"""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING

from hsm_agent.model import number_text

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
    parts = []
    for letter, size in _UNITS:
        count, left = divmod(left, size)
        parts.append((count, letter))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count}{letter}" for count, letter in parts[first : first + 2] if count) or "0s"


def counted(count: float, plural: str) -> str:
    """A number of things: `1 alarm`, `2 alarms`, `1 entry`."""
    noun = _SINGULARS.get(plural, plural.removesuffix("s")) if count == 1 else plural
    return f"{number_text(count)} {noun}"


def amount(value: float | None, unit: str) -> str:
    """A value with its unit as one says it: `76.9 %`, `1h 30m`, `16.0 MiB`, `2048 sessions`."""
    if value is None:
        return "no value"
    match unit:
        case "percent":
            return f"{number_text(round(value, 1))} %"
        case "seconds":
            return duration_text(value)
        case "bytes":
            return _bytes(value)
        case _:
            shown = value if isinstance(value, int) else round(value, 2)
            return counted(shown, unit) if unit in _COUNTED else f"{number_text(shown)} {unit}".rstrip()


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


def cleared_text(rule: str, series: Series, said: str) -> str:
    """The message of an end; `said` is what the reading says now, or why there is nothing more to say."""
    return f"Cleared: {rule} on {where(series)}: {said}"


def unknown_text(rule: str, series: Series, reason: str) -> str:
    """The message of an alarm, or of a rule at rest, that can no longer be judged."""
    because = f" ({reason})" if reason else ""
    return (
        f"Unknown: {rule} on {where(series)}: {series[2]} has no value any more{because}. "
        "That is no sign that all is well; first find out why the reading is gone."
    )
