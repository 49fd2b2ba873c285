"""Metrics of the group that the agent is a member of."""

from __future__ import annotations

from hsm_agent.metrics.tables import COMMUNICATION, Metric

GROUP = (
    Metric("group_leading", "", "state", "The agent leads its group: it judges and tells for all members."),
    Metric("group_connected", "", "state", "The agent reaches its group in etcd.", COMMUNICATION),
    Metric(
        "group_alone",
        "",
        "state",
        "A majority of the group's etcd servers is down: every member judges and tells for itself.",
        COMMUNICATION,
    ),
    Metric(
        "group_isolated",
        "",
        "state",
        "The agent is cut off from its group, others may lead: it holds its alarms, but those about itself.",
        COMMUNICATION,
    ),
    Metric("group_trouble", "", "state", "Something keeps the agent from its part in the group.", COMMUNICATION),
    Metric("group_member_up", "", "state", "A member of the group says that it is there.", COMMUNICATION),
    Metric("group_member_sources_up", "", "gauge", "Sources that a member reads.", COMMUNICATION),
    Metric("group_config_differing", "", "gauge", "Members whose configuration differs from this agent's."),
    Metric(
        "group_follow_lag_seconds",
        "seconds",
        "gauge",
        "How far this agent is behind what the leader has committed; 0 while it leads.",
        COMMUNICATION,
    ),
    Metric("group_beat_age_seconds", "seconds", "gauge", "Time since the leader last said that it leads."),
    Metric("group_commit_seconds", "seconds", "gauge", "How long etcd took for the last commit of this agent."),
    Metric("group_epoch", "", "gauge", "Revision of etcd at which the lead was last taken over."),
    Metric("group_takeovers_total", "", "counter", "Times that this agent took over the lead, since its start."),
    Metric("group_fenced_total", "", "counter", "Times that a write of this agent was refused: another one leads."),
    Metric(
        "group_clock_offset_seconds", "seconds", "gauge", "Clock of a member minus this host's, as far as is known."
    ),
)
"""Of an agent with `group`."""
