"""Zabbix's template is whole: what it names is there, in the form that Zabbix's import asks for."""

from __future__ import annotations

import re
import uuid
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hsm_agent.templates.zabbix import FILE, write
from hsm_agent.templates.zabbix.discoveries import ALL
from hsm_agent.templates.zabbix.export import TEMPLATE
from hsm_agent.wire.snmp import mib

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = ".".join(map(str, mib.BASE))
TEXT = write(BASE)[FILE]
EXPORT: dict[str, Any] = yaml.safe_load(TEXT)["zabbix_export"]
(HSM,) = EXPORT["templates"]
RULES: list[dict[str, Any]] = HSM["discovery_rules"]
ITEMS: list[dict[str, Any]] = [*HSM["items"], *chain.from_iterable(rule["item_prototypes"] for rule in RULES)]
TRIGGERS: list[dict[str, Any]] = [
    *chain.from_iterable(item.get("triggers", ()) for item in ITEMS),
    *chain.from_iterable(rule.get("trigger_prototypes", ()) for rule in RULES),
]
OBJECTS = {
    *(f"{BASE}.1.1.{scalar.number}.0" for scalar in mib.SCALARS),
    *(".".join(map(str, table.prefix(mib.BASE, column))) for table in mib.TABLES for column in table.columns),
}
_FUNCTION = re.compile(rf"\w+\(/{TEMPLATE}/((?:\[\".*?\"\]|\[[^\]\"]*\]|[^,()\[\s])+)", re.DOTALL)


def nodes(node: object) -> Iterator[dict[str, Any]]:
    """Every mapping of the file."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


def test_it_is_an_export_of_version_6_0_with_the_parts_an_import_reads() -> None:
    assert EXPORT["version"] == "6.0"
    assert set(EXPORT) == {"version", "groups", "templates", "graphs"}
    assert set(HSM) == {
        *("uuid", "template", "name", "description", "groups", "items", "discovery_rules", "tags", "macros"),
        "valuemaps",
    }
    for node in nodes(EXPORT):
        assert all(isinstance(value, str | list | dict) for value in node.values()), node


def test_identities_have_the_form_of_version_4_and_are_unique() -> None:
    found = [node["uuid"] for node in nodes(EXPORT) if "uuid" in node]

    assert len(found) > 100
    assert len(set(found)) == len(found)
    assert all(re.fullmatch("[0-9a-f]{32}", one) and uuid.UUID(one).version == 4 for one in found)


def test_identities_do_not_depend_on_where_the_mib_is_rooted() -> None:
    elsewhere = yaml.safe_load(write("1.3.6.1.4.1.99999.7")[FILE])

    assert [node.get("uuid") for node in nodes(elsewhere)] == [node.get("uuid") for node in nodes({"": EXPORT})]


def test_every_number_of_the_base_moves() -> None:
    assert "4801" not in write("1.3.6.1.4.1.99999.7")[FILE]


def test_every_oid_is_an_object_of_the_mib() -> None:
    for item in ITEMS:
        oid = item.get("snmp_oid", "")
        if oid and not oid.startswith("1.3.6.1.2.1.1."):
            assert oid.removesuffix(".{#SNMPINDEX}") in OBJECTS
    for rule in RULES:
        words = rule["snmp_oid"].removeprefix("discovery[").removesuffix("]").split(",")
        assert all(re.fullmatch(r"\{#[A-Z]+\}", word) for word in words[::2])
        assert set(words[1::2]) <= OBJECTS


def test_no_oid_has_a_user_macro_and_none_is_too_long_for_zabbix() -> None:
    oids = [node["snmp_oid"] for node in nodes(EXPORT) if "snmp_oid" in node]

    assert [oid for oid in oids if "{$" in oid or len(oid) > 512] == []


def test_a_base_that_makes_them_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="512 characters"):
        write("1.3.6.1.4.1.32473" + ".4294967295" * 5)


def test_every_polled_item_says_what_to_do_where_its_object_is_absent() -> None:
    polled = [item for item in ITEMS if item["type"] == "SNMP_AGENT" and item["key"] != "hsm.agent.uptime"]

    assert {item["preprocessing"][0]["type"] for item in polled} == {"CHECK_NOT_SUPPORTED"}


def test_triggers_and_graphs_are_of_items_that_are_there() -> None:
    keys = {item["key"] for item in ITEMS}
    graphs = [*EXPORT["graphs"], *chain.from_iterable(rule.get("graph_prototypes", ()) for rule in RULES)]

    assert len({item["key"] for item in ITEMS}) == len(ITEMS)
    for trigger in TRIGGERS:
        found = _FUNCTION.findall(trigger["expression"] + trigger.get("recovery_expression", ""))
        assert found
        assert set(found) <= keys, trigger["name"]
    for graph in graphs:
        assert {item["item"]["key"] for item in graph["graph_items"]} <= keys


def test_every_macro_is_defined_and_every_value_map_is_there() -> None:
    used = set(re.findall(r"\{\$[A-Z._]+", TEXT))

    assert used == {macro["macro"].removesuffix("}") for macro in HSM["macros"]}
    assert {item["valuemap"]["name"] for item in ITEMS if "valuemap" in item} == {
        each["name"] for each in HSM["valuemaps"]
    }


@pytest.mark.parametrize(
    "trigger", [one for one in TRIGGERS if "dependencies" in one], ids=lambda one: str(one["name"])
)
def test_a_warning_gives_way_to_the_critical_trigger(trigger: dict[str, Any]) -> None:
    (critical,) = trigger["dependencies"]

    assert critical.items() <= next(one for one in TRIGGERS if one["name"] == critical["name"]).items()


def test_rows_may_lack_only_what_an_override_then_leaves_out() -> None:
    for discovery, rule in zip(ALL, RULES, strict=True):
        wanted = [group.macro for group in discovery.groups if group.macro]
        found = [each["filter"]["conditions"][0]["macro"] for each in rule.get("overrides", ())]
        assert found == [f"{{#{macro}}}" for macro in wanted]
        for group, override in zip(
            (group for group in discovery.groups if group.macro), rule.get("overrides", ()), strict=True
        ):
            names = [f": {measure.name}" for measure in group.measures]
            assert all(name.startswith(override["operations"][0]["value"]) for name in names)


def test_the_row_of_an_alarm_that_has_gone_leaves_nothing_to_the_next_alarm_with_its_number() -> None:
    (alarms,) = (rule for rule in RULES if rule["key"] == "hsm.alarm.discovery")
    absent = {each["key"].split("[")[0]: each["preprocessing"][0] for each in alarms["item_prototypes"]}

    assert {key: step.get("error_handler_params") for key, step in absent.items()} == {
        "hsm.alarm.severity": "1", "hsm.alarm.silenced": "2", "hsm.alarm.id": "", "hsm.alarm.text": "",
    }  # fmt: skip
    for trigger in alarms["trigger_prototypes"]:
        for name in ("id", "text"):
            assert f"length(last(/{TEMPLATE}/hsm.alarm.{name}[{{#SNMPINDEX}}]))>0" in trigger["expression"]


def test_every_macro_of_a_row_is_one_that_its_discovery_brings() -> None:
    for rule in RULES:
        brought = {"SNMPINDEX", *re.findall(r"\{#([A-Z]+)\},", rule["snmp_oid"])}
        (script,) = (step["parameters"][0] for step in rule["preprocessing"])
        brought |= {"PLACE"} if "row['{#PLACE}'] = " in script else set()

        assert set(re.findall(r"\{#([A-Z]+)\}", repr({**rule, "snmp_oid": ""}))) <= brought


def test_no_name_ends_its_place_with_a_slash_where_there_is_no_resource() -> None:
    names = [node[key] for node in nodes(EXPORT) for key in ("name", "event_name") if key in node]

    assert not [name for name in names if "{#RESOURCE}" in name or "^resource: " in name]


def test_an_agent_that_is_young_when_it_is_first_seen_was_not_restarted() -> None:
    (restarted,) = (one for one in TRIGGERS if one["name"] == "Agent: was restarted")

    up = f"/{TEMPLATE}/hsm.agent.uptime"
    assert restarted["expression"] == f"last({up})<10m and max({up},#20)>last({up})"
