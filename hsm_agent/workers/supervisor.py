"""Supervises one child process: nothing it starts outlives it, and it does not grow without end.

The supervisor is the parent of whatever the child forks and abandons (PR_SET_CHILD_SUBREAPER). It kills all of it when
the child ends, when the agent asks for it (SIGTERM), and when the agent's end of standard input is closed, however the
agent ended. It reads no pipe and loads no library.

As a program it runs one command, whose output it does not read: `python -I -S supervisor.py EXECUTABLE ARGV…`, with a
pipe as standard input.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if __name__ == "__main__":  # -I keeps the package off the search path
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))  # noqa: PTH120 - pathlib takes 5 ms

from hsm_agent.workers import CHILD, CHILD_AT, USAGE, USAGE_AT, EndCause

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 0.5
_LOOK_OFTEN_SECONDS = 0.1
"""How often the child's memory is looked at; the latter from half of the bound on."""
_LAST_ANSWERS_SECONDS = 1.0
_ABANDONED_SECONDS = 0.7
"""How long abandoned processes are waited for: less than the agent waits for the supervisor."""
_OOM_SCORE = 800
_HIGHEST_OOM_SCORE = 1000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CANNOT_START = 127
"""Exit status for a command that could not be executed, as in the shell; the reason is on standard error."""
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A service manager that stops the agent signals all its processes: the agent decides when this one is to end."""


def supervise(parent: int, page: mmap.mmap, most_bytes: int = 0) -> None:
    """Fork, and return as the child. The original process supervises it, and ends as the child ended.

    `most_bytes` bounds the child's resident memory; 0 is no bound.
    """
    with contextlib.suppress(PermissionError):  # started from a terminal, it leads a process group already
        os.setsid()
    # A terminal's ^C goes to the whole group: the agent drains, and ends its children itself.
    bell = become_supervisor(handled=(signal.SIGTERM,), ignored=(signal.SIGINT, signal.SIGHUP))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel knew of PDEATHSIG
        os._exit(0)
    gc.freeze()  # what exists now stays shared between the two processes
    supervisor = os.getpid()
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        for descriptor in (bell, signal.set_wakeup_fd(-1), go):
            os.close(descriptor)
        _become_child(supervisor, wait, page)
        return
    os.close(wait)
    Supervisor(child, bell, _LAST_ANSWERS_SECONDS, page, most_bytes).run(go)


def become_supervisor(*, handled: Iterable[int], ignored: Iterable[int]) -> int:
    """Adopt orphans and have signals, SIGCHLD among them, written to a pipe. Returns its reading end."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bell, ring = os.pipe()
    os.set_blocking(ring, False)
    for number in (signal.SIGCHLD, *handled):
        signal.signal(number, lambda *_: None)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(ring)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    return bell


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _become_child(supervisor: int, wait: int, page: mmap.mmap) -> None:
    """Die with the supervisor, be the first to go when memory is short, and hide secrets from debuggers."""
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    die_with(supervisor)
    prefer_for_oom_kill()
    os.read(wait, 1)  # until the supervisor has opened our file in /proc: afterwards that may be hidden from it
    os.close(wait)
    _prctl(_PR_SET_DUMPABLE, 0)
    CHILD.pack_into(page, CHILD_AT, os.getpid(), EndCause.NONE, 0)


def die_with(supervisor: int, exit_code: int = 0) -> None:
    """Let the kernel kill this process when its supervisor dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it died before the kernel knew of PDEATHSIG
        os._exit(exit_code)


def prefer_for_oom_kill() -> None:
    """Let the kernel kill this process, and what it forks, before the agent when memory runs out."""
    # Where /proc is missing or guarded, the kernel goes by size alone.
    with contextlib.suppress(OSError, ValueError):
        score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(score, b"%d" % min(_HIGHEST_OOM_SCORE, int(os.read(score, 64)) + _OOM_SCORE))
        finally:
            os.close(score)


class Supervisor:
    """Waits for the child, the agent and the bound of memory, and leaves no process behind."""

    def __init__(
        self, child: int, bell: int, grace_seconds: float = 0.0, page: mmap.mmap | None = None, most_bytes: int = 0
    ) -> None:
        """`grace_seconds`: how long the child may go on after the agent has closed standard input."""
        self._child = child
        self._bell = bell
        self._grace_seconds = grace_seconds
        self._page = page
        self._most_bytes = most_bytes
        self._stat = -1
        self._look_seconds = _LOOK_SECONDS
        self._status: int | None = None
        self._is_childless = False

    def run(self, go: int | None = None) -> NoReturn:
        """End as the child ended. `go` is closed when the child may begin."""
        if self._page is not None:
            self._open_stat()
            self._look()
            _prctl(_PR_SET_DUMPABLE, 0)
        os.close(1)  # the agent sees the end of the output when the child has closed it
        if go is not None:
            os.close(go)
        self._wait()
        self._sweep()
        _end_like(self._status or 0)

    def _open_stat(self) -> None:
        try:
            self._stat = os.open(f"/proc/{self._child}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if self._most_bytes:
                os.write(2, f"(not the module) its memory cannot be bounded: {error.strerror} in /proc\n".encode())

    def _wait(self) -> None:
        """Until the child has ended, or is to end."""
        poller = select.poll()
        poller.register(0, 0)  # no events asked for: hang-up is always reported
        poller.register(self._bell, select.POLLIN)
        until: float | None = None
        while self._status is None:
            seconds = self._look_seconds if until is None else until - time.monotonic()
            if seconds <= 0:
                return
            watching = self._stat >= 0 or until is not None
            for descriptor, _ in poller.poll(seconds * 1000 if watching else None):
                if descriptor == self._bell:
                    if signal.SIGTERM in os.read(self._bell, 512):
                        return
                else:
                    # Requests sent before the end are still answered, unless a call is stuck.
                    until = time.monotonic() + self._grace_seconds
                    poller.unregister(0)
            self._reap()
            if self._is_too_big():
                return

    def _is_too_big(self) -> bool:
        resident = self._look()
        if not self._most_bytes or self._page is None:
            return False
        if resident <= self._most_bytes:
            self._look_seconds = _LOOK_OFTEN_SECONDS if resident > self._most_bytes / 2 else _LOOK_SECONDS
            return False
        CHILD.pack_into(self._page, CHILD_AT, self._child, EndCause.MEMORY, resident)
        return True

    def _look(self) -> int:
        """Note the child's usage in the page; returns its resident bytes, 0 where they are not known."""
        if self._stat < 0 or self._page is None:
            return 0
        try:
            # After the command's closing bracket, proc(5) counts from field 3: 14 utime, 15 stime, 24 rss.
            fields = os.pread(self._stat, 1024, 0).rpartition(b")")[2].split()
            ticks, resident = int(fields[11]) + int(fields[12]), int(fields[21]) * _PAGE_BYTES
        except (OSError, IndexError):  # it has just ended
            return 0
        if resident:  # a process that has ended and is not reaped yet has none
            USAGE.pack_into(self._page, USAGE_AT, ticks, resident)
        return resident

    def _reap(self) -> None:
        """Reap the child, and adopted processes."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._child:
                    self._status = ended[1]
        except ChildProcessError:
            self._is_childless = True

    def _sweep(self) -> None:
        """Kill and reap all there is. The child is waited for as long as the kernel holds it: the agent counts it."""
        until = time.monotonic() + _ABANDONED_SECONDS
        poller = select.poll()
        poller.register(self._bell, select.POLLIN)
        while not self._is_childless and (self._status is None or time.monotonic() < until):
            # Again and again: whatever is killed leaves its own children to us, and may have forked meanwhile.
            for pid in {self._child, *_children()} if self._status is None else _children():
                _kill(pid)
            if poller.poll(5 if time.monotonic() < until else 1000):
                os.read(self._bell, 512)
            self._reap()


def _kill(pid: int) -> None:
    # It has ended already, or has become another user's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _children() -> list[int]:
    try:
        listing = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    with os.fdopen(listing, "rb") as pids:
        return [int(pid) for pid in pids.read().split()]


def _end_like(status: int) -> NoReturn:
    """End as the child ended: with its exit status, or by its signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _execute(supervisor: int, path: str, argv: list[str]) -> None:
    """Become the command: in a process group of its own, with nothing to read, and killed with the supervisor."""
    os.setpgid(0, 0)
    die_with(supervisor, CANNOT_START)
    prefer_for_oom_kill()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for number in (signal.SIGPIPE, signal.SIGCHLD, *_IGNORED):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, argv, os.environ)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(2, f"{path} cannot be executed: {error.strerror}\n".encode())
        os._exit(CANNOT_START)


def main() -> None:
    """Run the command in the arguments, and end as it ends."""
    path, argv = sys.argv[1], sys.argv[2:]
    bell = become_supervisor(handled=(), ignored=_IGNORED)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        _execute(supervisor, path, argv)
    Supervisor(child, bell).run()


if __name__ == "__main__":
    main()
