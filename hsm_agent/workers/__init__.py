"""Child processes that load a vendor's library. Standard library only (the canary's: python-pkcs11 besides).

They import nothing else of the package, so that they stay small; `test_layout` holds them to it.
Here: the page of memory that a child shares with the agent. What stands in it survives a child that hangs or crashes.

    offset  written by      content
    0       the child       STEP: index of the current step in the current request, from 0
    8       the child       CURRENT_CALL: slot (NO_SLOT: none) and function; an empty function between calls
    128     the supervisor  CHILD: the child's pid (0 until it runs), `EndCause`, its resident bytes when it was ended
    152     the supervisor  USAGE: CPU time in clock ticks and resident bytes of the child (0 until the first look)

USAGE is there because /proc may hide the child from the agent; the supervisor opens the child's file before it can.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mmap

STEP = struct.Struct("=Q")
CURRENT_CALL = struct.Struct("=Q56s")
CURRENT_CALL_AT = STEP.size
NO_SLOT = 2**64 - 1
CHILD = struct.Struct("=QQQ")
CHILD_AT = 128
USAGE = struct.Struct("=QQ")
USAGE_AT = CHILD_AT + CHILD.size
SIZE = USAGE_AT + USAGE.size


class EndCause(enum.IntEnum):
    """Why a child was ended that neither crashed nor hung."""

    NONE = 0
    MEMORY = 1
    """Its resident memory grew beyond the bound."""
    DESCRIPTORS = 2
    """The library closed the pipes, and the kernel does not allow to hide them from it."""


def note_call(page: mmap.mmap, function: str, slot: int | None = None) -> None:
    """Note the call that is made next, for the agent to read if it never returns; an empty name between calls."""
    CURRENT_CALL.pack_into(page, CURRENT_CALL_AT, NO_SLOT if slot is None else slot, function.encode())


def current_call(page: mmap.mmap) -> tuple[str, int | None]:
    """The call that the child is in, or was in when it died, and the slot it is about."""
    slot, name = CURRENT_CALL.unpack_from(page, CURRENT_CALL_AT)
    return name.rstrip(b"\0").decode("ascii", "replace"), None if slot == NO_SLOT else slot
