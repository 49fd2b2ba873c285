"""scripts/setup where a checkout may lie: a path that is not a plain word, a folder that others can write."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_STAMP = '{ cat requirements/run.txt && /usr/bin/python3 -V && pwd -P; } | sha256sum >"var/venv/.run.stamp"'


def _checkout(path: Path) -> Path:
    """As much of a checkout as scripts/setup needs, its environment a program that shows what it was given."""
    for folder in ("scripts", "requirements"):
        shutil.copytree(ROOT / folder, path / folder)
    (path / "conf").mkdir()
    shutil.copy(ROOT / "conf" / "agent.yaml", path / "conf")
    python = path / "var" / "venv" / "bin" / "python"  # in place of an environment, which takes a minute to install
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$HSM_AGENT_TRUSTED_UIDS" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    subprocess.run(["sh", "-c", _STAMP], cwd=path, check=True)
    return path


@pytest.mark.timeout(60)
def test_a_checkout_below_a_folder_that_others_can_write_is_told_before_anything_starts(tmp_path: Path) -> None:
    checkout = _checkout(tmp_path / "open" / "checkout")
    checkout.parent.chmod(0o777)

    def set_up() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["scripts/setup", "run"], cwd=checkout, check=False, capture_output=True, text=True)

    refused = set_up()
    assert refused.returncode == 1
    assert f"{checkout.parent} can be written by others" in refused.stderr
    assert f"run: chmod o-w {checkout.parent}" in refused.stderr

    checkout.parent.chmod(0o1777)
    assert set_up().returncode == 0, "sticky, as /tmp"


@pytest.mark.timeout(60)
def test_the_launcher_of_a_checkout_with_a_blank_and_a_quote_in_its_path_starts_the_agent(tmp_path: Path) -> None:
    checkout = _checkout(tmp_path / "the bank's agent")
    subprocess.run(["scripts/setup", "run"], cwd=checkout, check=True, capture_output=True)
    launcher = str(checkout / "var" / "venv" / "bin" / "hsm-agent")
    untouched = {name: value for name, value in os.environ.items() if name != "HSM_AGENT_TRUSTED_UIDS"}
    said = subprocess.run([launcher, "check", "a b"], env=untouched, capture_output=True, text=True, check=True).stdout
    given = subprocess.run(
        [launcher], env={**untouched, "HSM_AGENT_TRUSTED_UIDS": ""}, capture_output=True, text=True, check=True
    ).stdout

    assert said.splitlines() == [f"{os.getuid()},{os.getuid()}", "-P", "-m", "hsm_agent", "check", "a b"]
    assert given.splitlines()[0] == "", "what the caller trusts is not widened"
