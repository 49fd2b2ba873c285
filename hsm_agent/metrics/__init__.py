"""Every metric there is: name, unit, type, one sentence, and the probable cause an alarm on it names.

A rule may name only what stands here; `/metrics` and the documentation take their help texts from here.
"""

from __future__ import annotations

from hsm_agent.metrics import agent, appliances, checks, command, custom, hsm, tokens, traps
from hsm_agent.metrics.base import CAPACITY, COMMUNICATION, CORRUPT, STORAGE, THRESHOLD, Metric

__all__ = ["CAPACITY", "COMMUNICATION", "CORRUPT", "METRICS", "STORAGE", "THRESHOLD", "Metric", "unit"]

_ALL = (
    *tokens.METRICS,
    *hsm.METRICS,
    *appliances.METRICS,
    *command.METRICS,
    *checks.METRICS,
    *traps.METRICS,
    *agent.METRICS,
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order of the documentation."""


def unit(name: str) -> str:
    """Unit of a metric; empty for one that is neither in the table nor declared by the configuration."""
    metric = METRICS.get(name)
    if metric is not None:
        return metric.unit
    return custom.unit_of(name) if custom.is_custom(name) else ""
