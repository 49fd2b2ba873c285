"""The default rules, with the texts an operator reads at night.

A text says what is wrong, what follows from it, and what to look at first. The configuration overrides single keys of
a rule by its name.
"""

from __future__ import annotations

from dataclasses import replace

from hsm_agent.evaluate.defaults import appliances, modules, own, tokens
from hsm_agent.evaluate.rules import Above, Rule

_SOURCE_DOWN = Rule(
    name="source-down",
    metrics=("source_age_seconds",),
    condition=Above(critical="own"),
    text="{source} was last read {amount} ago (limit {limit}): nothing is known of its tokens. First see "
    "whether the applications still work, then network, client configuration and the module's log.",
)

_WATCHED = (tokens, modules, appliances)

DEFAULT_RULES: tuple[Rule, ...] = (
    *(replace(rule, inhibited_by=(_SOURCE_DOWN.name,)) for group in _WATCHED for rule in group.RULES),
    _SOURCE_DOWN,
    *own.RULES,
)
"""The rules of every agent, on metrics that some kind of source produces."""
