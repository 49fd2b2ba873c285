"""How the agent logs: one line a record on stderr, as text or as JSON; no control characters, never a secret.

Only a bug of the agent has more lines: its traceback, indented below the record. A caller that logs never waits for the
reader: a thread writes, lines that it cannot keep up with wait in a bounded queue, and what does not fit is dropped,
counted, and reported as soon as lines flow again.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

log = logging.getLogger(__name__)

REPEAT_SECONDS = 60.0
MOST_PEERS = 64
MOST_WAITING_BYTES = 4 * 1024 * 1024
LAST_SECONDS = 0.5
"""How long the end of the process waits for its last lines."""

_NAMES = {"WARNING": "WARN", "CRITICAL": "ERROR"}
_PACKAGE = "hsm_agent."


def one_line(text: str) -> str:
    """The text with line breaks and control characters made visible, so that no input can forge a log line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {_level(record):<5} {_room(record)}: {one_line(record.getMessage())}"
        # Indented and escaped: the text of an exception must not pass for a record of its own.
        return "\n    ".join([line, *_traceback(self, record)])


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "room": _room(record),
            "message": one_line(record.getMessage()),
        }
        if record.exc_info:
            entry["traceback"] = "\n".join(_traceback(self, record))
        return json.dumps(entry, ensure_ascii=False)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    lines = formatter.formatException(record.exc_info).split("\n") if record.exc_info else []
    return [one_line(line) for line in lines]


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(record: logging.LogRecord) -> str:
    return _NAMES.get(record.levelname, record.levelname)


def _room(record: logging.LogRecord) -> str:
    return record.name.removeprefix(_PACKAGE)


class LineWriter:
    """Writes lines to a descriptor that may take none: a pipe whose reader sleeps, a terminal on hold, a full disk.

    `notice` makes the line that says how many were dropped.
    """

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
        """Whether the descriptor took it. Waits as long as it takes nothing: only this thread does."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another process that shares the descriptor has set O_NONBLOCK
                select.select((), (self._descriptor,), ())
            except OSError:  # the reader is gone, or the disk is full: counted, and reported when lines flow again
                return False
        return True


class _Handler(logging.Handler):
    """Hands records to the one writer of stderr."""

    def __init__(self, writer: LineWriter, form: Literal["text", "json"]) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(_Json() if form == "json" else _Text())
        writer.notice = self._notice

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.write(self.format(record))

    def flush(self) -> None:
        """`logging` calls it at the end of the process."""
        self._writer.flush(LAST_SECONDS)

    def _notice(self, count: int) -> str:
        text = "%d records were dropped here: standard error took no more"
        return self.format(log.makeRecord(log.name, logging.WARNING, __file__, 0, text, (count,), None))


# Without standard error, descriptor 2 is the next file that the agent opens: the log must not be written into that.
_writer = LineWriter(2 if sys.stderr is not None else os.open(os.devnull, os.O_WRONLY), notice=str)


def set_up(level: str, form: Literal["text", "json"]) -> None:
    """Send the agent's records to stderr; those of libraries from warning on."""
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(_Handler(_writer, form))
    root.setLevel(logging.WARNING)
    logging.getLogger("hsm_agent").setLevel(level.upper())
    logging.captureWarnings(capture=True)


def flush(seconds: float = LAST_SECONDS) -> bool:
    """Wait until what was logged is written, at most so long."""
    return _writer.flush(seconds)


def dropped_total() -> int:
    """How many records standard error did not take, since the start."""
    return _writer.dropped_total


def say(text: str) -> None:
    """A line on stderr that is no record, such as the last one before the exit; waits for half a second at most."""
    if sys.stderr is sys.__stderr__:
        _writer.write(text)
    _writer.flush()
    if sys.stderr is not sys.__stderr__ and sys.stderr is not None:  # replaced within the process, as tests do
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def catch_stray_errors() -> None:
    """Log the errors that Python itself would write to stderr, where it would wait for the reader."""

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical("the agent ends with a bug", exc_info=(kind, error, trace))
        flush()

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        about = (type(found.exc_value), found.exc_value, found.exc_traceback) if found.exc_value else None
        log.error("a bug that nothing waits for: %s", found.err_msg or "in a destructor", exc_info=about)

    sys.excepthook, sys.unraisablehook = uncaught, unraisable


class SparingLog:
    """One line a minute for each message and peer, however often it is due: a peer must not fill the log.

    Lines that were held back are counted, and the next one says how many. Peers beyond a bound share one line.
    """

    def __init__(
        self,
        to: logging.Logger,
        *,
        every_seconds: float = REPEAT_SECONDS,
        most_peers: int = MOST_PEERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._to = to
        self._every_seconds = every_seconds
        self._most_peers = most_peers
        self._clock = clock
        self._logged_at: dict[tuple[str, str], float] = {}
        self._held_back: dict[tuple[str, str], int] = {}

    def warning(self, message: str, *args: object, peer: str = "") -> bool:
        """Log it, unless the last line of this message and peer is less than a minute old; whether it was logged."""
        now = self._clock()
        key = (message, peer)
        if key not in self._logged_at and len(self._logged_at) >= self._most_peers:
            self._forget_old(now)
        if key not in self._logged_at and len(self._logged_at) >= self._most_peers:
            key = (message, "other peers")
        if now - self._logged_at.get(key, -self._every_seconds) < self._every_seconds:
            self._held_back[key] = self._held_back.get(key, 0) + 1
            return False
        self._logged_at[key] = now
        more = self._held_back.pop(key, 0)
        since = f" ({more} more since the last such line)" if more else ""
        self._to.warning(f"{message}%s", *args, since)
        return True

    def _forget_old(self, now: float) -> None:
        self._logged_at = {key: at for key, at in self._logged_at.items() if now - at < self._every_seconds}
        self._held_back = {key: count for key, count in self._held_back.items() if key in self._logged_at}
