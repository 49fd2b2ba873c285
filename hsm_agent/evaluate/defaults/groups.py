"""Default rules on the group that the agent is a member of: each member judges these for itself."""

from __future__ import annotations

from hsm_agent.evaluate.rules import MINUTE, Above, Below, Rule

RULES = (
    Rule(
        name="group-degraded",
        metrics=("group_alone", "group_isolated"),
        condition=Above(critical=1.0),
        for_seconds=30.0,
        text="This agent is without its group's etcd ({note}; {metric}): alone it tells for itself, isolated it holds "
        "its alarms. First look at the etcd servers, as hsm-agent group status has them, then at the way there.",
    ),
    Rule(
        name="group-trouble",
        metrics=("group_trouble",),
        condition=Above(warning=1.0),
        for_seconds=MINUTE,
        text="This agent cannot do its part in the group ({note}): if the leader fails it may lead late, or not at all."
        " First read the reason; hsm-agent group status has it whole.",
    ),
    Rule(
        name="group-member-down",
        metrics=("group_member_up",),
        condition=Below(warning=0.0),
        for_seconds=MINUTE,
        text="Member {member} of the group does not say that it is there: the next host that fails may leave nobody who"
        " watches. First look at its host and its service, then whether it reaches etcd.",
    ),
    Rule(
        name="group-member-unfit",
        metrics=("group_member_sources_up",),
        condition=Below(warning="own"),
        for_seconds=5 * MINUTE,
        text="Member {member} of the group reads {value} of its sources, fewer than the leader: if it leads, nothing is"
        " known of the others. First see in its own hsm-agent status what is down.",
    ),
    Rule(
        name="group-config",
        metrics=("group_config_differing",),
        condition=Above(warning=1.0),
        for_seconds=MINUTE,
        text="The configuration of {value} members of the group differs ({note}): what is judged depends on who leads,"
        " and nothing is withdrawn. First bring them to one configuration.",
    ),
    Rule(
        name="group-clock",
        metrics=("group_clock_offset_seconds",),
        condition=Above(warning=1.0, absolute=True),
        for_seconds=MINUTE,
        text="The clocks of member {member} and of this host differ by {amount} (limit {limit}): after a takeover holds"
        " and silences are off by as much. First look at time synchronization on both.",
    ),
)
