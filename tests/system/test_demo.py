"""The demonstration: it ends by itself with status 0, and says what was real."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(120)
def test_the_demonstration_shows_real_and_simulated_tokens_as_received() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "payments   real       SoftHSM: fill of its object store" in done.stdout
    assert "simulated  test module: memory and audit store of a Luna-like token" in done.stdout
    assert "simulated  snmpsim as a Luna appliance" in done.stdout
    assert "craton.log: intact: follows craton.log.1, 21 entries, craton\n  exit status 0\n" in done.stdout
    assert "forged.log: BROKEN at line 4: expected " in done.stdout
    received = done.stdout.partition("What the SNMP manager received")[2]
    for kind in ("raised", "cleared"):
        for subject in (
            "payments   token-storage",
            "signing    token-sessions",
            "root-ca    audit-fill",
            "keys       token-storage",
            "luna-b     vendor-alarm",
            "craton.log trail-chain",
        ):
            assert any(kind in line and subject in line for line in received.splitlines()), (kind, subject)
    assert "hsmTokenSessionsUsedPercent" in done.stdout
    assert "ALARM_CLEARED [alarm resource=" in done.stdout
