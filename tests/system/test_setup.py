"""scripts/setup in a checkout whose path is not a plain word: what it makes there can be started."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_STAMP = '{ cat requirements/run.txt && /usr/bin/python3 -V && pwd -P; } | sha256sum >"var/venv/.run.stamp"'


@pytest.mark.timeout(60)
def test_the_launcher_of_a_checkout_with_a_blank_and_a_quote_in_its_path_starts_the_agent(tmp_path: Path) -> None:
    checkout = tmp_path / "the bank's agent"
    for folder in ("scripts", "requirements"):
        shutil.copytree(ROOT / folder, checkout / folder)
    (checkout / "conf").mkdir()
    shutil.copy(ROOT / "conf" / "agent.yaml", checkout / "conf")
    programs = checkout / "var" / "venv" / "bin"
    programs.mkdir(parents=True)
    python = programs / "python"  # in place of an environment, which takes a minute to install
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$HSM_AGENT_TRUSTED_UIDS" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    subprocess.run(["sh", "-c", _STAMP], cwd=checkout, check=True)

    subprocess.run(["scripts/setup", "run"], cwd=checkout, check=True, capture_output=True)
    launcher = str(programs / "hsm-agent")
    untouched = {name: value for name, value in os.environ.items() if name != "HSM_AGENT_TRUSTED_UIDS"}
    said = subprocess.run([launcher, "check", "a b"], env=untouched, capture_output=True, text=True, check=True).stdout
    given = subprocess.run(
        [launcher], env={**untouched, "HSM_AGENT_TRUSTED_UIDS": ""}, capture_output=True, text=True, check=True
    ).stdout

    assert said.splitlines() == [f"{os.getuid()},{os.getuid()}", "-P", "-m", "hsm_agent", "check", "a b"]
    assert given.splitlines()[0] == "", "what the caller trusts is not widened"
