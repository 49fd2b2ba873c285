"""LibreNMS's discovery and polling by YAML, as far as our definition needs it, with net-snmp and LibreNMS's own flags.

Written from what LibreNMS's YAML discovery does; none of its code is here. It walks each `oid` with the MIB, `-OteQUsa`
and hints off, fills templates from all walks, skips, divides; and polls in numbers without any MIB. The result has the
form of LibreNMS's own expected values (`tests/data` there).
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

_LINE = re.compile(r'^(\w+)\.(\S+) = "?(.*?)"?$', re.MULTILINE)
_TEMPLATE = re.compile(r"{{ \$?(\w+) }}")
_POLLED = re.compile(r"^(\.[0-9.]+) = (.*)$", re.MULTILINE)
_LIMITS = {
    "sensor_limit": "high_limit",
    "sensor_limit_warn": "warn_limit",
    "sensor_limit_low": "low_limit",
    "sensor_limit_low_warn": "low_warn_limit",
}


def _wanted(modules: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The flags of each walk: the first that names an oid decides."""
    sensors = modules["sensors"]
    entries = [entry for kind in sensors.values() for entry in kind["data"]] + modules["storage"]["data"]
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


def storage(os_name: str, modules: Mapping[str, Any], walks: Walks) -> list[dict[str, Any]]:
    """Storages, with what is used, free and the share worked out as LibreNMS does."""
    found = []
    for entry, index, value in _rows(modules["storage"]["data"], walks):
        size = int(value)
        if (free_column := entry.get("free")) is not None:
            free = int(walks[free_column][index])
            used = size - free
        else:
            used = int(walks[entry["used"]][index])
            free = size - used
        found.append(
            {
                "type": os_name,
                "storage_index": _filled(entry["index"], index, walks),
                "storage_type": entry["type"],
                "storage_descr": _filled(entry["descr"], index, walks),
                "storage_size": size,
                "storage_size_oid": _filled(entry["size_num_oid"], index, walks),
                "storage_units": entry["units"],
                "storage_used": used,
                "storage_used_oid": _oid(entry, "used_num_oid", index, walks),
                "storage_free": free,
                "storage_free_oid": _oid(entry, "free_num_oid", index, walks),
                "storage_perc": round(used / size * 100) if size else 0,
                "storage_perc_oid": None,
                "storage_perc_warn": entry["warn_percent"],
            }
        )
    return sorted(found, key=lambda one: (str(one["type"]), str(one["storage_index"])))


def _oid(entry: dict[str, Any], key: str, index: str, walks: Walks) -> str | None:
    return _filled(entry[key], index, walks) if key in entry else None


async def poll(manager: NetSnmp, oids: list[str]) -> dict[str, str]:
    """The values of these names, as LibreNMS polls them: numbers, no MIB. `manager` has none loaded."""
    said = await manager.run("snmpget", "-OUQnte", *oids)
    assert (said.code, said.err) == (0, "")
    return dict(_POLLED.findall(said.out))
