"""What a Zabbix export is made of: identities, preprocessing steps, and the YAML it stands in.

Names are those of Zabbix's export format of version 6.0, which every later version reads.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

Node = dict[str, object]
"""A mapping of the export file."""

TEMPLATE = "HSM by hsm-agent SNMP"
GROUP = "Templates/HSM"


def identity(*names: str) -> str:
    """A UUID of version 4's form, which Zabbix asks for, that is the same whenever it is made of the same names.

    By it an import finds what an earlier one made, and updates it. Where the MIB is rooted does not matter.
    """
    digest = hashlib.sha256("\0".join((TEMPLATE, *names)).encode()).digest()
    return uuid.UUID(bytes=digest[:16], version=4).hex


def step(kind: str, *parameters: str) -> Node:
    """A preprocessing step."""
    return {"type": kind, "parameters": list(parameters)}


def absent_as(value: str | None) -> Node:
    """The first step of an item whose object may be absent: it then takes this value, or with None no new one.

    Without it an item becomes "not supported" as soon as a row has gone.
    """
    node = step("CHECK_NOT_SUPPORTED", "")
    if value is None:
        return {**node, "error_handler": "DISCARD_VALUE"}
    return {**node, "error_handler": "CUSTOM_VALUE", "error_handler_params": value}


def unchanged_discarded(heartbeat: str) -> Node:
    """Keep a value only where it differs from the one before, or after that long."""
    return step("DISCARD_UNCHANGED_HEARTBEAT", heartbeat)


def tags(**values: str) -> list[Node]:
    """Tags of an item or a trigger, in the order given."""
    return [{"tag": name, "value": value} for name, value in values.items()]


def call(function: str, key: str, *parameters: str) -> str:
    """A function of a trigger expression over an item of the template."""
    return f"{function}({','.join((f'/{TEMPLATE}/{key}', *parameters))})"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, lists indented as Zabbix exports them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().increase_indent(flow, indentless=False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def document(
    groups: Sequence[Node], templates: Sequence[Node], triggers: Sequence[Node], graphs: Sequence[Node]
) -> str:
    """The text of an export file."""
    root = {
        "version": "6.0",
        "groups": list(groups),
        "templates": list(templates),
        "triggers": list(triggers),
        "graphs": list(graphs),
    }
    return yaml.dump(
        {"zabbix_export": {name: node for name, node in root.items() if node}},
        Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000,
    )  # fmt: skip
