"""Prometheus's snmp_exporter: what its generator is told, and what that makes of the MIB.

The agent has `/metrics` of its own; this is for where only SNMP gets through. Without overrides a level on Counter64
would be taken for a counter, and each text would be a series of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from hsm_agent.templates.objects import dotted, oid_of, words_of
from hsm_agent.wire.snmp import mib
from hsm_agent.wire.snmp.mib import Syntax, parse_base

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.mib import Column, Table

MODULE = "hsm_agent"
_LABELS: dict[str, tuple[str, ...]] = {
    "hsmSource": ("hsmSourceName",),
    "hsmToken": ("hsmTokenSource", "hsmTokenResource", "hsmTokenName"),
    "hsmAudit": ("hsmAuditSource", "hsmAuditResource"),
    "hsmActive": ("hsmActiveRule", "hsmActiveSource", "hsmActiveResource"),
    "hsmSink": ("hsmSinkName",),
    "hsmMember": ("hsmMemberName",),
}
"""The tables that are walked, and the text columns that become labels of the others. Readings are text."""
_SHOWN_TEXTS = ("hsmAgentVersion", "hsmAgentName", "hsmTokenSerial", "hsmTokenModel", "hsmTokenFirmware")
"""Texts that are series of their own, of value 1; all others are left out."""
_TYPES = {Syntax.TEXT: "DisplayString", Syntax.COUNTER64: "counter", Syntax.DATE: "DateAndTime"}
_TABLES = tuple(table for table in mib.TABLES if table.name in _LABELS)

_AUTH = {
    "security_level": "authPriv",
    "username": "nms",
    "password": "AUTHENTICATION PASS-PHRASE",
    "auth_protocol": "SHA256",
    "priv_protocol": "AES",
    "priv_password": "PRIVACY PASS-PHRASE",
}
_GENERATOR_HEAD = (
    "# For snmp_exporter's generator, of any version; `hsm-agent mib` is the MIB. Credentials go into its output.\n"
)
_HEAD = "# What the generator makes of generator.yml, for snmp_exporter {versions}. Fill in user and pass-phrases.\n"


def write(base_oid: str) -> dict[str, str]:
    """The generator's file, and what it makes: two forms, for version 0.23 moved the credentials out of the module."""
    base = parse_base(base_oid)
    module = _module(base)
    new = {"auths": {MODULE: {"version": 3, **_AUTH}}, "modules": {MODULE: module}}
    old = {MODULE: {**module, "version": 3, "auth": _AUTH}}
    return {
        "generator.yml": _GENERATOR_HEAD + _dump({"modules": {MODULE: _generator()}}),
        "snmp.yml": _HEAD.format(versions="from 0.23 on") + _dump(new),
        "snmp-0.22.yml": _HEAD.format(versions="up to 0.22") + _dump(old),
    }


def _dump(tree: dict[str, Any]) -> str:
    return yaml.safe_dump(tree, sort_keys=False, width=120)


def _is_shown(column: Column) -> bool:
    return column.syntax is not Syntax.TEXT or column.name in _SHOWN_TEXTS


def _columns() -> list[Column]:
    return [*mib.SCALARS, *(column for table in _TABLES for column in table.columns)]


def _generator() -> dict[str, Any]:
    gauges = {column.name: {"type": "gauge"} for column in _columns() if column.syntax is Syntax.GAUGE64}
    hidden = [f"{table.name}Index" for table in _TABLES] + [one.name for one in _columns() if not _is_shown(one)]
    return {
        "walk": ["hsmAgentScalars", *(f"{table.name}Table" for table in _TABLES)],
        "lookups": [
            {"source_indexes": [f"{table.name}Index"], "lookup": name}
            for table in _TABLES
            for name in _LABELS[table.name]
        ],
        "overrides": {**gauges, **{name: {"ignore": True} for name in hidden}},
    }


def _module(base: Oid) -> dict[str, Any]:
    scalars = [_metric(base, scalar) for scalar in mib.SCALARS if _is_shown(scalar)]
    columns = [
        _metric(base, column) | _labelled(base, table)
        for table in _TABLES
        for column in table.columns
        if _is_shown(column)
    ]
    walked = [dotted((*base, 1, 1)), *(dotted((*base, 1, table.arc)) for table in _TABLES)]
    return {"walk": walked, "metrics": [_ordered(metric) for metric in (*scalars, *columns)]}


def _metric(base: Oid, column: Column) -> dict[str, Any]:
    oid = oid_of(base, column.name)
    metric: dict[str, Any] = {
        "name": column.name,
        "oid": oid,
        "type": _TYPES.get(column.syntax, "gauge"),
        "help": f"{column.name} of HSM-AGENT-MIB - {oid}",
    }
    words = words_of(column)
    return metric | ({"enum_values": words} if words else {})


def _ordered(metric: dict[str, Any]) -> dict[str, Any]:
    """As the generator writes them: words of enumerations last."""
    words = metric.pop("enum_values", None)
    return metric if words is None else {**metric, "enum_values": words}


def _labelled(base: Oid, table: Table) -> dict[str, Any]:
    index = f"{table.name}Index"
    return {
        "indexes": [{"labelname": index, "type": "gauge"}],
        "lookups": [
            {"labels": [index], "labelname": name, "oid": oid_of(base, name), "type": "DisplayString"}
            for name in _LABELS[table.name]
        ],
    }
