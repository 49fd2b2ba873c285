"""Runs a program under a filter that refuses it a descriptor table of its own, as some containers do.

`no_unshare.py CALLS PROGRAM WORD…`; CALLS is `unshare` (Docker's filter) or `both` (close_range with a flag, too).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_NUMBERS = {"x86_64": (272, 436), "aarch64": (97, 436)}
_LOAD_NUMBER, _LOAD_FLAGS = 0, 32
_REFUSE = 0x00050000 | 1  # SECCOMP_RET_ERRNO, EPERM
_ALLOW = 0x7FFF0000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def main() -> None:
    unshare, close_range = _NUMBERS[platform.machine()]
    if sys.argv[1] == "unshare":
        close_range = 0xFFFFFFFF
    load, equal, give = 0x20, 0x15, 0x06
    program = b"".join(
        (
            _instruction(load, 0, 0, _LOAD_NUMBER),
            _instruction(equal, 4, 0, unshare),  # refuse
            _instruction(equal, 0, 2, close_range),  # others: allow
            _instruction(load, 0, 0, _LOAD_FLAGS),  # its third argument
            _instruction(equal, 0, 1, 0),  # with any flag: refuse
            _instruction(give, 0, 0, _ALLOW),
            _instruction(give, 0, 0, _REFUSE),
        )
    )
    buffer = ctypes.create_string_buffer(program)
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _FILTER, head, 0, 0):
        raise OSError(ctypes.get_errno(), "no filter")
    os.execvp(sys.argv[2], sys.argv[2:])


main()
