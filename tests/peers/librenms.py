"""LibreNMS's discovery and polling by YAML, as far as our definition needs it, with net-snmp and LibreNMS's own flags.

Written from what LibreNMS's YAML discovery does; none of its code is here. It walks each `oid` with the MIB, `-OteQUsa`
and hints off, fills templates from all walks, skips, divides; and polls in numbers without any MIB. Its newer modules,
storage among them, walk tables by themselves with other flags. The result has the form of LibreNMS's own expected
values (`tests/data` there).
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.peers.netsnmp import NetSnmp

Walks = dict[str, dict[str, str]]
"""Values by index, by the name that was walked."""
Rows = dict[str, dict[str, str]]
"""A table: values by whole name, by index."""

_LINE = re.compile(r'^(\w+)\.(\S+) = "?(.*?)"?$', re.MULTILINE)
_TEMPLATE = re.compile(r"{{ \$?(\w+) }}")
_CELL = re.compile(r"^(\S+)\[(\S+)\] = (.*)$", re.MULTILINE)
_WHOLE_NAME = re.compile(r"{{ ([\w-]+::\w+) }}")
_POLLED = re.compile(r"^(\.[0-9.]+) = (.*)$", re.MULTILINE)
_LIMITS = {
    "sensor_limit": "high_limit",
    "sensor_limit_warn": "warn_limit",
    "sensor_limit_low": "low_limit",
    "sensor_limit_low_warn": "low_warn_limit",
}


def _wanted(modules: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The flags of each walk: the first that names an oid decides."""
    entries = [entry for kind in modules["sensors"].values() for entry in kind["data"]]
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        flags = (entry.get("snmp_flags", "-OteQUsa"), *(() if "snmp_no_Ih_flag" in entry else ("-Ih",)))
        for oid in [entry["oid"]] if isinstance(entry["oid"], str) else entry["oid"]:
            found.setdefault(oid, flags)
    return found


async def walk(manager: NetSnmp, modules: Mapping[str, Any]) -> Walks:
    """Everything that the definition names."""

    async def one(oid: str, flags: tuple[str, ...]) -> dict[str, str]:
        said = await manager.run("snmpbulkwalk", *flags, oid)
        assert said.err == "", said
        return {index: value for name, index, value in _LINE.findall(said.out) if name == oid}

    wanted = _wanted(modules)
    return dict(zip(wanted, await asyncio.gather(*(one(*each) for each in wanted.items())), strict=True))


def _filled(template: str, index: str, walks: Walks) -> str:
    def value(match: re.Match[str]) -> str:
        return index if match[1] == "index" else walks[match[1]][index]

    return _TEMPLATE.sub(value, template)


def _skipped(entry: Mapping[str, Any], index: str, value: str, walks: Walks) -> bool:
    for skip in entry.get("skip_values", ()):
        if isinstance(skip, dict):
            assert skip["op"] == "="
            if walks[skip["oid"]].get(index) == str(skip["value"]):
                return True
        elif value == str(skip):
            return True
    return False


def _rows(entries: list[dict[str, Any]], walks: Walks) -> Iterator[tuple[dict[str, Any], str, str]]:
    for entry in entries:
        for index, value in walks[entry["oid"]].items():
            if not _skipped(entry, index, value, walks):
                yield entry, index, value


def _number(text: str, divisor: int = 1) -> float | int:
    value = int(text) / divisor
    return int(value) if value == int(value) else value


def _sensor(os_name: str, kind: str, entry: dict[str, Any], index: str, value: str, walks: Walks) -> dict[str, Any]:
    divisor = entry.get("divisor", 1)
    return {
        "sensor_deleted": 0,
        "sensor_class": kind,
        "poller_type": "snmp",
        "sensor_oid": _filled(entry["num_oid"], index, walks),
        "sensor_index": _filled(entry["index"], index, walks),
        "sensor_type": entry.get("state_name", os_name),
        "sensor_descr": _filled(entry["descr"], index, walks),
        "group": None,
        "sensor_divisor": divisor,
        "sensor_multiplier": 1,
        "sensor_current": _number(value, divisor),
        **{field: entry.get(limit) for field, limit in _LIMITS.items()},
        "sensor_alert": 1,
        "sensor_custom": "No",
        "entPhysicalIndex": None,
        "entPhysicalIndex_measured": None,
        "sensor_prev": None,
        "user_func": None,
        "rrd_type": "GAUGE",
        "state_name": entry.get("state_name"),
    }


def sensors(os_name: str, modules: Mapping[str, Any], walks: Walks) -> list[dict[str, Any]]:
    """The sensors that are discovered."""
    found = [
        _sensor(os_name, kind, *row, walks)
        for kind, definition in modules["sensors"].items()
        if kind != "additional_oids"
        for row in _rows(definition["data"], walks)
    ]
    return sorted(found, key=lambda one: (one["sensor_class"], one["sensor_oid"], one["sensor_index"]))


def state_indexes(modules: Mapping[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The states of those sensors that are states."""
    used = {sensor["state_name"] for sensor in found}
    return [
        {
            "state_name": entry["state_name"],
            "state_descr": state["descr"],
            "state_draw_graph": state["graph"],
            "state_value": state["value"],
            "state_generic_value": state["generic"],
        }
        for entry in sorted(modules["sensors"]["state"]["data"], key=lambda each: str(each["state_name"]))
        if entry["state_name"] in used
        for state in entry["states"]
    ]


async def table(manager: NetSnmp, oid: str) -> Rows:
    """A table as the newer modules walk it: whole names, hints, words for enumerations."""
    said = await manager.run("snmpbulkwalk", "-OQXUt", oid)
    assert said.err == "", said
    rows: Rows = {}
    for name, index, value in _CELL.findall(said.out):
        rows.setdefault(index, {})[name] = value
    return rows


async def storage(manager: NetSnmp, os_name: str, modules: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Storages, with what is used, free and the share worked out. Rows without a value to poll are none."""
    found = []
    for entry in modules["storage"]["data"]:
        for index, row in (await table(manager, entry["oid"])).items():
            skipped = any(row.get(skip["oid"]) == skip["value"] for skip in entry["skip_values"])
            polled = "used" if "used" in entry else "free"
            if not skipped and entry[polled] in row:
                found.append(_storage(os_name, entry, index, row, polled))
    return sorted(found, key=lambda one: (str(one["type"]), str(one["storage_index"])))


def _storage(os_name: str, entry: dict[str, Any], index: str, row: dict[str, str], polled: str) -> dict[str, Any]:
    size, value = int(row[entry["size"]]), int(row[entry[polled]])
    used = value if polled == "used" else size - value
    oid = entry[f"{polled}_num_oid"].replace("{{ $index }}", index)
    return {
        "type": os_name,
        "storage_index": entry["index"].replace("{{ $index }}", index),
        "storage_type": entry["type"],
        "storage_descr": _WHOLE_NAME.sub(lambda match: row[match[1]], entry["descr"]),
        "storage_size": size,
        "storage_size_oid": None,
        "storage_units": entry["units"],
        "storage_used": used,
        "storage_used_oid": oid if polled == "used" else None,
        "storage_free": size - used,
        "storage_free_oid": oid if polled == "free" else None,
        "storage_perc": round(used / size * 100) if size else 0,
        "storage_perc_oid": None,
        "storage_perc_warn": entry["warn_percent"],
    }


async def poll(manager: NetSnmp, oids: list[str]) -> dict[str, str]:
    """The values of these names, as LibreNMS polls them: numbers, no MIB. `manager` has none loaded."""
    said = await manager.run("snmpget", "-OUQnte", *oids)
    assert (said.code, said.err) == (0, "")
    return dict(_POLLED.findall(said.out))
