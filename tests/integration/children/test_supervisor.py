"""The supervisor as a program, with a child that does what a library might. With real ones: tests/integration."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hsm_agent.workers import CHILD, CHILD_AT, SIZE, EndCause
from tests.peers.processes import alive

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
MIB = 1024 * 1024

_PROGRAM = """
import mmap, os, signal, sys, time
from hsm_agent.workers.supervisor import supervise
from hsm_agent.workers import SIZE

supervise(int(sys.argv[1]), mmap.mmap(int(sys.argv[2]), SIZE), int(sys.argv[3]))
{child}
os._exit(0)
"""
_FORKS = """
for way_out in (lambda: None, os.setsid):
    if os.fork() == 0:
        way_out()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(1, b"%d\\n" % os.getpid())
        time.sleep(300)
os.write(1, b"%d\\n" % os.getpid())
"""


class Supervised:
    def __init__(self, child: str, *, most_bytes: int = 0, parent: int = 0) -> None:
        descriptor = os.memfd_create("page")
        os.ftruncate(descriptor, SIZE)
        self.page = mmap.mmap(descriptor, SIZE)
        words = [str(parent or os.getpid()), str(descriptor), str(most_bytes)]
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _PROGRAM.format(child=child), *words],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[descriptor],
        )  # fmt: skip
        os.close(descriptor)

    def pids(self, count: int) -> list[int]:
        assert self.process.stdout is not None
        return [int(self.process.stdout.readline()) for _ in range(count)]

    def note(self) -> tuple[int, int, int]:
        pid, cause, resident = CHILD.unpack_from(self.page, CHILD_AT)
        return pid, cause, resident

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait(10)
        self.page.close()


@contextlib.contextmanager
def kept(child: str, **keys: int) -> Iterator[Supervised]:
    process = Supervised(child, **keys)
    try:
        yield process
    finally:
        process.close()


@pytest.mark.parametrize(
    ("child", "code"), [("os._exit(0)", 0), ("os._exit(7)", 7), ("os.abort()", -6), ("os.kill(os.getpid(), 9)", -9)]
)
def test_it_ends_as_its_child_ends(child: str, code: int) -> None:
    with kept(child) as process:
        assert process.process.wait(10) == code
        assert process.note()[1] == EndCause.NONE


@pytest.mark.parametrize("end", ["os._exit(3)", "os.abort()"])
def test_nothing_is_left_when_the_child_ends(end: str) -> None:
    with kept(_FORKS + "sys.stdin.readline()\n" + end) as process:
        pids = process.pids(3)
        assert all(map(alive, pids))
        assert process.note()[0] in pids
        assert process.process.stdin is not None
        process.process.stdin.write(b"\n")
        process.process.stdin.flush()
        process.process.wait(10)

        assert not any(map(alive, pids))


def test_sigterm_ends_all_at_once_also_a_child_that_is_deaf() -> None:
    with kept("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _FORKS + "time.sleep(300)") as process:
        pids = process.pids(3)
        process.process.terminate()

        assert process.process.wait(10) == -signal.SIGKILL
        assert not any(map(alive, pids))


def test_the_end_of_the_agents_pipe_ends_all() -> None:
    with kept(_FORKS + "time.sleep(300)") as process:
        pids = process.pids(3)
        assert process.process.stdin is not None
        process.process.stdin.close()
        process.process.wait(10)

        assert not any(map(alive, pids))


def test_the_child_dies_with_its_supervisor() -> None:
    with kept("os.write(1, b'%d\\n' % os.getpid()); time.sleep(300)") as process:
        (pid,) = process.pids(1)
        process.process.kill()
        process.process.wait(10)
        deadline = time.monotonic() + 5
        while alive(pid) and time.monotonic() < deadline:
            os.sched_yield()

        assert not alive(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_a_terminal_sends_is_not_for_it(number: signal.Signals) -> None:
    with kept("os.write(1, b'%d\\n' % os.getpid()); time.sleep(300)") as process:
        (pid,) = process.pids(1)
        process.process.send_signal(number)
        assert process.process.poll() is None
        assert alive(pid)
        assert os.getsid(pid) == process.process.pid


def test_a_child_that_grows_beyond_its_bound_is_killed_and_the_page_says_why() -> None:
    with kept("taken = b'x' * (80 << 20)\ntime.sleep(300)", most_bytes=64 * MIB) as process:
        assert process.process.wait(20) == -signal.SIGKILL
        _, cause, resident = process.note()

    assert cause == EndCause.MEMORY
    assert 64 * MIB < resident < 256 * MIB


def test_a_child_within_its_bound_is_left_alone() -> None:
    with kept("taken = b'x' * (8 << 20)\nsys.stdin.read()\nos._exit(5)", most_bytes=64 * MIB) as process:
        assert process.process.stdin is not None
        process.process.stdin.close()

        assert process.process.wait(10) == 5
        assert process.note()[1] == EndCause.NONE


def test_the_child_is_the_first_to_go_when_memory_is_short_and_leaves_no_core() -> None:
    look = "os.write(1, open('/proc/self/oom_score_adj', 'rb').read() + b'%d\\n' % "
    with kept(look + "__import__('resource').getrlimit(4)[1]); time.sleep(300)") as process:
        score, core = process.pids(2)

    assert score == min(1000, int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii")) + 800)
    assert core == 0


def test_a_parent_that_is_not_its_own_is_taken_for_dead() -> None:
    with kept("os.write(1, b'runs')", parent=1) as process:
        assert process.process.stdout is not None
        assert process.process.stdout.read() == b""
