"""Pipes that a library cannot read, write or close, because they are not in the descriptor table it sees.

A thread may have a table of its own (unshare(2), CLONE_FILES). The threads that talk to the agent keep the one with the
pipes; the thread that calls the library leaves it, and what the library starts inherits from there.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource

_CLONE_FILES = 0x400
_CLOSE_RANGE = 436  # the same number on all architectures, as for every call since Linux 5.1
_CLOSE_RANGE_UNSHARE = 2
_BEYOND = 0x7FFFFFFF
_HIGHEST = 4096
_ROOM = 8
"""Descriptors kept back for the pipes where the table must be shared."""


def take_pipes() -> tuple[int, int]:
    """Move requests and answers away from where a library reads or prints; its prints go to the agent's log."""
    place = _high_place()
    requests, answers = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, place) for number in (0, 1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _high_place() -> int:
    """Where few loops reach that close descriptors one by one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _HIGHEST if soft == resource.RLIM_INFINITY else min(soft, _HIGHEST)
    return max(3, limit - _ROOM)


def hide(descriptors: tuple[int, ...]) -> bool:
    """Take these, and all but the standard ones, out of this thread's sight; threads that run already keep them.

    Where no call for it is allowed, False: then they lie above the limit that loops over all descriptors go by.
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
    # Filters of containers refuse unshare whatever it is asked; this one does the same besides closing (here nothing).
    arguments = (ctypes.c_long(number) for number in (_CLOSE_RANGE, _BEYOND, _BEYOND, _CLOSE_RANGE_UNSHARE))
    return bool(libc.syscall(*arguments) == 0)
