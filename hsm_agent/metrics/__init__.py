"""Every metric there is: name, unit, type, one sentence, and the probable cause an alarm on it names.

A rule may name only what stands here; `/metrics` and the documentation take their help texts from here.
"""

from __future__ import annotations

from hsm_agent.metrics import agent, appliances, hsm, tokens, traps
from hsm_agent.metrics.base import CAPACITY, COMMUNICATION, CORRUPT, STORAGE, THRESHOLD, Metric

__all__ = ["CAPACITY", "COMMUNICATION", "CORRUPT", "METRICS", "STORAGE", "THRESHOLD", "Metric", "unit"]

_ALL = (
    *tokens.METRICS,
    *hsm.METRICS,
    *appliances.METRICS,
    *traps.METRICS,
    *agent.METRICS,
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order of the documentation."""


def unit(name: str) -> str:
    """Unit of a metric; empty for one that is not in the table."""
    metric = METRICS.get(name)
    return metric.unit if metric else ""
