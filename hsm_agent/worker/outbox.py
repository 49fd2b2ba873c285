"""Answers on their way to the parent: gathered for a few milliseconds, because each write costs two wake-ups.

A call that hangs must not hold back what was read before it: a thread of its own sends what waits too long.
"""

from __future__ import annotations

import json
import os
import threading
import time

_GATHER_SECONDS = 0.005
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Outbox:
    """Answers for one pipe, from one thread, in order; each line is a JSON array of those that were ready."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._answers: list[object] = []
        self._since = 0.0
        self._lock = threading.Lock()
        self._waiting = threading.Event()
        threading.Thread(target=self._send_late_ones, name="outbox", daemon=True).start()

    def add(self, answer: object) -> None:
        """Take an answer that may be sent a little later."""
        now = time.monotonic()
        with self._lock:
            self._answers.append(answer)
            first = len(self._answers) == 1
        if first:
            self._since = now
            self._waiting.set()
        elif now - self._since >= _GATHER_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send all that waits."""
        with self._lock:
            self._waiting.clear()
            if not self._answers:
                return
            data = _encode(self._answers).encode() + b"\n"
            self._answers.clear()
            while data:
                data = data[os.write(self._descriptor, data) :]

    def _send_late_ones(self) -> None:
        while True:
            self._waiting.wait()
            time.sleep(_GATHER_SECONDS)
            self.flush()
