"""The default rules, with the texts an operator reads at night; here those on the agent itself.

A text says what is wrong, what follows from it, and what to look at first. The configuration overrides single keys of
a rule by its name.
"""

from __future__ import annotations

from dataclasses import replace

from hsm_agent.evaluate.defaults import appliances, groups, tokens, trails
from hsm_agent.evaluate.rules import HOUR, MINUTE, Above, Below, Changes, Match, Rule
from hsm_agent.model import AGENT_SOURCE, Severity

_SOURCE_DOWN = Rule(
    name="source-down",
    metrics=("source_age_seconds",),
    condition=Above(critical="own"),
    text="{source} was last read {amount} ago (limit {limit}): nothing is known of its tokens. First see "
    "whether the applications still work, then network, client configuration and the module's log.",
)

_OWN = (
    Rule(
        name="sink-down",
        metrics=("sink_down_seconds",),
        condition=Above(warning=5 * MINUTE, critical=HOUR),
        text="No notification has reached {resource} for {amount} (limit {limit}); they are kept in the spool. "
        "First check that the receiver runs and can be reached from this host.",
    ),
    Rule(
        name="crl",
        metrics=("crl_seconds_left",),
        condition=Below(warning=6 * HOUR, critical=0.0),
        text="The certificate revocation list of {resource} ends in {amount} (limit {limit}; below 0 it has); behind "
        "it no connection is made. First fetch the CA's new list; the agent reads it by itself.",
    ),
    Rule(
        name="spool-filling",
        metrics=("spool_used_percent",),
        condition=Above(warning=50.0, critical=80.0),
        text="The spool is {amount} full (limit {limit}); when full, notifications are dropped. First see in hsm-"
        "agent status which sink does not accept.",
    ),
    Rule(
        name="events-dropped",
        metrics=("spool_dropped_total",),
        condition=Changes(severity=Severity.WARNING),
        clear_after_seconds=HOUR,
        text="Notifications were dropped, the spool is full ({note}). What is raised now is still true in hsm-"
        "agent status; once the sink accepts again: hsm-agent resend.",
    ),
    Rule(
        name="pipeline-stalled",
        metrics=("pipeline_age_seconds",),
        condition=Above(critical=MINUTE),
        text="The agent has judged nothing for {amount} (limit {limit}): it reads, and raises no alarm. First restart"
        " it, then keep its log and the disk's for the report.",
    ),
    Rule(
        name="events-undelivered",
        metrics=("sink_dropped_total", "sink_refused_total"),
        condition=Changes(severity=Severity.WARNING),
        clear_after_seconds=HOUR,
        text="Notifications do not reach {resource}: it refuses them or they were given up ({metric} {note}). First see"
        " hsm-agent spool list, and why, with hsm-agent spool show ID.",
    ),
    Rule(
        name="publishing",
        metrics=("publish_age_seconds",),
        condition=Above(warning="own"),
        text="This agent's status was last published {amount} ago (limit {limit}; {note}): whoever watches the fleet "
        "takes it for silent. First check that etcd runs, can be reached, and takes this agent's user.",
    ),
    Rule(
        name="spool-failed",
        metrics=("spool_failed",),
        condition=Above(critical=1.0),
        text="The spool cannot be written: notifications go out from memory and are lost if the agent stops. First"
        " check space and health of the disk of the state directory.",
    ),
    Rule(
        name="snmpv3-held",
        metrics=("snmp_engine_held",),
        condition=Above(critical=1.0),
        text="SNMPv3 is held back, requests are not answered and v3 sinks wait: the engine's boots cannot be stored"
        " ({note}). First check the disk of the state directory, then the file named.",
    ),
)

_WATCHED = (*tokens.RULES, *appliances.RULES, *trails.RULES)

DEFAULT_RULES: tuple[Rule, ...] = (
    *(replace(rule, inhibited_by=(_SOURCE_DOWN.name,)) for rule in _WATCHED),
    _SOURCE_DOWN,
    *(replace(rule, match=Match(source=AGENT_SOURCE)) for rule in (*_OWN, *groups.RULES)),
)
"""The rules of every agent, on metrics that some kind of source produces."""
