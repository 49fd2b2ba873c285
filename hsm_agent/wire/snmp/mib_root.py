"""Where the MIB is rooted, and its text rooted elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

BASE: Oid = (1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 4801)
"""Where the text of the MIB is rooted: netSnmpPlaypen 4801."""

_PARENTS: tuple[tuple[str, Oid], ...] = (("enterprises", (1, 3, 6, 1, 4, 1)), ("experimental", (1, 3, 6, 1, 3)))
_MAX_SUBIDS = 64  # leaves room for tables, columns and rows below the 128 of RFC 2578 section 3.5
_MAX_SUBID = 2**32 - 1


def parse_base(text: str) -> Oid:
    """The OID of a `base_oid` or `--base`; ValueError if the MIB can't be rooted there."""
    if not re.fullmatch(r"\.?[0-9]{1,10}(\.[0-9]{1,10})*", text):
        raise ValueError(f"not an object identifier: {text!r} (write 1.3.6.1.4.1.N.M)")
    oid = tuple(int(part) for part in text.lstrip(".").split("."))
    parent = _parent(oid)
    if parent is None:
        raise ValueError(f"{text}: the base must lie below enterprises, 1.3.6.1.4.1, or experimental, 1.3.6.1.3")
    if len(oid) > _MAX_SUBIDS or max(oid) > _MAX_SUBID:
        raise ValueError(f"{text}: at most {_MAX_SUBIDS} numbers up to {_MAX_SUBID}")
    return oid


def _parent(base: Oid) -> tuple[str, Oid] | None:
    for name, prefix in _PARENTS:
        if len(base) > len(prefix) and base[: len(prefix)] == prefix:
            return name, prefix
    return None


_PLAYPEN_IMPORT = "    netSnmpPlaypen\n        FROM NET-SNMP-MIB;"
_PLAYPEN_ROOT = "    ::= { netSnmpPlaypen 4801 }\n"
_LAST_SMI_IMPORT = "    Counter64\n        FROM SNMPv2-SMI\n"


def rooted(text: str, base: Oid) -> str:
    """The MIB's text rooted at `base`, which parse_base accepted; unchanged for the base it has.

    Each number between the parent and the base becomes a named node: smilint calls a bare `{ enterprises 1 2 }`
    implicit.
    """
    if base == BASE:
        return text
    found = _parent(base)
    if found is None:
        raise ValueError("the base must lie below enterprises or experimental")
    for landmark in (_PLAYPEN_IMPORT, _PLAYPEN_ROOT, _LAST_SMI_IMPORT):
        if text.count(landmark) != 1:
            raise ValueError("not the text of HSM-AGENT-MIB: its import or its root is missing")
    name, prefix = found
    nodes = []
    for depth, number in enumerate(base[len(prefix) : -1], 1):
        nodes.append(f"\nhsmAgentRoot{depth} OBJECT IDENTIFIER ::= {{ {name} {number} }}\n")
        name = f"hsmAgentRoot{depth}"
    text = text.replace("        FROM SNMPv2-CONF\n" + _PLAYPEN_IMPORT, "        FROM SNMPv2-CONF;")
    text = text.replace(_LAST_SMI_IMPORT, _LAST_SMI_IMPORT.replace("Counter64", f"Counter64,\n    {found[0]}"))
    return text.replace(_PLAYPEN_ROOT, f"    ::= {{ {name} {base[-1]} }}\n" + "".join(nodes))
