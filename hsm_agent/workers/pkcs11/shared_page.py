"""The page of memory on which a worker notes the call it is in, for the parent to read if the call never ends."""

import struct

from hsm_agent.workers.supervisor.page import SIZE

__all__ = ["NO_SLOT", "PLACE", "SIZE", "STEP"]

STEP = struct.Struct("=Q")
"""At the start of the page: which step of the current request the worker is at, from 0."""
PLACE = struct.Struct("=Q56s")
"""After it: slot (all ones: none) and name of the function; an empty name between calls."""
NO_SLOT = 2**64 - 1
