"""The keeper as a program."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hsm_agent.collect.command import supervisor as command_keeper

KEEPER = [sys.executable, "-I", "-S", command_keeper.__file__]


def start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*KEEPER, command[0], *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def end(keeper: subprocess.Popen[bytes], *, cut: bool = False) -> tuple[bytes, bytes, int]:
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    assert keeper.stdin is not None
    with contextlib.closing(keeper.stdin), keeper.stdout, keeper.stderr:
        if cut:
            keeper.stdin.close()
        return keeper.stdout.read(), keeper.stderr.read(), keeper.wait(10)


def shell(script: str) -> subprocess.Popen[bytes]:
    return start("/bin/sh", "-c", script)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM), ("kill -KILL $$", -9)]
)
def test_it_ends_as_its_command_ends(script: str, code: int) -> None:
    assert end(shell(script)) == (b"", b"", code)


def test_output_goes_through_and_there_is_nothing_to_read() -> None:
    assert end(shell("cat; echo out; echo err >&2; readlink /proc/self/fd/0")) == (b"out\n/dev/null\n", b"err\n", 0)


def test_what_cannot_be_executed_is_said() -> None:
    output, errors, code = end(start("/nonexistent/tool"))

    assert (output, code) == (b"", command_keeper.CANNOT_START)
    assert errors == b"/nonexistent/tool cannot be executed: No such file or directory\n"


def _alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False


def _pids(keeper: subprocess.Popen[bytes], count: int) -> list[int]:
    assert keeper.stdout is not None
    return [int(keeper.stdout.readline()) for _ in range(count)]


LEAVES = """
trap 'ready=1' USR1
echo $$
sleep 300 & echo $!
setsid sh -c "echo \\$\\$; kill -USR1 $$; exec sleep 300" &
while [ -z "$ready" ]; do sleep 0.01; done
"""
"""Starts a process in its group and one in a session of its own, and says the pids of all three."""


def test_nothing_is_left_when_the_lifeline_is_cut() -> None:
    keeper = shell(LEAVES + "trap '' TERM HUP; while :; do sleep 1; done")
    pids = _pids(keeper, 3)
    assert all(map(_alive, pids))

    end(keeper, cut=True)

    assert not any(map(_alive, pids))


def test_nothing_is_left_when_the_command_ends() -> None:
    keeper = shell(LEAVES + "exit 3")
    pids = _pids(keeper, 3)

    assert end(keeper)[2] == 3
    assert not any(map(_alive, pids))


def test_the_command_dies_with_its_keeper() -> None:
    keeper = shell("echo $$; exec sleep 300")
    (pid,) = _pids(keeper, 1)
    os.kill(keeper.pid, signal.SIGKILL)
    end(keeper)
    deadline = time.monotonic() + 5
    while _alive(pid) and time.monotonic() < deadline:
        os.sched_yield()

    assert not _alive(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_of_the_agents_processes_is_not_for_it_but_for_its_command(number: signal.Signals) -> None:
    keeper = shell(LEAVES + "while :; do sleep 0.01; done")
    pids = _pids(keeper, 3)
    os.kill(keeper.pid, number)
    assert all(map(_alive, [keeper.pid, *pids]))

    os.kill(pids[0], number)

    assert end(keeper)[2] == -number
    assert not any(map(_alive, pids))


def test_no_core_is_left() -> None:
    output, _, _ = end(shell("ulimit -c"))

    assert output == b"0\n"


def test_the_command_is_the_first_to_go_when_memory_is_short() -> None:
    output, _, _ = end(shell("cat /proc/self/oom_score_adj"))

    assert int(output) == min(1000, int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii")) + 800)
