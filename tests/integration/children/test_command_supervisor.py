"""The supervisor as a program."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hsm_agent.workers import supervisor as command_supervisor
from tests.peers.processes import alive

SUPERVISOR = [sys.executable, "-I", "-S", command_supervisor.__file__]


def start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*SUPERVISOR, command[0], *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def end(process: subprocess.Popen[bytes], *, cut: bool = False) -> tuple[bytes, bytes, int]:
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdin is not None
    with contextlib.closing(process.stdin), process.stdout, process.stderr:
        if cut:
            process.stdin.close()
        return process.stdout.read(), process.stderr.read(), process.wait(10)


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

    assert (output, code) == (b"", command_supervisor.CANNOT_START)
    assert errors == b"/nonexistent/tool cannot be executed: No such file or directory\n"


def _pids(process: subprocess.Popen[bytes], count: int) -> list[int]:
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(count)]


LEAVES = """
trap 'ready=1' USR1
echo $$
sleep 300 & echo $!
setsid sh -c "echo \\$\\$; kill -USR1 $$; exec sleep 300" &
while [ -z "$ready" ]; do sleep 0.01; done
"""
"""Starts a process in its group and one in a session of its own, and says the pids of all three."""


def test_nothing_is_left_when_the_lifeline_is_cut() -> None:
    supervisor = shell(LEAVES + "trap '' TERM HUP; while :; do sleep 1; done")
    pids = _pids(supervisor, 3)
    assert all(map(alive, pids))

    end(supervisor, cut=True)

    assert not any(map(alive, pids))


def test_nothing_is_left_when_the_command_ends() -> None:
    supervisor = shell(LEAVES + "exit 3")
    pids = _pids(supervisor, 3)

    assert end(supervisor)[2] == 3
    assert not any(map(alive, pids))


def test_the_command_dies_with_its_supervisor() -> None:
    supervisor = shell("echo $$; exec sleep 300")
    (pid,) = _pids(supervisor, 1)
    os.kill(supervisor.pid, signal.SIGKILL)
    end(supervisor)
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        os.sched_yield()

    assert not alive(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_of_the_agents_processes_is_not_for_it_but_for_its_command(number: signal.Signals) -> None:
    supervisor = shell(LEAVES + "while :; do sleep 0.01; done")
    pids = _pids(supervisor, 3)
    os.kill(supervisor.pid, number)
    assert all(map(alive, [supervisor.pid, *pids]))

    os.kill(pids[0], number)

    assert end(supervisor)[2] == -number
    assert not any(map(alive, pids))


def test_no_core_is_left() -> None:
    output, _, _ = end(shell("ulimit -c"))

    assert output == b"0\n"


def test_the_command_is_the_first_to_go_when_memory_is_short() -> None:
    output, _, _ = end(shell("cat /proc/self/oom_score_adj"))

    assert int(output) == min(1000, int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii")) + 800)
