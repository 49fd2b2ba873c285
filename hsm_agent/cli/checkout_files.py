"""Files outside the package: the MIB and the demonstration, in a checkout or where the wheel put them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hsm_agent
from hsm_agent.wire.snmp.mib import parse_base, rooted

PACKAGE = Path(hsm_agent.__file__).parent
MIB_NAME = "HSM-AGENT-MIB.txt"


class DemoError(Exception):
    """The demonstration can't be run here."""


def mib_text(base: str | None) -> str:
    """The MIB, rooted at another OID if `base` is given. Raises ValueError if it is no OID, OSError without a file."""
    text = mib_file().read_text(encoding="utf-8")
    return text if base is None else rooted(text, parse_base(base))


def mib_file(package: Path = PACKAGE) -> Path:
    """The MIB: beside the package in a checkout, below the prefix's share/snmp/mibs when installed."""
    checkout = package.parent / "mibs" / MIB_NAME
    return checkout if checkout.exists() else Path(sys.prefix) / "share" / "snmp" / "mibs" / MIB_NAME


def run_demo(package: Path = PACKAGE) -> None:
    """Replace this process by `scripts/demo`. Raises DemoError without a checkout."""
    script = package.parent / "scripts" / "demo"
    if not script.exists():
        raise DemoError("the demonstration needs a source checkout: run scripts/demo there")
    os.execv(script, [str(script)])  # noqa: S606 - a fixed script of our own, no shell
