"""Names under which an operator's own patterns may report. Pure."""

from __future__ import annotations

from hsm_agent.metrics import METRICS, is_custom
from hsm_agent.metrics.tables import AGENT
from hsm_agent.text import suggestion

_OWN = frozenset(metric.name for metric in AGENT)


def check_metric(name: str) -> str:
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
