"""One child and the process that keeps it: nothing the child starts outlives it, nor does it grow without end.

`keep` forks before anything is loaded. The one that stays is the parent of whatever the library forks and abandons
(PR_SET_CHILD_SUBREAPER), and kills all of it when the child ends, when the agent says so (SIGTERM) and when the agent
is gone, however it went. It must not read what goes through the pipes, nor load anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import select
import signal
import time
from typing import TYPE_CHECKING, NoReturn

from hsm_agent.workers.supervisor.page import NOTE, OWN_BYTES, USAGE, USAGE_AT, Cause

if TYPE_CHECKING:
    import mmap

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_NOT_OURS = (signal.SIGINT, signal.SIGHUP)
"""A terminal's ^C goes to the whole group: the agent drains, and ends its children itself."""
_LOOK_SECONDS = 0.5
_LOOK_HARD_SECONDS = 0.1
"""How often its memory is looked at; the latter from half of the bound on."""
_LAST_ANSWERS_SECONDS = 1.0
_ABANDONED_SECONDS = 0.7
"""How long what the library left behind is waited for: less than the agent waits for us."""
_SCORE = 800
_MOST_SCORE = 1000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def keep(parent: int, page: mmap.mmap, most_bytes: int = 0) -> None:
    """Fork, and return as the child. The other one keeps it, and ends as the child ended.

    `most_bytes` is the child's bound of resident memory; 0 is none.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(PermissionError):  # it leads a group already: somebody started it in a terminal
        os.setsid()
    bell, ring = os.pipe()
    os.set_blocking(ring, False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, _wake_up)
    for number in _NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(ring)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel knew that we care
        os._exit(0)
    gc.freeze()  # what is there now stays shared between the two
    keeper = os.getpid()
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        for descriptor in (bell, ring, go):
            os.close(descriptor)
        _become_child(keeper, wait, page)
        return
    os.close(wait)
    _Keeper(child, bell, page, most_bytes).run(go)


def _wake_up(*_: object) -> None:
    """What is to be done is done where it was waited for: the number is in the pipe."""


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _become_child(keeper: int, wait: int, page: mmap.mmap) -> None:
    """Die with the keeper, be the first to go when memory is short, and no use to a debugger: secrets are in here."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    volunteer()
    os.read(wait, 1)  # until the keeper has looked us up: afterwards /proc may hide us from it
    os.close(wait)
    if os.getppid() != keeper:
        os._exit(0)
    _prctl(_PR_SET_DUMPABLE, 0)
    NOTE.pack_into(page, OWN_BYTES, os.getpid(), Cause.NONE, 0)


def volunteer() -> None:
    """Let the kernel kill this process, and what it forks, before the agent when memory runs out."""
    # Where /proc is missing or guarded, the kernel goes by size alone.
    with contextlib.suppress(OSError, ValueError):
        score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(score, b"%d" % min(_MOST_SCORE, int(os.read(score, 64)) + _SCORE))
        finally:
            os.close(score)


class _Keeper:
    """Waits for the child, the agent and the bound, and leaves nothing behind."""

    def __init__(self, child: int, bell: int, page: mmap.mmap, most_bytes: int) -> None:
        self._child = child
        self._bell = bell
        self._page = page
        self._most_bytes = most_bytes
        self._stat = -1
        self._look_seconds = _LOOK_SECONDS
        self._status: int | None = None
        self._nobody = False

    def run(self, go: int) -> NoReturn:
        self._open_stat()
        self._look()
        _prctl(_PR_SET_DUMPABLE, 0)
        os.close(1)  # or the agent would never see the end of the answers
        os.close(go)
        self._wait()
        self._sweep()
        _end_like(self._status or 0)

    def _open_stat(self) -> None:
        try:
            self._stat = os.open(f"/proc/{self._child}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if not self._most_bytes:
                return
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
                    # What was asked before the end is still answered, unless a call is stuck.
                    until = time.monotonic() + _LAST_ANSWERS_SECONDS
                    poller.unregister(0)
            self._reap()
            if self._is_too_big():
                return

    def _is_too_big(self) -> bool:
        resident = self._look()
        if not self._most_bytes:
            return False
        if resident <= self._most_bytes:
            self._look_seconds = _LOOK_HARD_SECONDS if resident > self._most_bytes / 2 else _LOOK_SECONDS
            return False
        NOTE.pack_into(self._page, OWN_BYTES, self._child, Cause.MEMORY, resident)
        return True

    def _look(self) -> int:
        """Note what the child uses; its resident bytes, 0 where they are not known."""
        if self._stat < 0:
            return 0
        try:
            # After the command's closing bracket, proc(5) counts from field 3: 14 utime, 15 stime, 24 rss.
            fields = os.pread(self._stat, 1024, 0).rpartition(b")")[2].split()
            ticks, resident = int(fields[11]) + int(fields[12]), int(fields[21]) * _PAGE_BYTES
        except (OSError, IndexError):  # it has just ended
            return 0
        if resident:  # what has ended and is not reaped yet has none
            USAGE.pack_into(self._page, USAGE_AT, ticks, resident)
        return resident

    def _reap(self) -> None:
        """Others end, too: what the library left behind has become our child."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._child:
                    self._status = ended[1]
        except ChildProcessError:
            self._nobody = True

    def _sweep(self) -> None:
        """Kill and reap all there is. The child is waited for as long as the kernel holds it: the agent counts it."""
        until = time.monotonic() + _ABANDONED_SECONDS
        poller = select.poll()
        poller.register(self._bell, select.POLLIN)
        while not self._nobody and (self._status is None or time.monotonic() < until):
            for pid in {self._child, *_children()} if self._status is None else _children():
                _kill(pid)
            if poller.poll(5 if time.monotonic() < until else 1000):
                os.read(self._bell, 512)
            self._reap()


def _kill(pid: int) -> None:
    # Gone already, or become another user's.
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
