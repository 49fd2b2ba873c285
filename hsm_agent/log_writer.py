"""Lines on their way to a descriptor that may take none: a pipe whose reader sleeps, a terminal on hold, a full disk.

Whoever logs never waits: a thread writes, what it cannot keep up with waits in a bounded queue, and what does not fit
in there is dropped, counted, and told as soon as lines flow again.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_WAITING_BYTES = 4 * 1024 * 1024
LAST_SECONDS = 0.5
"""How long the end of the process waits for its last lines."""


class LineWriter:
    """Writes to one descriptor, in order. `notice` puts into a line how many were dropped."""

    def __init__(
        self, descriptor: int, *, notice: Callable[[int], str], most_waiting_bytes: int = MOST_WAITING_BYTES
    ) -> None:
        self.notice = notice
        self._descriptor = descriptor
        self._most_waiting_bytes = most_waiting_bytes
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self.dropped_total = 0
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Queue a line, which needs no line break at its end. Never waits."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._waiting_bytes + len(data) > self._most_waiting_bytes:
                self._drop()
                return
            self._queue_notice()
            self._queue(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float = LAST_SECONDS) -> bool:
        """Wait until all is written, at most so long; False if it is not."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._busy, timeout=seconds)

    def _drop(self) -> None:
        self._dropped += 1
        self.dropped_total += 1

    def _queue(self, data: bytes) -> None:
        self._lines.append(data)
        self._waiting_bytes += len(data)

    def _queue_notice(self) -> None:
        if self._dropped:
            text, self._dropped = self.notice(self._dropped), 0
            self._queue(text.encode("utf-8", "backslashreplace") + b"\n")

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines:
                    self._changed.wait()
                data = self._lines.popleft()
                self._waiting_bytes -= len(data)
                self._busy = True
            written = self._write(data)
            with self._changed:
                self._busy = False
                if not written:
                    self._drop()
                elif not self._lines:  # it flows again
                    self._queue_notice()
                self._changed.notify_all()

    def _write(self, data: bytes) -> bool:
        """Whether the descriptor took it. Waits as long as it takes nothing: this is our own thread."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # whoever shares it with us has set O_NONBLOCK
                select.select((), (self._descriptor,), ())
            except OSError:  # nobody reads any more, or the disk is full: counted, and told when it can be
                return False
        return True
