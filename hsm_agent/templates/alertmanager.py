"""Alertmanager: an example configuration that groups as one page what several agents say, and inhibits as the rules do.

It fits alerts of the sink `alertmanager` and those of Prometheus' rules: both are called as their rule. What tells the
senders apart is `agent` in the first and `instance` in the second; a label that is missing in both is equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.model import AGENT_SOURCE, Severity
from hsm_agent.wire.alertmanager import HEARTBEAT_ALERT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.evaluate.rules import Rule

_CONFIGURATION = """\
# Alertmanager for hsm-agent: its sink `alertmanager`, and the rules in ../prometheus. Put in receivers of your own.
route:
  receiver: operators
  # Neither agent nor instance: what two agents say of one HSM is one page, and it ends when the last of them clears.
  group_by: [alertname, source]
  group_wait: 15s
  group_interval: 1m
  repeat_interval: 4h
  routes:
  - matchers: ['alertname="{heartbeat}"'] # it comes as long as the agent lives: for a service that misses it
    receiver: dead-mans-switch
    repeat_interval: 5m
  - matchers: ['severity="critical"']
    receiver: pager
    group_wait: 5s
    repeat_interval: 1h

receivers:
- name: operators
  webhook_configs:
  - url: http://127.0.0.1:9095/operators
- name: pager
  webhook_configs:
  - url: http://127.0.0.1:9095/pager
- name: dead-mans-switch
  webhook_configs:
  - url: http://127.0.0.1:9095/heartbeat
    send_resolved: false

inhibit_rules:
{inhibitions}\
# The agent cannot be scraped: whatever Prometheus still says of its readings is old.
- source_matchers: ['alertname="agent-gone"']
  target_matchers: ['alertname!="agent-gone"']
  equal: [instance]
# A worse level of the same thing.
- source_matchers: ['severity="{critical}"']
  target_matchers: ['severity=~"{milder}"']
  equal: [alertname, agent, instance, source, resource, metric, alarm, pattern, role]
# luna-monitor.yml
- source_matchers: ['alertname="LunaMonitorDown"']
  target_matchers: ['alertname=~"HSM.*"']
  equal: [instance]
- source_matchers: ['alertname="HSMStorageCritical"']
  target_matchers: ['alertname="HSMStorageHigh"']
  equal: [instance, source, resource]
"""
_INHIBITION = """\
# inhibited_by: [{name}]
- source_matchers: ['alertname="{name}"']
  target_matchers: ['alertname!="{name}"']
  equal: [agent, instance, source]
"""


def write() -> dict[str, str]:
    """The example."""
    inhibitions = "".join(_INHIBITION.format(name=name) for name in sorted(inhibitors(DEFAULT_RULES)))
    milder = "|".join(severity.value for severity in (Severity.WARNING, Severity.INDETERMINATE))
    text = _CONFIGURATION.format(
        heartbeat=HEARTBEAT_ALERT, inhibitions=inhibitions, critical=Severity.CRITICAL.value, milder=milder
    )
    return {"alertmanager.yml": text}


def inhibitors(rules: Iterable[Rule]) -> set[str]:
    """The rules that hold back all others of their source. Raises ValueError if one holds back only some of them."""
    watched = [rule for rule in rules if rule.match.source != AGENT_SOURCE]
    found = {name for rule in watched for name in rule.inhibited_by}
    for rule in watched:
        if rule.name not in found and set(rule.inhibited_by) != found:
            raise ValueError(f"rule {rule.name} is not inhibited as the others are")
    return found
