"""A program at a terminal of its own: what a person would see, and what he types."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Terminal:
    """`with Terminal(command, environment) as terminal`: the program ends with it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.shown = ""
        self._seen = 0
        self.code: int | None = None
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.execvpe(command[0], [*command], dict(environment))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def until(self, text: str, *, seconds: float = 20.0) -> str:
        """What was shown since the last call, up to the text; TimeoutError with all of it if the text never comes."""
        end = time.monotonic() + seconds
        while (at := self.shown.find(text, self._seen)) < 0:
            if time.monotonic() > end or not self._read():
                raise TimeoutError(f"{text!r} was not shown: {self.shown!r}")
        found = self.shown[self._seen : at + len(text)]
        self._seen = at + len(text)
        return found

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def end(self, *, seconds: float = 30.0) -> int:
        """Read on until the program has ended; its exit code."""
        end = time.monotonic() + seconds
        while self._read():
            if time.monotonic() > end:
                raise TimeoutError(f"it has not ended: {self.shown!r}")
        self.code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self.code

    def _read(self) -> bool:
        """Read what is there, or nothing for a while; False once the program has closed its terminal."""
        if not select.select([self._descriptor], [], [], 0.2)[0]:
            return True
        try:
            read = os.read(self._descriptor, 65536)
        except OSError:  # EIO: nobody holds the other side any more
            return False
        self.shown += read.decode(errors="replace").replace("\r\n", "\n")
        return bool(read)
