"""The state directory: private, and used by one agent at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from hsm_agent.spool.records import SpoolError
from hsm_agent.state.files import open_private

if TYPE_CHECKING:
    from pathlib import Path


class DirectoryLock:
    """Holds `lock` in the state directory until closed. Kept by flock: the kernel frees it when the process dies."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if need be and lock it.

        SpoolError if another agent has it, OSError if it can't be used.
        """
        try:
            _make_private(directory)
        except OSError as error:
            raise OSError(error.errno, f"state directory {directory}: {error.strerror}") from error
        self._descriptor = open_private(directory / "lock")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            self.close()
            raise SpoolError(f"another hsm-agent uses this state directory (pid {pid}): {directory}") from error
        with contextlib.suppress(OSError):  # the lock holds on a full disk too; only its owner's pid is not named then
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let the next one in."""
        os.close(self._descriptor)


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if stat.S_IMODE(found.st_mode) & 0o077 and found.st_uid == os.geteuid():
        directory.chmod(0o700)
