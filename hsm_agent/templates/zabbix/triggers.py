"""Triggers: what Zabbix judges itself by thresholds, and the alarms of the agent that it shows as problems.

Three ways to be told, each with a switch among the macros, since all three at once would tell the same trouble three
times: the agent's notifications, its table of active alarms, and thresholds of Zabbix's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsm_agent.model import Severity
from hsm_agent.templates.zabbix.export import Node, call, identity, tags

TELL_TRAPS = "{$HSM.TELL.TRAPS}"
TELL_ALARMS = "{$HSM.TELL.ALARMS}"
TELL_THRESHOLDS = "{$HSM.TELL.THRESHOLDS}"

LEVELS: dict[Severity, str] = {
    Severity.CRITICAL: "HIGH",
    Severity.MAJOR: "AVERAGE",
    Severity.MINOR: "WARNING",
    Severity.WARNING: "WARNING",
    Severity.INDETERMINATE: "INFO",
}
"""Zabbix's priority of each severity."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Two levels of an item, as macros with a context, each left at a distance: hysteresis.

    Names of macros are built of `macro`; `down` is for levels that are reached from above.
    """

    name: str
    key: str
    macro: str
    warning: str
    critical: str
    hysteresis: str
    context: str
    down: bool = False
    held: str = ""
    """How long it must hold, as a period of Zabbix; empty: one value is enough."""

    def level(self, which: str) -> str:
        """The macro of a level."""
        return f'{{$HSM.{self.macro}.{which}:"{self.context}"}}'

    @property
    def defaults(self) -> dict[str, str]:
        """The macros of its levels and their values."""
        values = {"WARN": self.warning, "CRIT": self.critical, "HYST": self.hysteresis}
        return {f"{{$HSM.{self.macro}.{which}}}": value for which, value in values.items()}

    def triggers(self, subject: str, row: Node) -> list[Node]:
        """Critical, and warning that gives way to it."""
        critical = self._trigger(subject, row, "CRIT", "HIGH")
        warning = self._trigger(subject, row, "WARN", "WARNING")
        same = ("name", "expression", "recovery_expression")
        warning["dependencies"] = [{name: critical[name] for name in same}]
        return [critical, warning]

    def _trigger(self, subject: str, row: Node, which: str, priority: str) -> Node:
        reached, left = ("<=", ">") if self.down else (">=", "<")
        sign = "+" if self.down else "-"
        hardly = "max" if self.down else "min"
        now = call(hardly, self.key, self.held) if self.held else call("last", self.key)
        level, distance = self.level(which), self.level("HYST")
        word = "critical" if which == "CRIT" else "warning"
        return {
            "uuid": identity("trigger", self.key, which),
            "expression": f"{TELL_THRESHOLDS}=1 and {now}{reached}{level}",
            "recovery_mode": "RECOVERY_EXPRESSION",
            "recovery_expression": f"{TELL_THRESHOLDS}<>1 or {call('last', self.key)}{left}{level}{sign}{distance}",
            "name": f"{subject}: {self.name} ({word})",
            "opdata": "{ITEM.LASTVALUE1}",
            "priority": priority,
            **row,
        }


@dataclass(frozen=True, slots=True)
class ItemState:
    """A condition on items that is either so or not."""

    name: str
    expression: str
    priority: str
    always: bool = False
    """Whatever the switch says: nothing else would tell of it."""
    opdata: str = ""

    def trigger(self, subject: str, row: Node) -> Node:
        """Its trigger; it closes by itself."""
        expression = self.expression if self.always else f"{TELL_THRESHOLDS}=1 and {self.expression}"
        node: Node = {
            "uuid": identity("trigger", self.name, self.expression),
            "expression": expression,
            "name": f"{subject}: {self.name}",
            "priority": self.priority,
            **row,
        }
        if self.opdata:
            node["opdata"] = self.opdata
        return node


def about(**names: str) -> Node:
    """What every trigger of a row carries."""
    return {"tags": tags(**names)}


def alarm_prototypes(subject: str) -> list[Node]:
    """A problem for each active alarm at each severity, with its identity: the same tags as a notification's problem.

    It closes when the row has gone, when the severity is another, and while it is silenced. It opens once identity and
    text are those of this alarm: the values of a poll come one by one, and both are empty while the row is gone.
    """
    severity, silenced, alarm, text = (
        f"hsm.alarm.{name}[{{#SNMPINDEX}}]" for name in ("severity", "silenced", "id", "text")
    )
    return [
        {
            "uuid": identity("trigger", "active alarm", level.value),
            "expression": (
                f"{TELL_ALARMS}=1 and {call('last', severity)}={level.number} and {call('last', silenced)}<>1"
                f" and length({call('last', alarm)})>0 and length({call('last', text)})>0"
            ),
            "name": f"{subject} ({level.value})",
            "event_name": f"{subject} ({level.value}): {{ITEM.LASTVALUE4}}",
            "priority": priority,
            "tags": tags(
                alarmid="{ITEM.LASTVALUE3}", level=level.value, rule="{#RULE}", source="{#SOURCE}",
                resource="{#RESOURCE}",
            ),
        }
        for level, priority in LEVELS.items()
    ]  # fmt: skip


def _line(name: str) -> str:
    """One line of what the trap item keeps."""
    return f'{{{{ITEM.VALUE}}.regsub("(?m)^{name}: (.*)$","\\1")}}'


def notification_triggers(key: str) -> list[Node]:
    """A problem for each alarm at each severity, opened by its notification and closed by the next of the same alarm.

    Each notification opens a problem of its own (multiple mode); what is not this severity closes those whose
    tag `alarmid` it has.
    """
    return [_of_level(key, level, priority) for level, priority in LEVELS.items()]


def _of_level(key: str, level: Severity, priority: str) -> Node:
    def says(pattern: str) -> str:
        found = call("find", key, "", '"regexp"', f'"{pattern}"')
        return f"{found}=1"

    return {
        "uuid": identity("trigger", "notification", level.value),
        "expression": f"{TELL_TRAPS}=1 and {says(f'^(raised|changed) {level.value}')}",
        "recovery_mode": "RECOVERY_EXPRESSION",
        "recovery_expression": says(f"^(raised|changed|cleared) (?!{level.value})"),
        "correlation_mode": "TAG_VALUE",
        "correlation_tag": "alarmid",
        "name": f"HSM alarm by notification ({level.value})",
        "event_name": f"{_line('rule')} on {_line('place')} ({level.value}): {_line('text')}",
        "priority": priority,
        "type": "MULTIPLE",
        "manual_close": "YES",
        "tags": tags(
            alarmid=_line("alarmid"), level=level.value, rule=_line("rule"), source=_line("source"),
            resource=_line("resource"),
        ),
    }  # fmt: skip
