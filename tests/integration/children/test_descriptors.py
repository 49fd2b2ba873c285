"""In a program of its own: the test's descriptors are not to be touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILTER = str(ROOT / "tests" / "fakes" / "no_unshare.py")

_PROGRAM = """
import json, os, resource, threading
from hsm_agent.workers.isolation import hide, take_pipes

before = resource.getrlimit(resource.RLIMIT_NOFILE)
requests, answers = take_pipes()
go, seen = threading.Event(), {}

def look():
    go.wait()
    seen["read"] = os.read(requests, 100).decode()
    os.write(answers, json.dumps(seen).encode())

thread = threading.Thread(target=look)
thread.start()
seen["hidden"] = hide((requests, answers))
seen["closed"] = []
for descriptor in range(3, 5000):
    try:
        os.close(descriptor) if descriptor < resource.getrlimit(resource.RLIMIT_NOFILE)[0] else os.fstat(descriptor)
    except OSError:
        continue
    seen["closed"].append(descriptor)
seen["limits"] = [before, resource.getrlimit(resource.RLIMIT_NOFILE)]
seen["pipes"] = [requests, answers]
print("printed")
go.set()
thread.join()
"""


def _run(*prefix: str, limit: int = 1024) -> tuple[dict[str, Any], str]:
    script = f'ulimit -S -n {limit}; exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *prefix, sys.executable, "-c", _PROGRAM],
        input="asked", cwd=ROOT, capture_output=True, text=True, check=True, timeout=20,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("prefix", [(), (sys.executable, FILTER, "unshare")], ids=["unshare", "close_range"])
def test_the_thread_that_hides_them_sees_none_and_the_others_have_them(prefix: tuple[str, ...]) -> None:
    seen, errors = _run(*prefix)

    assert seen["hidden"]
    assert seen["closed"] == []
    assert seen["read"] == "asked"
    assert seen["limits"][0] == seen["limits"][1]
    assert errors == "printed\n"


def test_where_it_is_refused_they_lie_above_a_limit_that_no_loop_passes() -> None:
    seen, _ = _run(sys.executable, FILTER, "both")

    assert not seen["hidden"]
    assert seen["pipes"] == [1016, 1017]
    assert seen["closed"] == [1016, 1017]  # there, and not closed: beyond the limit
    assert seen["read"] == "asked"
    assert [soft for soft, _ in seen["limits"]] == [1024, 1016]


def test_a_high_limit_makes_no_large_table() -> None:
    seen, _ = _run(limit=4096)

    assert max(seen["pipes"]) < 4096
