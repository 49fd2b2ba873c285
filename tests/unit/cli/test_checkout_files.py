"""`hsm-agent mib`, and `hsm-agent demo` outside a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hsm_agent.cli.checkout_files import DemoError, mib_file, mib_text, run_demo


def test_the_mib_is_printed_as_it_is_or_rooted_elsewhere() -> None:
    text = mib_text(None)

    assert text == mib_file().read_text(encoding="utf-8")
    assert "HSM-AGENT-MIB DEFINITIONS ::= BEGIN" in text
    assert "99999" in mib_text("1.3.6.1.4.1.99999.1")
    with pytest.raises(ValueError, match="nonsense"):
        mib_text("nonsense")


def test_an_installed_package_has_it_below_its_prefix(tmp_path: Path) -> None:
    assert mib_file(tmp_path / "hsm_agent") == Path(sys.prefix) / "share" / "snmp" / "mibs" / "HSM-AGENT-MIB.txt"


def test_without_a_checkout_the_demonstration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="needs a source checkout"):
        run_demo(tmp_path / "hsm_agent")
