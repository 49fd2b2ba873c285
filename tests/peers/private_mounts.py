"""Run a command in mount (and IPC) namespaces of its own: nothing that is mounted in them reaches the machine.

    python -m tests.peers.private_mounts [--ipc] COMMAND…

unshare(1) makes every mount private by the mount at `/`. In a chroot there is none: its mount is out of reach. So the
process goes to the root of its new namespace first, makes the mounts slaves there, and comes back. Needs
CAP_SYS_ADMIN and CAP_SYS_CHROOT.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_CLONE_NEWIPC = 0x08000000
_MS_REC, _MS_SLAVE = 0x4000, 0x80000
_ROOT = Path(__file__).resolve().parents[2]

NOT_ALLOWED = "need mount namespaces, which this machine does not allow"


def command(*words: str, ipc: bool = False) -> list[str]:
    """A command line that runs these words in namespaces of their own, in the process it starts."""
    code = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from tests.peers.private_mounts import main; main()"
    return [sys.executable, "-I", "-c", code, *(["--ipc"] if ipc else []), *words]


@cache
def allowed() -> bool:
    """Whether this process may make such namespaces and mount something in them."""
    words = command("mount", "-t", "tmpfs", "tmpfs", "/run", ipc=True)
    return subprocess.run(words, capture_output=True, check=False, timeout=20).returncode == 0


def main() -> None:
    """Replace this process by the command of the command line."""
    words = sys.argv[1:]
    flags = _CLONE_NEWNS
    if words[:1] == ["--ipc"]:
        flags |= _CLONE_NEWIPC
        words = words[1:]
    try:
        _enter(flags)
    except OSError as error:
        sys.exit(f"private_mounts: {error.strerror}")
    os.execvp(words[0], words)


def _enter(flags: int) -> None:
    _call("unshare", flags)
    here, back = os.open("/", os.O_RDONLY | os.O_DIRECTORY), Path.cwd()
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    _call("setns", namespace, _CLONE_NEWNS)  # no new namespace, but the root of the one this is
    _call("mount", b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
    os.fchdir(here)
    os.chroot(".")
    os.chdir(back)
    os.close(here)
    os.close(namespace)


def _call(name: str, *arguments: bytes | int | None) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
