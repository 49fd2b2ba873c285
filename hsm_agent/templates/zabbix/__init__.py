"""Zabbix 6.0 and later: a template, as an export file to be imported.

OIDs are plain numbers: with a user macro in one, Zabbix asks each object in a packet of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.templates.zabbix import discoveries, measures, scripts
from hsm_agent.templates.zabbix.export import GROUP, TEMPLATE, Node, call, document, identity, step, tags
from hsm_agent.templates.zabbix.triggers import (
    TELL_ALARMS,
    TELL_THRESHOLDS,
    TELL_TRAPS,
    ItemState,
    about,
    notification_triggers,
)
from hsm_agent.wire.snmp.mib import parse_base

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

FILE = "hsm-agent-template.yaml"
_SYS_UP_TIME = "1.3.6.1.2.1.1.3.0"
_UNTABLED = "^(sensor_|ntls_|cloudhsm_|certificate_|declared_|canary_|ha_members_|hsm_(tampered|utilization_|storage_))"
"""Metrics that no other table shows."""

MACROS: dict[str, tuple[str, str]] = {
    measures.POLL_MACRO: ("1m", "How often values are asked."),
    measures.DISCOVERY_MACRO: ("10m", "How often rows are looked for."),
    measures.ALARM_DISCOVERY_MACRO: ("1m", "How often new alarms are looked for."),
    TELL_TRAPS: ("1", "1: the agent's traps and informs open and close problems."),
    TELL_ALARMS: ("1", "1: the agent's table of active alarms opens and closes problems."),
    TELL_THRESHOLDS: ("0", "1: Zabbix judges values by the thresholds below, besides the agent."),
    "{$HSM.READINGS}": (_UNTABLED, "Metrics of the table of readings that become items."),
}


def write(base_oid: str) -> dict[str, str]:
    """The template's file. Raises ValueError if the MIB can't be rooted at `base_oid`, or Zabbix can't take it."""
    base = parse_base(base_oid)
    group: Node = {"uuid": identity("group", GROUP), "name": GROUP}
    return {FILE: document([group], [_template(base)], [], [_graph()])}


def _template(base: Oid) -> Node:
    return {
        "uuid": identity("template"),
        "template": TEMPLATE,
        "name": TEMPLATE,
        "description": (
            "Sources, tokens, audit stores and trails, sinks and alarms of hsm-agent.\n"
            "Made by `hsm-agent templates zabbix`: a site's own base OID has a template of its own.\n"
        ),
        "groups": [{"name": GROUP}],
        "items": [*_items(base), *_trap_items(base)],
        "discovery_rules": [discoveries.rule(each, base) for each in discoveries.ALL],
        "tags": tags(**{"class": "security", "target": "hsm"}),
        "macros": _macros(),
        "valuemaps": measures.value_maps(),
    }


def _macros() -> list[Node]:
    thresholds = [each for rule in discoveries.ALL for group in rule.groups for each in group.thresholds]
    words = {"WARN": "warning level", "CRIT": "critical level", "HYST": "distance at which a level is left"}
    levels = {
        macro: (value, f"{words[macro[-5:-1]]}; a context, {threshold.context}, gives one its own".capitalize())
        for threshold in thresholds
        for macro, value in threshold.defaults.items()
    }
    named = sorted((MACROS | levels).items())
    return [{"macro": name, "value": value, "description": text} for name, (value, text) in named]


def _items(base: Oid) -> list[Node]:
    agent = about(component="agent")
    items = [measures.item(each, base, subject="Agent", component="agent") for each in measures.AGENT]
    for node in items:
        if node["key"] == "hsm.agent.polls":
            node["triggers"] = [_silent().trigger("Agent", agent)]
        if node["key"] == "hsm.agent.dropped":
            node["triggers"] = [_dropped().trigger("Agent", agent)]
    return [*items, _up_time(), _availability()]


def _silent() -> ItemState:
    return ItemState("polls nothing", f"{call('max', 'hsm.agent.polls', '15m')}=0", "HIGH", always=True)


def _dropped() -> ItemState:
    key = "hsm.agent.dropped"
    grown = f"({call('last', key)}-{call('min', key, '1h')})>0"
    return ItemState("events were dropped", grown, "WARNING", always=True)


def _up_time() -> Node:
    key = "hsm.agent.uptime"
    # Of one that was seen before: an agent that has just been added is young, too. By number, since it may have been
    # away for any time.
    fell = f"{call('last', key)}<10m and {call('max', key, '#20')}>{call('last', key)}"
    restarted = ItemState("was restarted", fell, "INFO", always=True)
    return {
        "uuid": identity("item", key),
        "name": "Agent: up for",
        "type": "SNMP_AGENT",
        "snmp_oid": _SYS_UP_TIME,
        "key": key,
        "delay": measures.POLL_MACRO,
        "history": "30d",
        "trends": "0",
        "units": "uptime",
        "preprocessing": [step("MULTIPLIER", "0.01")],
        "tags": tags(component="agent"),
        "triggers": [{**restarted.trigger("Agent", about(component="agent")), "manual_close": "YES"}],
    }


def _availability() -> Node:
    key = "zabbix[host,snmp,available]"
    gone = ItemState("does not answer by SNMP", f"{call('max', key, '5m')}=0", "HIGH", always=True)
    return {
        "uuid": identity("item", key),
        "name": "Agent: SNMP availability",
        "type": "INTERNAL",
        "key": key,
        "history": "30d",
        "trends": "0",
        "tags": tags(component="agent"),
        "triggers": [gone.trigger("Agent", about(component="agent"))],
    }


def _trap_items(base: Oid) -> list[Node]:
    alarms = _trap_item(
        "Notifications of alarms", scripts.notification_pattern(base, scripts.ALARM_KINDS),
        scripts.notification(base, alarm=True),
    )  # fmt: skip
    alarms["triggers"] = notification_triggers(str(alarms["key"]))
    others = _trap_item(
        "Tests, heartbeats and notices", scripts.notification_pattern(base, scripts.OTHER_KINDS),
        scripts.notification(base, alarm=False),
    )  # fmt: skip
    standard = (
        r"(?m)(?:snmpTrapOID|[.]1[.]1[.]4[.]1)[.]0\s.*(?:coldStart|authenticationFailure|[.]1[.]1[.]5[.][15])\s*$"
    )
    return [alarms, others, _trap_item("Cold starts and authentication failures", standard, "")]


def _trap_item(name: str, pattern: str, script: str) -> Node:
    node: Node = {
        "uuid": identity("item", name),
        "name": name,
        "type": "SNMP_TRAP",
        "key": f'snmptrap["{pattern}"]',
        "delay": "0",
        "history": "30d",
        "trends": "0",
        "value_type": "TEXT",
    }
    if script:
        node["preprocessing"] = [step("JAVASCRIPT", script)]
    node["tags"] = tags(component="notification")
    return node


def _graph() -> Node:
    keys = ("hsm.agent.alarms", "hsm.agent.spooled")
    return {
        "uuid": identity("graph", "agent"),
        "name": "Agent: alarms and waiting events",
        "graph_items": [
            {"sortorder": str(place), "color": colour, "item": {"host": TEMPLATE, "key": key}}
            for place, (key, colour) in enumerate(zip(keys, ("F63100", "2774A4"), strict=True))
        ],
    }
