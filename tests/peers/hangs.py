"""File systems and resolvers that hang on demand: a library to preload (tests/hang/hang.c), and its switch."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.peers.require import require
from tests.peers.testmodule import cache

_SOURCE = Path(__file__).resolve().parents[1] / "hang" / "hang.c"


def build() -> Path:
    """The compiled library, made anew only when its source or the way of compiling changed."""
    command = [str(require("cc")), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    digest = hashlib.sha256(" ".join(command).encode() + _SOURCE.read_bytes())
    library = cache() / f"hang-{digest.hexdigest()[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        half_made = library.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-o", half_made, str(_SOURCE), "-ldl"], check=True, timeout=60)
        half_made.replace(library)
    return library


class Hangs:
    """What hangs while it is switched on: all below a folder, and names that begin with a word."""

    def __init__(self, directory: Path, *, folder: str = "hung", name: str = "hangs.", own_name: bool = False) -> None:
        self.folder = directory / folder
        self.folder.mkdir(mode=0o700)
        self.below = str(self.folder)
        self._flag = directory / "hang-now"
        self._name = name
        self._own_name = own_name

    @property
    def environment(self) -> dict[str, str]:
        """Of the process whose calls hang."""
        own = {"HANG_OWN_NAME": "1"} if self._own_name else {}
        return {
            "LD_PRELOAD": str(build()),
            "HANG_BELOW": self.below,
            "HANG_NAME": self._name,
            "HANG_WHILE": str(self._flag),
            **own,
        }

    def begin(self) -> None:
        """From now on."""
        self._flag.touch()

    def end(self) -> None:
        """All calls come back."""
        self._flag.unlink(missing_ok=True)
