"""A disk that is full, or refuses, and comes back: nothing waits for it, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

import pytest

from tests.peers import private_mounts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHILD = [sys.executable, "-m", "tests.integration.spool.child", "obey"]


class Child:
    """A process with a spool that does as it is told."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin: IO[str] = self._process.stdin
        self._stdout: IO[str] = self._process.stdout
        self._hear()

    def do(self, *words: object) -> dict[str, Any]:
        self._stdin.write(json.dumps(words) + "\n")
        self._stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        line = self._stdout.readline()
        assert line, "the child has ended"
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> int:
        self._stdin.close()
        code = self._process.wait(20)
        self._stdout.close()
        return code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()


def _mounted(directory: Path, size: str, *command: str) -> list[str]:
    """A command that runs with a small file system of its own at a directory."""
    script = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"'
    return private_mounts.command("sh", "-ec", script, "sh", size, str(directory), *command)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    if not private_mounts.allowed():
        pytest.skip(private_mounts.NOT_ALLOWED)
    return tmp_path


@pytest.fixture
def child(small_disk: Path) -> Iterator[Child]:
    child = Child(_mounted(small_disk, "4m", *CHILD, str(small_disk)))
    yield child
    child.kill()


def test_on_a_full_disk_events_go_out_from_memory_and_are_written_when_there_is_room(child: Child) -> None:
    child.do("commit", 0, 10, 0)
    child.do("fill")

    said = child.do("commit", 10, 500, 100)

    assert said["failed"]
    assert "full" in said["reason"]
    assert child.do("accept", "noc", 1000)["answer"] == [f"e{number}" for number in range(510)]

    child.do("make room")
    assert child.do("wait until well")["answer"]
    assert child.do("accept", "siem", 5)["answer"] == [f"e{number}" for number in range(5)]
    assert child.do("ballast")["answer"] == 1024 * 1024
    assert child.do("states")["answer"] == {f"alarm/{number}": str(number) for number in range(510)}


def test_what_was_accepted_on_a_full_disk_is_not_sent_again_after_a_crash(small_disk: Path) -> None:
    script = (
        "import json, subprocess, sys; from tests.integration.spool.test_full_disk import CHILD, Child\n"
        "child = Child([*CHILD, sys.argv[1]])\n"
        "child.do('commit', 0, 200, 0)\n"
        "child.do('fill')\n"
        "said = child.do('commit', 200, 20, 10000)\n"
        "assert said['failed'], said\n"
        "child.do('accept', 'noc', 1000); child.do('accept', 'siem', 150)\n"
        "assert child.do('ballast')['answer'] == 0\n"
        "assert child.do('wait until released')['answer']\n"
        "child.kill()\n"
        "child = Child([*CHILD, sys.argv[1]])\n"
        "print(json.dumps([child.do('accept', 'noc', 1000)['answer'], child.do('accept', 'siem', 1000)['answer']]))\n"
        "child.kill()\n"
    )
    ran = subprocess.run(
        _mounted(small_disk, "4m", sys.executable, "-c", script, str(small_disk)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    noc, siem = json.loads(ran.stdout.splitlines()[-1])
    assert noc == []
    # Of what was committed on the full disk as much is there as found room before the crash.
    assert siem == [f"e{number}" for number in range(150, 150 + len(siem))]
    assert len(siem) >= 50


def test_a_spool_that_filled_its_own_disk_comes_back_once_its_entries_are_accepted(child: Child) -> None:
    """Nobody else makes room: what the accepted entries took must be enough."""
    said = child.do("commit", 0, 1000, 3000)
    assert said["failed"]

    child.do("accept", "noc", 10000)
    child.do("accept", "siem", 10000)

    assert child.do("wait until well")["answer"]
    assert child.do("commit", 1000, 10, 0)["failed"] is False
    assert child.do("accept", "noc", 10000)["answer"] == [f"e{number}" for number in range(1000, 1010)]


def test_starting_on_a_full_disk_tells_what_is_stored(small_disk: Path) -> None:
    script = (
        "import json, sys; from tests.integration.spool.test_full_disk import CHILD, Child\n"
        "child = Child([*CHILD, sys.argv[1]])\n"
        "child.do('commit', 0, 20, 0); child.do('fill'); child.kill()\n"
        "child = Child([*CHILD, sys.argv[1]])\n"
        "print(json.dumps(child.do('accept', 'noc', 1000)['answer']))\n"
        "said = child.do('commit', 20, 300, 3000)\n"
        "assert said['failed'], said\n"
        "assert len(child.do('accept', 'noc', 1000)['answer']) == 300\n"
        "child.kill()\n"
    )
    ran = subprocess.run(
        _mounted(small_disk, "4m", sys.executable, "-c", script, str(small_disk)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == [f"e{number}" for number in range(20)]


def test_a_disk_that_fails_to_write_is_left_and_taken_up_again(tmp_path: Path) -> None:
    child = Child([*CHILD, str(tmp_path)])
    try:
        child.do("commit", 0, 10, 0)
        child.do("limit file size", 200_000)

        said = child.do("commit", 10, 200, 3000)
        assert said["failed"]
        assert child.do("accept", "noc", 1000)["answer"] == [f"e{number}" for number in range(210)]

        child.do("limit file size", 10**9)
        assert child.do("wait until well")["answer"]
        assert child.end() == 0
    finally:
        child.kill()

    again = Child([*CHILD, str(tmp_path)])
    try:
        assert again.do("accept", "noc", 1000)["answer"] == []
        assert again.do("accept", "siem", 1000)["answer"] == [f"e{number}" for number in range(210)]
        assert len(again.do("states")["answer"]) == 210
    finally:
        again.kill()
