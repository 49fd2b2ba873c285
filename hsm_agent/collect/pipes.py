"""The pipes from a child process, read within bounds: its answers, and what the library in it prints.

The child holds foreign code: it may write anything, at any length, without end. That must not hold up the event loop,
make the agent grow, or be trusted.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import Any

from hsm_agent.text import harmless

log = logging.getLogger(__name__)

ERRORS = 2
MOST_ANSWER_BYTES = 1024 * 1024
_KEPT_LINES = 20
_LOGGED_LINES = 100
_LOGGED_CHARACTERS = 300
_LINE_BYTES = 4 * _LOGGED_CHARACTERS + 256
"""Longer than what is shown, so that what is to be hidden is not cut in two."""
_FREE_BYTES = 1024 * 1024
_PAUSE_SECONDS = 0.002
"""Pause after each chunk beyond the free bytes: 32 MB a second, at 500 turns of the loop."""
_SHOWN_CHARACTERS = 60


class Lines:
    """Cuts a stream into lines, and each line to `most_bytes`. Bytes beyond that are counted and dropped."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._half = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        """The lines that end in `data`, each with the number of bytes that were dropped."""
        # One split of the chunk: a loop over its lines would hold up the event loop when a library prints without end.
        end, *more = data.split(b"\n")
        if not more:
            self._take(end)
            return []
        most = self._most_bytes
        lines = [self._ended(end), *((line[:most], max(0, len(line) - most)) for line in more[:-1])]
        self._take(more[-1])
        return lines

    def skip(self, data: bytes, lines: int) -> bytes:
        """The last `lines` lines of `data`: the others are dropped."""
        _, *ends = data.rsplit(b"\n", lines + 1)
        if len(ends) <= lines:
            return data
        self._ended(b"")  # the line begun by an earlier chunk ended among those that are dropped
        return b"\n".join(ends)

    def end(self) -> list[tuple[bytes, int]]:
        """The unfinished line at the end of the stream, if there is one."""
        return [self._ended(b"")] if self._half else []

    @property
    def too_long(self) -> bytes:
        """The unfinished line, if it is cut already."""
        return bytes(self._half) if self._dropped else b""

    def _take(self, data: bytes) -> None:
        room = self._most_bytes - len(self._half)
        self._half += data[:room]
        self._dropped += max(0, len(data) - room)

    def _ended(self, end: bytes) -> tuple[bytes, int]:
        self._take(end)
        line = bytes(self._half), self._dropped
        self._half.clear()
        self._dropped = 0
        return line


class Throttle:
    """Pauses the reading of a pipe after each chunk beyond the free bytes: the writer waits, the loop serves others."""

    def __init__(self, free_bytes: int = _FREE_BYTES) -> None:
        self._left = free_bytes

    def took(self, size: int, pipe: asyncio.BaseTransport | None) -> None:
        """Count `size` bytes that came through `pipe`."""
        self._left -= size
        if self._left < 0 and isinstance(pipe, asyncio.ReadTransport) and not pipe.is_closing():
            pipe.pause_reading()
            asyncio.get_running_loop().call_later(_PAUSE_SECONDS, _resume, pipe)


def _resume(pipe: asyncio.ReadTransport) -> None:
    if not pipe.is_closing():
        pipe.resume_reading()


class Pipes(asyncio.SubprocessProtocol):
    """A child's answers and prints as they arrive; no task is needed to drain them.

    Each line of answers is a JSON array. `hide` is replaced in the log and in reasons, if the library prints it.
    """

    def __init__(self, source: str, *, hide: str = "") -> None:
        self.answers: deque[Any] = deque()
        self.stderr: deque[str] = deque(maxlen=_KEPT_LINES)
        self.asked = 0
        """How many answers were ever asked for: no more are taken."""
        self.not_an_answer = ""
        """The text that came instead of an answer. From then on nothing is read, and the child is being ended."""
        self.ended = False
        self.exited = asyncio.Event()
        self.news = asyncio.Event()
        self._answered = 0
        self._source = source
        self._hidden = hide
        self._transport: asyncio.SubprocessTransport | None = None
        self._answer_lines = Lines(MOST_ANSWER_BYTES)
        self._printed = Lines(_LINE_BYTES)
        self._throttle = Throttle()
        self._logged = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == ERRORS:
            self._print(data)
        elif not self.not_an_answer:
            self._read(data)
            self.news.set()

    def _read(self, data: bytes) -> None:
        for line, dropped in self._answer_lines.feed(data):
            found = None if dropped else self._parsed(line)
            if found is None:
                self._refuse(line)
                return
            self._answered += len(found)
            self.answers.extend(found)
        if endless := self._answer_lines.too_long:
            self._refuse(endless)

    def _parsed(self, line: bytes) -> list[Any] | None:
        """Answers of a line; None if it is no array, or has more of them than were asked for."""
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) and self._answered + len(found) <= self.asked else None

    def _refuse(self, data: bytes) -> None:
        self.not_an_answer = self._clean(data[:_LINE_BYTES])[:_SHOWN_CHARACTERS] or "an empty line"
        # Nothing behind it can be trusted either: the library writes to a descriptor that is not its own.
        self.ended = True
        transport = self._transport
        if transport is not None and transport.get_returncode() is None:
            transport.terminate()
        pipe = transport.get_pipe_transport(1) if transport is not None else None
        if pipe is not None:
            pipe.close()

    def _clean(self, data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        if self._hidden:
            text = text.replace(self._hidden, "(hidden)")
        return harmless(text)

    def _print(self, data: bytes) -> None:
        """Write the module's prints to the log, line by line and bounded, as some modules print without end."""
        rest = data
        if room := max(0, _LOGGED_LINES + 1 - self._logged):
            *first, rest = data.split(b"\n", room)
            self._log_all(b"".join(line + b"\n" for line in first))
        # A chunk may hold tens of thousands of lines more.
        self._log_all(self._printed.skip(rest, _KEPT_LINES))
        self._throttle.took(len(data), self._transport and self._transport.get_pipe_transport(ERRORS))

    def _log_all(self, data: bytes) -> None:
        for line, dropped in self._printed.feed(data):
            self._log(line, dropped)

    def _log(self, line: bytes, dropped: int) -> None:
        whole = self._clean(line)
        text = whole[:_LOGGED_CHARACTERS]
        if dropped or text != whole:
            text = f"{text} … (cut; the line has {len(line) + dropped} bytes)"
        self.stderr.append(text)
        self._logged += 1
        if self._logged <= _LOGGED_LINES:
            log.info("module of %s says: %s", self._source, text)
        elif self._logged == _LOGGED_LINES + 1:
            log.info("module of %s says more; the rest of this process's output is not logged", self._source)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Called when the child, and every process that inherited the pipe, has closed it."""
        del exc
        if fd == ERRORS:
            for line, dropped in self._printed.end():
                self._log(line, dropped)
        elif fd == 1:
            self.ended = True
            self.news.set()

    def process_exited(self) -> None:
        self.exited.set()
