"""Every metric there is: name, unit, type, one sentence, and the probable cause an alarm on it names.

A rule may name only these and declared ones; `/metrics` and the documentation take their help texts from here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from hsm_agent.metrics.group import GROUP
from hsm_agent.metrics.tables import (
    AGENT,
    APPLIANCES,
    CHECKS,
    CLOUDHSM,
    FLEET,
    HSM,
    THRESHOLD,
    TOKENS,
    TRAILS,
    TRAPS,
    Metric,
)
from hsm_agent.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CUSTOM_PREFIX", "METRICS", "THRESHOLD", "Metric", "is_custom", "reportable_metric", "unit"]

CUSTOM_PREFIX = "custom_"
_CUSTOM_NAME = re.compile(r"custom_[a-z][a-z0-9]*(_[a-z0-9]+)*")
_CUSTOM_UNITS = ("bytes", "percent", "seconds", "celsius", "volts", "rpm", "records", "sessions", "objects", "entries")

_WORST: dict[str, Literal["highest", "lowest"]] = {
    "audit_records": "highest",
    "audit_used_percent": "highest",
    "audit_seconds_to_full": "lowest",
    "audit_export_working": "lowest",
    "audit_logging_configured": "lowest",
    "hsm_tampered": "highest",
    "hsm_operational": "lowest",
    "hsm_trouble": "highest",
    "hsm_battery_well": "lowest",
}


def _of_hsm(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """Mark the metrics of the HSM as a whole: those whose names begin with `hsm_` or `audit_`."""
    for metric in metrics:
        whole = metric.name.startswith(("hsm_", "audit_"))
        yield replace(metric, of_hsm=True, worst=_WORST.get(metric.name, "")) if whole else metric


_ALL = (
    *TOKENS,
    *_of_hsm((*HSM, *APPLIANCES)),
    *CHECKS,
    *TRAPS,
    *TRAILS,
    *CLOUDHSM,
    *FLEET,
    *AGENT,
    *GROUP,
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order of the documentation."""


def is_custom(name: str) -> bool:
    """Whether the configuration may declare a metric of that name."""
    return _CUSTOM_NAME.fullmatch(name) is not None


def unit(name: str) -> str:
    """Unit of a metric; empty for one that is neither in the table nor declared by the configuration.

    A custom name ends in its unit, before `_total` for a counter; one of a count or a state in another word.
    """
    metric = METRICS.get(name)
    if metric is not None:
        return metric.unit
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in _CUSTOM_UNITS and is_custom(name) else ""


_OWN = frozenset(metric.name for metric in (*AGENT, *GROUP))


def reportable_metric(name: str) -> str:
    """The name, if a pattern may report under it: one of docs/metrics.md, or one that begins with `custom_`.

    Raises ValueError otherwise. What the agent says of itself and of its sources is not for others to say, and the
    content of an `..._info` metric is in its labels.
    """
    if is_custom(name):
        return name
    if name in _OWN or name.startswith("source_"):
        raise ValueError(f"'{name}' is what the agent says of itself or of a source; take a name of your own: custom_…")
    if name.endswith("_info"):
        raise ValueError(f"'{name}' says what it says in its labels, which a pattern cannot give")
    if name not in METRICS:
        hint = suggestion(name, METRICS) or "; a name of your own begins with custom_"
        raise ValueError(f"no metric is called '{name}'{hint}")
    return name
