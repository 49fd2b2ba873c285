"""The worker as a program, without a module. With one: tests/integration/test_pkcs11_*.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.workers import SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def page() -> Iterator[int]:
    descriptor = os.memfd_create("page")
    os.ftruncate(descriptor, SIZE)
    yield descriptor
    os.close(descriptor)


def _run(page: int, *requests: dict[str, Any], parent: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", "-m", "hsm_agent.workers.pkcs11", str(parent or os.getpid()), str(page)]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    return subprocess.run(
        command, input=lines, cwd=ROOT, pass_fds=[page], capture_output=True, text=True, check=False, timeout=20
    )


def _answers(done: subprocess.CompletedProcess[str]) -> list[Any]:
    return [answer for line in done.stdout.splitlines() for answer in json.loads(line)]


def test_a_module_that_cannot_be_loaded_is_an_answer_not_an_end(page: int) -> None:
    load = {"do": "load", "module": "/nonexistent.so", "luna": True}
    done = _run(page, load, {**load, "module": "libc.so.6"}, {"do": "end"})

    missing, no_module, ended = _answers(done)
    assert missing["stage"] == "dlopen"
    assert "cannot open shared object file" in missing["error"]
    assert no_module["stage"] == "dlsym"
    assert ended == {"ended": True}
    assert (done.returncode, done.stderr) == (0, "")


def test_the_end_of_its_input_ends_it(page: int) -> None:
    done = _run(page)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_parent_that_is_not_its_own_is_taken_for_dead(page: int) -> None:
    done = _run(page, {"do": "fill", "directory": "/"}, parent=1)

    assert (done.returncode, done.stdout) == (0, "")


def test_an_object_store_is_measured_or_explained(page: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 42)
    done = _run(page, {"do": "fill", "directory": str(tmp_path)}, {"do": "fill", "directory": "/nonexistent"})

    assert _answers(done) == [{"bytes": 42, "parts": {}}, {"error": "/nonexistent: No such file or directory"}]
