"""How a child begins: forked from its supervisor, its pipes out of the library's reach and served by threads.

A thread may have a descriptor table of its own (unshare(2), CLONE_FILES). The threads that talk to the agent keep the
table with the pipes; the thread that calls the library leaves it, and what the library starts inherits from there.
So a library cannot read, write or close the pipes, even if it closes every descriptor it finds.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import queue
import resource
import threading
import time
from typing import TYPE_CHECKING, Any

from hsm_agent.workers import CHILD, CHILD_AT, SIZE, EndCause
from hsm_agent.workers.supervisor import supervise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_CLONE_FILES = 0x400
_CLOSE_RANGE = 436  # the same number on all architectures, as for every call since Linux 5.1
_CLOSE_RANGE_UNSHARE = 2
_BEYOND_ALL = 0x7FFFFFFF
_HIGHEST_DESCRIPTOR = 4096
_KEPT_BACK = 8
"""Descriptors kept back for the pipes where the table must be shared."""
_GATHER_SECONDS = 0.005
_FULL_CHARACTERS = 256 * 1024
"""A line ends with the answer that reaches this: the agent refuses lines without an end."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def start(arguments: Sequence[str]) -> tuple[mmap.mmap, Requests, AnswerSender]:
    """Fork below a supervisor and return in the child: the shared page, the requests, the sender of answers.

    `arguments`: the agent's pid, the shared page's descriptor, and the bound of resident bytes (0: none).
    """
    parent, *rest = (int(argument) for argument in arguments)
    page = mmap.mmap(rest[0] if rest else -1, SIZE)
    for descriptor in rest[:1]:
        os.close(descriptor)
    # Before the first thread: fork copies only the one that calls it.
    supervise(parent, page, *rest[1:])

    def lost(error: OSError) -> None:
        if error.errno == errno.EBADF:
            CHILD.pack_into(page, CHILD_AT, os.getpid(), EndCause.DESCRIPTORS, 0)
        os._exit(1)

    requests, answers = take_pipes()
    # The threads are started with the table that has the pipes, and keep it when this one leaves it.
    threads = Requests(requests, lost), AnswerSender(answers, lost)
    hide((requests, answers))
    return page, *threads


def take_pipes() -> tuple[int, int]:
    """Move the pipes of requests and answers away from descriptors 0 and 1; prints go to standard error instead."""
    lowest = _high_descriptor()
    requests, answers = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, lowest) for number in (0, 1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # What the library prints would stand between the answers.
    os.dup2(2, 1)
    return requests, answers


def _high_descriptor() -> int:
    """A number that few loops reach which close descriptors one by one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _HIGHEST_DESCRIPTOR if soft == resource.RLIM_INFINITY else min(soft, _HIGHEST_DESCRIPTOR)
    return max(3, limit - _KEPT_BACK)


def hide(descriptors: tuple[int, ...]) -> bool:
    """Remove all but the standard descriptors from this thread's table; threads that run already keep them.

    Returns False where the kernel refuses a table of its own: then `descriptors` lie above the limit by which loops
    over all descriptors go.
    """
    if _leave_table():
        os.closerange(3, max(descriptors) + 1)
        return True
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, *descriptors), hard))
    return False


def _leave_table() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_FILES) == 0:
        return True
    # Seccomp filters of containers refuse unshare with any flag. close_range(2) unshares as well; its range is empty.
    arguments = (ctypes.c_long(number) for number in (_CLOSE_RANGE, _BEYOND_ALL, _BEYOND_ALL, _CLOSE_RANGE_UNSHARE))
    return bool(libc.syscall(*arguments) == 0)


class Requests:
    """Lines from the agent, read by a thread that has the pipe. Its end, or its loss, ends the iteration."""

    def __init__(self, descriptor: int, lost: Callable[[OSError], None]) -> None:
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(descriptor, lost), name="requests", daemon=True).start()

    def _read(self, descriptor: int, lost: Callable[[OSError], None]) -> None:
        try:
            # Not closed: the number may still be in the table that the calling thread is about to leave.
            with os.fdopen(descriptor, "rb", closefd=False) as lines:
                for line in lines:
                    self._lines.put(line)
                    del line  # it may hold a PIN
        except OSError as error:
            lost(error)
        self._lines.put(None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines.get, None)


class AnswerSender:
    """Answers to the agent, in order, each line a JSON array of those that were ready.

    Answers of a few milliseconds go together, as each write costs two wake-ups. A call of the library that hangs holds
    none of them back: the thread that sends them does not call the library.
    """

    def __init__(
        self, descriptor: int, lost: Callable[[OSError], None], *, gather_seconds: float = _GATHER_SECONDS
    ) -> None:
        self._descriptor = descriptor
        self._lost = lost
        self._gather_seconds = gather_seconds
        self._answers: list[Any] = []
        self._urgent = False
        self._idle = True
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="sender", daemon=True).start()

    def add(self, answer: object) -> None:
        """Take an answer that may be sent a little later."""
        with self._changed:
            self._answers.append(answer)
            self._idle = False
            if len(self._answers) == 1:
                self._changed.notify_all()

    def flush(self) -> None:
        """Send all that waits; returns when it is sent."""
        with self._changed:
            self._urgent = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._idle)
            self._urgent = False

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._answers)
                until = time.monotonic() + self._gather_seconds
                while not self._urgent and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
                answers, self._answers = self._answers, []
            # Without the lock: a full pipe holds up this thread, and must not hold up the one that calls the library.
            self._send(_lines(answers))
            with self._changed:
                self._idle = not self._answers
                self._changed.notify_all()

    def _send(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self._lost(error)


def _lines(answers: list[Any]) -> bytes:
    lines: list[str] = []
    line: list[str] = []
    length = 0
    for answer in answers:
        line.append(_encode(answer))
        length += len(line[-1])
        if length >= _FULL_CHARACTERS:
            lines.append(f"[{','.join(line)}]\n")
            line, length = [], 0
    if line:
        lines.append(f"[{','.join(line)}]\n")
    return "".join(lines).encode()
