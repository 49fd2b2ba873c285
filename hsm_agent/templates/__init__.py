"""What the operator's tools need to know of HSM-AGENT-MIB: templates and configuration made from the code's own tables.

A module for each tool, with `write(base_oid)`: relative path to text, all that depends on where the MIB is rooted.
`integrations/` holds what they write for the default base; a test compares.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

_MODULES = {
    "zabbix": f"{__name__}.zabbix",
    "librenms": f"{__name__}.librenms",
    "snmptt": f"{__name__}.snmptt",
    "snmp-exporter": f"{__name__}.snmp_exporter",
}
NAMES = tuple(_MODULES)
"""The tools, by the names of the verb and of the folders of `integrations/`."""


def write(name: str, base_oid: str) -> dict[str, str]:
    """The files for one tool, by relative path. Raises ValueError if the MIB can't be rooted at `base_oid`."""
    writer = cast("Callable[[str], dict[str, str]]", import_module(_MODULES[name]).write)
    return writer(base_oid)
