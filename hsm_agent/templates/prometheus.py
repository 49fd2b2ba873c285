"""Prometheus: alert rules made from the default rules, with their texts, and rules that pass the agent's own alarms on.

`alerts.yml` evaluates what was scraped; `alarms.yml` takes what the agent itself has raised. One of them is loaded, not
both. In both an alert is called as its rule and carries `severity`, `source`, `resource` and `metric`, as the sink
`alertmanager` tells it: Alertmanager groups and inhibits all of them alike.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.messages import limit_of
from hsm_agent.evaluate.rules import Grows, Reaches
from hsm_agent.metrics import unit
from hsm_agent.model import AGENT_SOURCE, Severity
from hsm_agent.templates.promql import duration, expressions

if TYPE_CHECKING:
    from hsm_agent.templates.promql import Expression

_WIDTH = 118
_HEAD = """\
# {about}
# Made from the default rules of hsm-agent; change them there or in a file of your own, not here.
"""
_WHERE = "{{ $labels.source }}{{ with $labels.resource }}/{{ . }}{{ end }}"
_SHOWN = {
    "percent": '{{ printf "%.1f" $value }} %',
    "seconds": "{{ humanizeDuration $value }}",
    "bytes": "{{ humanize1024 $value }}B",
}
_SEE_THE_AGENT = "see hsm-agent status"
_ALARM = f"{{{{ $labels.metric }}}} of {_WHERE}: the agent has raised this alarm; its text is in hsm-agent status."
_HELD = "10m"
_INTERVALS = {"hsm-trends": {"interval": "4m"}}
"""Long times need no haste; below the 5m after which Prometheus no longer sees its own ALERTS."""
_FIELD = re.compile(r"\{([a-z_]+)\}")


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def write() -> dict[str, str]:
    """The files of rules that are made from the default rules."""
    alerts = "Alerts from what was scraped: the default rules as PromQL."
    alarms = "Alerts for the alarms that the agent itself has raised, with its own levels, hysteresis and histories."
    return {
        "alerts.yml": _file(alerts, _alert_groups()),
        "alarms.yml": _file(alarms, [{"name": "hsm-agent-alarms", "rules": _alarm_rules()}]),
    }


def _file(about: str, groups: list[dict[str, Any]]) -> str:
    text = yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)
    return _HEAD.format(about=about) + text


def _alert_groups() -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {"hsm": [], "hsm-trends": [], "hsm-agent": []}
    for rule in DEFAULT_RULES:
        own, slow = rule.match.source == AGENT_SOURCE, isinstance(rule.condition, Grows | Reaches)
        name = "hsm-agent" if own else "hsm-trends" if slow else "hsm"
        groups[name] += [alert(each) for each in expressions(rule)]
    groups["hsm-agent"].append(_unknown())
    return [{"name": name, **_INTERVALS.get(name, {}), "rules": rules} for name, rules in groups.items()]


def _unknown() -> dict[str, Any]:
    """No rule fires on a reading that is gone; the agent says of which alarms it does not know."""
    unknown = Severity.INDETERMINATE.value
    described = (
        f"{{{{ $labels.metric }}}} of {_WHERE} has no value, so {{{{ $labels.rule }}}} is not known: {_SEE_THE_AGENT}."
    )
    return _alarm("reading-unknown", f'hsm_alarm_active{{severity="{unknown}"}}', described)


def alert(expression: Expression) -> dict[str, Any]:
    """One alerting rule."""
    rule = expression.rule
    annotations = {"summary": f"{rule.name}: {_WHERE}", "description": _description(expression)}
    if rule.runbook:
        annotations["runbook_url"] = rule.runbook
    lasting = {"for": duration(expression.for_seconds)} if expression.for_seconds else {}
    return {
        "alert": rule.name,
        "expr": expression.text,
        **lasting,
        "labels": {"severity": expression.severity.value, "metric": expression.metric},
        "annotations": annotations,
    }


def _description(expression: Expression) -> str:
    """The rule's text, its fields as Prometheus' templates."""
    rule, metric = expression.rule, expression.metric
    _, limit = limit_of(rule.condition, expression.severity, metric, None)
    fields = {
        "where": _WHERE,
        "metric": metric,
        "value": "{{ $value }}",
        "amount": _SHOWN.get(unit(metric), f'{{{{ printf "%.4g" $value }}}} {unit(metric)}'.rstrip()),
        "limit": limit if limit != "no value" else "its own",
        "note": expression.note or ("{{ $labels.alarm }}" if rule.name == "vendor-alarm" else _SEE_THE_AGENT),
    }
    return _FIELD.sub(lambda found: fields.get(found[1], f"{{{{ $labels.{found[1]} }}}}"), rule.text)


def _alarm_rules() -> list[dict[str, Any]]:
    names = [rule.name for rule in DEFAULT_RULES]
    others = f'hsm_alarm_active{{rule!~"{"|".join(names)}"}}'
    known = [_alarm(name, f'hsm_alarm_active{{rule="{name}"}}') for name in names]
    return [*known, _alarm("hsm-alarm", others)]


def _alarm(name: str, alarms: str, described: str = _ALARM) -> dict[str, Any]:
    """An alert for alarms of the agent. While that cannot be scraped, those that were on stay: nobody has cleared them.

    Until `agent-gone` fires, and a while longer. `keep_firing_for` would put off every end; vmalert 1.79 refuses it.
    """
    held = f"last_over_time({alarms}[{_HELD}]) and on (job, instance) up == 0"
    firing = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
    expression = f"{alarms}\nor {held}\n  and ignoring (alertname, alertstate) {firing}"
    annotations = {"summary": f"{{{{ $labels.rule }}}}: {_WHERE}", "description": described}
    return {"alert": name, "expr": expression, "annotations": annotations}
