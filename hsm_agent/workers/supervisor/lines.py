"""Lines to and from the agent, each way on a thread that has the pipe: the thread that calls the library has not."""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Requests:
    """Lines as they come. The end of the pipe, or its loss, is the end of them."""

    def __init__(self, descriptor: int, lost: Callable[[OSError], None]) -> None:
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(descriptor, lost), name="requests", daemon=True).start()

    def _read(self, descriptor: int, lost: Callable[[OSError], None]) -> None:
        try:
            # Not closed: it may still be in the table of the one who is about to leave it.
            with os.fdopen(descriptor, "rb", closefd=False) as lines:
                for line in lines:
                    self._lines.put(line)
                    del line  # a PIN may be in it
        except OSError as error:
            lost(error)
        self._lines.put(None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines.get, None)


class Sender:
    """Values on their way to the agent, in order. Those of a short while go together: each write costs two wake-ups.

    A call of the library that hangs holds back nothing: the thread that sends has a clock of its own.
    """

    def __init__(
        self,
        descriptor: int,
        encode: Callable[[list[Any]], bytes],
        lost: Callable[[OSError], None],
        *,
        gather_seconds: float = 0.0,
    ) -> None:
        self._descriptor = descriptor
        self._encode = encode
        self._lost = lost
        self._gather_seconds = gather_seconds
        self._values: list[Any] = []
        self._urgent = False
        self._idle = True
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="sender", daemon=True).start()

    def add(self, value: object) -> None:
        """Take a value that may be sent a little later."""
        with self._changed:
            self._values.append(value)
            self._idle = False
            if len(self._values) == 1:
                self._changed.notify_all()

    def flush(self) -> None:
        """Send all that waits, and return when it is sent."""
        with self._changed:
            self._urgent = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._idle)
            self._urgent = False

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._values)
                until = time.monotonic() + self._gather_seconds
                while not self._urgent and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
                values, self._values = self._values, []
            self._send(self._encode(values))
            with self._changed:
                self._idle = not self._values
                self._changed.notify_all()

    def _send(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self._lost(error)
