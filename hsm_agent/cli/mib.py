"""`hsm-agent mib`: the MIB as a text, from the checkout or from where the wheel put it."""

from __future__ import annotations

import sys
from pathlib import Path

import hsm_agent
from hsm_agent.wire.snmp.mib_root import parse_base, rooted

PACKAGE = Path(hsm_agent.__file__).parent
FILE_NAME = "HSM-AGENT-MIB.txt"


def mib_text(base: str | None) -> str:
    """The MIB, rooted at another OID where `base` is one. ValueError for what is no OID, OSError without a file."""
    text = mib_file().read_text(encoding="utf-8")
    return text if base is None else rooted(text, parse_base(base))


def mib_file(package: Path = PACKAGE) -> Path:
    """Where the MIB lies: beside the package in a checkout, under the prefix's share/snmp/mibs when installed."""
    checkout = package.parent / "mibs" / FILE_NAME
    return checkout if checkout.exists() else Path(sys.prefix) / "share" / "snmp" / "mibs" / FILE_NAME
