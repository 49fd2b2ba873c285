"""The state directory while somebody interferes: a writer that is killed, a folder that is swapped for a link."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.state import files as state_file
from hsm_agent.state.snmp_engine import EngineStateError, settled_engine_id
from tests.peers.rights import needs_root

if TYPE_CHECKING:
    from pathlib import Path

_KILLED = """
import os, sys
from pathlib import Path
from hsm_agent.state import files
path, step = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def stop(event, _):
    global calls
    if event in ("os.rename", "open", "os.remove"):
        calls += 1
        if calls == step:
            os._exit(9)
sys.addaudithook(stop)
files.write(path, b"new")
"""


@pytest.mark.parametrize("step", range(1, 4))
def test_an_end_in_the_middle_leaves_the_old_file_or_the_new_one(tmp_path: Path, step: int) -> None:
    path = tmp_path / "a.json"
    state_file.write(path, b"old")

    done = subprocess.run([sys.executable, "-c", _KILLED, str(path), str(step)], check=False, timeout=30)

    assert done.returncode == 9
    assert state_file.read(path) in {b"old", b"new"}
    state_file.write(path, b"newer")
    assert state_file.read(path) == b"newer"


_SWAP = """
import itertools, os, sys, time
os.chdir(sys.argv[1])
for number in itertools.count():
    try:
        os.rename("state", f"away-{number}")
        os.symlink("../roots", "state")
    except OSError:
        continue
    time.sleep(0.001)
    os.unlink("state")
"""


@needs_root
def test_a_link_in_place_of_the_directory_gives_nothing_of_roots_away(tmp_path: Path) -> None:
    """Whoever owns the folder swaps the directory for a link, again and again, while root makes it."""
    roots, folder = tmp_path / "roots", tmp_path / "folder"
    roots.mkdir()
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with subprocess.Popen([sys.executable, "-c", _SWAP, str(folder)]) as swapper:
        deadline = time.monotonic() + 2
        while roots.stat().st_uid == 0 and time.monotonic() < deadline:
            with contextlib.suppress(EngineStateError):
                settled_engine_id(folder / "state")
        swapper.kill()

    assert roots.stat().st_uid == 0
