"""The page of memory on which a worker notes the call it is in, for the parent to read if the call never ends."""

import struct

PLACE = struct.Struct("=Q56s")
"""Slot (all ones: none) and name of the function; an empty name between calls."""
NO_SLOT = 2**64 - 1
