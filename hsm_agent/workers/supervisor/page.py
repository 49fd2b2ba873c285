"""The page of memory that a child shares with the agent: what is noted there outlives whatever becomes of the child."""

from __future__ import annotations

import enum
import struct

OWN_BYTES = 128
"""The first bytes are the child's: where it is in its work."""
NOTE = struct.Struct("=QQQ")
"""After them: the child's pid (0 until it runs), why it was ended (`Cause`), and the bytes it had then."""
USAGE_AT = OWN_BYTES + NOTE.size
USAGE = struct.Struct("=QQ")
"""Behind the note, at `USAGE_AT`: CPU time of the child in clock ticks, and its resident bytes (0 until it was looked
at). /proc may hide the child from the agent, and the keeper began to read there before it did."""
SIZE = USAGE_AT + USAGE.size


class Cause(enum.IntEnum):
    """Why a child ended that did nothing wrong by its exit status."""

    NONE = 0
    MEMORY = 1
    """It grew beyond its bound and was killed."""
    DESCRIPTORS = 2
    """The library closed the pipes, and they could not be kept apart from it."""
