"""A file that only takes up room, so that there is some left when the disk is full.

SQLite needs room even to delete. Freeing this file lets acknowledgements still be recorded, so that a receiver which
comes back is not sent again what it has, and the rows it accepted make room for new ones.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from hsm_agent.state.files import open_private, set_aside

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1024 * 1024


class Ballast:
    """One file of SIZE bytes, really allocated."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_held(self) -> bool:
        """Whether the room is reserved."""
        try:
            return self._path.stat().st_blocks * 512 >= SIZE
        except OSError:
            return False

    def free(self) -> None:
        """Give the room back to the disk, if that lets it."""
        with contextlib.suppress(OSError):  # a read-only disk has nothing to give; its own error is already told
            self._path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Reserve the room again if the disk has it twice; whether it is reserved now."""
        if self.is_held():
            return True
        if free_bytes(self._path.parent) < 2 * SIZE:
            return False
        try:
            descriptor = open_private(self._path)
        except OSError:  # a folder, a link: nobody else's business here, and no reason to do without the spool
            set_aside(self._path)
            descriptor = open_private(self._path)
        try:
            os.ftruncate(descriptor, 0)
            os.posix_fallocate(descriptor, 0, SIZE)
        except OSError:
            self.free()
            return False
        finally:
            os.close(descriptor)
        return True


def free_bytes(directory: Path) -> int:
    """What the file system still gives to this user."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
