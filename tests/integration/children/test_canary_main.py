"""The canary as a program, without a module. With one: tests/integration/test_canary_*.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SIGN = {"do": "sign", "pin": "1234", "key": {"label": "canary"}, "mechanism": "ECDSA", "data": "00"}


def run(*requests: dict[str, Any], parent: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-s", "-m", "hsm_agent.workers.canary", str(parent or os.getpid())]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, input=lines, cwd="/", env=environment, capture_output=True, text=True, check=False, timeout=20
    )


def test_a_module_that_cannot_be_loaded_is_an_answer_with_its_step() -> None:
    done = run({"do": "reach", "module": "/nonexistent.so", "token": "x"}, {"do": "end"})

    (answer,) = json.loads(done.stdout)
    assert (answer["failed"], answer["error"]) == ("C_Initialize", "PKCS11Error")
    assert (done.returncode, done.stderr) == (0, "")


def test_to_sign_before_the_token_was_reached_is_an_answer_without_the_pin() -> None:
    done = run(SIGN)

    assert json.loads(done.stdout)[0]["failed"] == "C_Login"
    assert "1234" not in done.stdout + done.stderr


def test_the_end_of_its_input_ends_it() -> None:
    assert (run().returncode, run().stdout) == (0, "")


def test_a_parent_that_is_not_its_own_is_taken_for_dead() -> None:
    done = run({"do": "reach", "module": "/nonexistent.so", "token": "x"}, parent=1)

    assert (done.returncode, done.stdout) == (0, "")
