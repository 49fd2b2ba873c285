"""Runs one command and sees to it that nothing of it is left: a script of its own, standard library only.

`python -I -S supervisor.py EXECUTABLE WORD…`, with a pipe as standard input. It ends as the command ends. When
the other end of the pipe is closed, on purpose or because the agent was killed, everything the command started is
killed first, also what has left its process group. It must not read the command's output, nor import the package.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
CANNOT_START = 127
"""Exit status for a command that could not be executed, as in the shell; the reason is on standard error."""
_SWEEP_SECONDS = 2.0
_SCORE = 800
_MOST_SCORE = 1000
_NOT_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A service manager that stops the agent signals all its processes: the agent decides when this one is to end."""


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def execute(keeper: int, path: str, words: list[str]) -> None:
    """Become the command: in a group of its own, with nothing to read, and dead when the keeper is."""
    os.setpgid(0, 0)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:  # it died before the kernel knew that we care
        os._exit(CANNOT_START)
    _volunteer()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for number in (signal.SIGPIPE, signal.SIGCHLD, *_NOT_OURS):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, words, os.environ)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(2, f"{path} cannot be executed: {error.strerror}\n".encode())
        os._exit(CANNOT_START)


def _volunteer() -> None:
    """Let the kernel kill the command, and what it starts, before the agent when memory runs out."""
    score = Path("/proc/self/oom_score_adj")
    try:
        score.write_text(str(min(_MOST_SCORE, int(score.read_text(encoding="ascii")) + _SCORE)), encoding="ascii")
    except (OSError, ValueError):
        return  # no /proc, or a guarded one: the kernel goes by size alone


def wait(child: int, lifeline: int, bell: int) -> int | None:
    """Wait status of the command; None if the agent let go of the lifeline first."""
    poller = select.poll()
    poller.register(lifeline, 0)  # no events asked for: hang-up is always reported
    poller.register(bell, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == lifeline:
                return None
            os.read(bell, 512)
        # Others may end too: what the command left behind becomes our child.
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                return ended[1]


def sweep(child: int) -> None:
    """Kill and reap everything that is left. What the kernel will not let go of is given up after a while."""
    _kill(-child)
    deadline = time.monotonic() + _SWEEP_SECONDS
    while time.monotonic() < deadline:
        for pid in _children():
            _kill(pid)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return  # nobody is left
        time.sleep(0.005)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # gone already, or it has become another user's


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_bytes().split()]
    except OSError:
        return []


def end_like(status: int) -> None:
    """End as the command ended: with its exit status, or by its signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main() -> None:
    """Run the command in the arguments."""
    path, words = sys.argv[1], sys.argv[2:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    bell, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in _NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(ring)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        execute(keeper, path, words)
    status = wait(child, 0, bell)
    sweep(child)
    if status is not None:
        end_like(status)


if __name__ == "__main__":
    main()
