"""Every metric there is: name, unit, type, one sentence, and the probable cause an alarm on it names.

A rule may name only these and declared ones; `/metrics` and the documentation take their help texts from here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from hsm_agent.metrics import agent, appliances, tokens
from hsm_agent.metrics.base import CUSTOM_PREFIX, THRESHOLD, Metric, custom_unit, is_custom

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CUSTOM_PREFIX", "METRICS", "THRESHOLD", "Metric", "is_custom", "unit"]

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
    *tokens.METRICS,
    *_of_hsm((*tokens.HSM, *appliances.METRICS)),
    *tokens.CHECKS,
    *appliances.TRAPS,
    *agent.METRICS,
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order of the documentation."""


def unit(name: str) -> str:
    """Unit of a metric; empty for one that is neither in the table nor declared by the configuration."""
    metric = METRICS.get(name)
    if metric is not None:
        return metric.unit
    return custom_unit(name) if is_custom(name) else ""
