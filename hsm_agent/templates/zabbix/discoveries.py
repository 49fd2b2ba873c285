"""Discovery rules: a row of the MIB's tables becomes items, triggers and graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.serve.snapshot import TokenStatus
from hsm_agent.templates.objects import oid_of
from hsm_agent.templates.zabbix import measures, scripts
from hsm_agent.templates.zabbix.export import TEMPLATE, Node, call, identity, step
from hsm_agent.templates.zabbix.triggers import ItemState, Threshold, about, alarm_prototypes

if TYPE_CHECKING:
    from hsm_agent.templates.zabbix.measures import Measure
    from hsm_agent.wire.snmp.ber import Oid

_MAX_OID_CHARACTERS = 512
"""Of the field snmp_oid in Zabbix's database."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph of some items of a row; `fixed` shows it from 0 to 100."""

    name: str
    keys: tuple[str, ...]
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class ItemGroup:
    """Items of a row, with triggers and graphs on them; left out where the row has no `macro`, if one is named."""

    measures: tuple[Measure, ...]
    macro: str = ""
    name: str = ""
    """A word that the names of all that it makes begin with behind the subject, if it may be left out."""
    thresholds: tuple[Threshold, ...] = ()
    states: tuple[ItemState, ...] = ()
    graphs: tuple[Graph, ...] = ()


@dataclass(frozen=True, slots=True)
class Discovery:
    """One rule: the macros it takes from columns, and what is made of each row."""

    name: str
    key: str
    component: str
    subject: str
    macros: dict[str, str]
    groups: tuple[ItemGroup, ...]
    tags: dict[str, str]
    delay: str = measures.DISCOVERY_MACRO
    lifetime: str = "30d"
    keeps: str = ""
    filter: tuple[str, str] = ("", "")
    """A macro and the pattern it must match."""
    prototypes: tuple[Node, ...] = ()
    """Triggers of a kind of their own."""


def _used(what: str, key: str, macro: str, context: str, levels: tuple[str, str], *, held: str = "") -> Threshold:
    return Threshold(what, f"hsm.{key}[{{#SNMPINDEX}}]", macro, *levels, "5", context, held=held)


def _row(key: str) -> str:
    return call("last", f"hsm.{key}[{{#SNMPINDEX}}]")


def _grown(key: str, period: str) -> str:
    """A total rose within a period; a restart, which sets it back, is no growth."""
    return f"({call('last', f'hsm.{key}[{{#SNMPINDEX}}]')}-{call('min', f'hsm.{key}[{{#SNMPINDEX}}]', period)})>0"


_OF_SOURCE = {"source": "{#SOURCE}"}
_OF_RESOURCE = {"source": "{#SOURCE}", "resource": "{#RESOURCE}"}
_PLACE = "{#PLACE}"
"""Made by the script: what is of a whole source has no resource."""

SOURCES = Discovery(
    "Sources", "source", "source", "Source {#SOURCE}",
    {"SOURCE": "hsmSourceName", "KIND": "hsmSourceKind"},
    (
        ItemGroup(
            measures.SOURCE,
            thresholds=(
                Threshold(
                    "is old", "hsm.source.age[{#SNMPINDEX}]", "SOURCE.AGE", "5m", "15m", "1m", "{#SOURCE}",
                ),
            ),
            states=(
                ItemState("is down", f"{_row('source.status')}=4", "HIGH"),
                ItemState("answers in part", f"{_row('source.status')}=3", "WARNING"),
            ),
            graphs=(Graph("polls", ("source.poll",)),),
        ),
    ),
    _OF_SOURCE,
)  # fmt: skip

TOKENS = Discovery(
    "Tokens", "token", "token", f"Token {_PLACE}",
    {
        "SOURCE": "hsmTokenSource", "RESOURCE": "hsmTokenResource", "NAME": "hsmTokenName", "STATUS": "hsmTokenStatus",
        "MEMORY": "hsmTokenPrivateMemoryUsedPercent", "SESSIONS": "hsmTokenSessions", "OBJECTS": "hsmTokenObjects",
        "STORAGE": "hsmTokenStorageUsedPercent",
    },
    (
        ItemGroup(
            measures.TOKEN,
            states=(
                ItemState("is absent", f"{_row('token.status')}=3", "HIGH"),
                ItemState("cannot be read", f"{_row('token.status')}=5", "HIGH"),
                ItemState("PIN is locked", f"{_row('token.pin')}=5", "HIGH"),
                ItemState("PIN was entered wrongly", f"({_row('token.pin')}=3 or {_row('token.pin')}=4)", "WARNING"),
                ItemState("security officer's PIN is locked", f"{_row('token.so_pin')}=5", "HIGH"),
            ),
        ),
        ItemGroup(
            measures.TOKEN_MEMORY, "MEMORY", "private memory",
            thresholds=(_used("private memory used", "token.memory.used", "TOKEN.MEMORY", "{#NAME}", ("75", "90")),),
            graphs=(
                Graph("private memory used", ("token.memory.used",), fixed=True),
                Graph("private memory", ("token.memory.total", "token.memory.free")),
            ),
        ),
        ItemGroup(
            measures.TOKEN_SESSIONS, "SESSIONS", "sessions",
            thresholds=(
                _used("sessions used", "token.sessions.used", "TOKEN.SESSIONS", "{#NAME}", ("80", "95"), held="10m"),
            ),
            graphs=(Graph("sessions", ("token.sessions", "token.sessions.rw")),),
        ),
        ItemGroup(
            measures.TOKEN_OBJECTS, "OBJECTS", "objects",
            graphs=(Graph("objects", ("token.objects",)),),
        ),
        ItemGroup(
            measures.TOKEN_STORAGE, "STORAGE", "storage",
            thresholds=(
                _used("storage used", "token.storage.used", "TOKEN.STORAGE", "{#NAME}", ("80", "95"), held="5m"),
            ),
            graphs=(Graph("storage used", ("token.storage.used",), fixed=True),),
        ),
    ),
    {**_OF_RESOURCE, "token": "{#NAME}"},
    # SoftHSM shows an uninitialized slot beside its tokens, with another number each time.
    keeps=f"row['{{#STATUS}}'] !== '{TokenStatus.UNINITIALIZED.value}'",
)  # fmt: skip

AUDIT_STORES = Discovery(
    "Audit stores and trails", "audit", "audit", f"Audit {_PLACE}",
    {
        "SOURCE": "hsmAuditSource", "RESOURCE": "hsmAuditResource", "USED": "hsmAuditUsedPercent",
        "EVENTS": "hsmAuditEvents",
    },
    (
        ItemGroup(
            measures.AUDIT_STORE, "USED", "store",
            thresholds=(
                _used("store used", "audit.used", "AUDIT.USED", "{#RESOURCE}", ("50", "80")),
                Threshold(
                    "store is soon full", "hsm.audit.to_full[{#SNMPINDEX}]", "AUDIT.TO_FULL", "24h", "1h", "10m",
                    "{#RESOURCE}", down=True,
                ),
            ),
            graphs=(
                Graph("store used", ("audit.used",), fixed=True),
                Graph("store records", ("audit.records",)),
            ),
        ),
        ItemGroup(
            measures.AUDIT_TRAIL, "EVENTS", "trail",
            states=(ItemState("trail chain is broken", f"{_row('audit.chain')}=3", "HIGH"),),
            graphs=(Graph("trail events", ("audit.events",)),),
        ),
    ),
    _OF_RESOURCE,
)  # fmt: skip

SINKS = Discovery(
    "Sinks", "sink", "sink", "Sink {#SINK}",
    {"SINK": "hsmSinkName", "KIND": "hsmSinkKind"},
    (
        ItemGroup(
            measures.SINK,
            states=(
                ItemState("is refused", f"{_row('sink.status')}=4", "WARNING"),
                ItemState("is not reached", f"{call('min', 'hsm.sink.status[{#SNMPINDEX}]', '5m')}=3", "WARNING"),
                ItemState("events were dropped", _grown("sink.dropped", "1h"), "WARNING", always=True),
            ),
            graphs=(Graph("events waiting", ("sink.queued",)),),
        ),
    ),
    {"sink": "{#SINK}"},
)  # fmt: skip

_ALARM_SUBJECT = f"{{#RULE}} on {_PLACE}"

ALARMS = Discovery(
    "Active alarms", "alarm", "alarm", f"Alarm {_ALARM_SUBJECT}",
    {
        "SOURCE": "hsmActiveSource", "RESOURCE": "hsmActiveResource", "METRIC": "hsmActiveMetric",
        "RULE": "hsmActiveRule",
    },
    (ItemGroup(measures.ALARM),),
    _OF_RESOURCE,
    delay=measures.ALARM_DISCOVERY_MACRO, lifetime="1d",
    prototypes=tuple(alarm_prototypes(_ALARM_SUBJECT)),
)  # fmt: skip

READINGS = Discovery(
    "Readings", "reading", "reading", f"Reading {_PLACE} {{#METRIC}}",
    {
        "SOURCE": "hsmReadingSource", "RESOURCE": "hsmReadingResource", "METRIC": "hsmReadingMetric",
        "UNIT": "hsmReadingUnit", "LABELS": "hsmReadingLabels",
    },
    (ItemGroup(measures.READING),),
    {**_OF_RESOURCE, "metric": "{#METRIC}"},
    filter=("METRIC", "{$HSM.READINGS}"),
)  # fmt: skip

ALL = (SOURCES, TOKENS, AUDIT_STORES, SINKS, ALARMS, READINGS)


def rule(discovery: Discovery, base: Oid) -> Node:
    """A discovery rule. Raises ValueError where the base is too long for Zabbix."""
    pairs = (f"{{#{macro}}},{oid_of(base, column)}" for macro, column in discovery.macros.items())
    oid = f"discovery[{','.join(pairs)}]"
    if len(oid) > _MAX_OID_CHARACTERS:
        raise ValueError(
            f"the base is too long: Zabbix takes {_MAX_OID_CHARACTERS} characters of OIDs in a discovery rule"
        )
    node: Node = {
        "uuid": identity("discovery", discovery.key),
        "name": discovery.name,
        "type": "SNMP_AGENT",
        "snmp_oid": oid,
        "key": f"hsm.{discovery.key}.discovery",
        "delay": discovery.delay,
    }
    macro, pattern = discovery.filter
    if macro:
        condition = {"macro": f"{{#{macro}}}", "value": pattern, "formulaid": "A"}
        node["filter"] = {"evaltype": "AND", "conditions": [condition]}
    node["lifetime"] = discovery.lifetime
    node["item_prototypes"] = [
        {**measures.item(each, base, subject=discovery.subject, component=discovery.component), **_tags(discovery)}
        for group in discovery.groups
        for each in group.measures
    ]
    triggers = [*_triggers(discovery), *discovery.prototypes]
    graphs = [_graph(discovery, graph) for group in discovery.groups for graph in group.graphs]
    overrides = _overrides(discovery)
    made = {"trigger_prototypes": triggers, "graph_prototypes": graphs}
    node.update({name: nodes for name, nodes in made.items() if nodes})
    node["preprocessing"] = [step("JAVASCRIPT", scripts.discovery(discovery.macros, keeps=discovery.keeps))]
    return {**node, "overrides": overrides} if overrides else node


def _tags(discovery: Discovery) -> Node:
    return about(component=discovery.component, **discovery.tags)


def _triggers(discovery: Discovery) -> list[Node]:
    row = about(**discovery.tags)
    found: list[Node] = []
    for group in discovery.groups:
        for threshold in group.thresholds:
            found += threshold.triggers(discovery.subject, row)
        found += [state.trigger(discovery.subject, row) for state in group.states]
    return found


_COLOURS = ("1A7C11", "F63100", "2774A4")


def _graph(discovery: Discovery, graph: Graph) -> Node:
    node: Node = {"uuid": identity("graph", discovery.key, graph.name), "name": f"{discovery.subject}: {graph.name}"}
    if graph.fixed:
        node |= {"ymin_type_1": "FIXED", "ymax_type_1": "FIXED"}
    node["graph_items"] = [
        {
            "sortorder": str(place),
            "color": _COLOURS[place],
            "item": {"host": TEMPLATE, "key": f"hsm.{key}[{{#SNMPINDEX}}]"},
        }
        for place, key in enumerate(graph.keys)
    ]
    return node


def _overrides(discovery: Discovery) -> list[Node]:
    """For each group that a row may lack: then nothing of it is made."""
    groups = [group for group in discovery.groups if group.macro]
    return [
        {
            "name": f"no {group.name}",
            "step": str(place),
            "filter": {"conditions": [{"macro": f"{{#{group.macro}}}", "value": "^$", "formulaid": "A"}]},
            "operations": [
                {
                    "operationobject": what,
                    "operator": "LIKE",
                    "value": f": {group.name}",
                    "discover": "NO_DISCOVER",
                }
                for what in ("ITEM_PROTOTYPE", "TRIGGER_PROTOTYPE", "GRAPH_PROTOTYPE")
            ],
        }
        for place, group in enumerate(groups, 1)
    ]
