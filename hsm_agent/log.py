"""How the agent logs: one line a record on stderr, as text or as JSON; no control characters, never a secret.

Only a bug of ours has more lines: its traceback, indented below the record. Nothing that logs waits for whoever reads.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from hsm_agent.log_writer import LAST_SECONDS, LineWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

log = logging.getLogger(__name__)

REPEAT_SECONDS = 60.0
MOST_PEERS = 64

_NAMES = {"WARNING": "WARN", "CRITICAL": "ERROR"}
_PACKAGE = "hsm_agent."


def one_line(text: str) -> str:
    """The text with line breaks and control characters made visible, so that no input can forge a log line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {_level(record):<5} {_room(record)}: {one_line(record.getMessage())}"
        # Indented and escaped: what an exception says must not pass for a record of its own.
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


class _Handler(logging.Handler):
    """Hands records to the one writer of stderr."""

    def __init__(self, writer: LineWriter, form: Literal["text", "json"]) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(_Json() if form == "json" else _Text())
        writer.notice = self._notice

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        self._writer.write(self.format(record))

    def flush(self) -> None:
        """Called by logging, at the end of the process."""
        self._writer.flush(LAST_SECONDS)

    def _notice(self, count: int) -> str:
        text = "%d records were dropped here: standard error took no more"
        return self.format(log.makeRecord(log.name, logging.WARNING, __file__, 0, text, (count,), None))


# Without standard error, descriptor 2 is the next file that is opened: it must not be taken for it.
_writer = LineWriter(2 if sys.stderr is not None else os.open(os.devnull, os.O_WRONLY), notice=str)


def set_up(level: str, form: Literal["text", "json"]) -> None:
    """Send the agent's records to stderr; libraries speak from warning on."""
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
    """A line on stderr that is no record, such as the last one before the end; does not wait for long."""
    if sys.stderr is sys.__stderr__:
        _writer.write(text)
    _writer.flush()
    if sys.stderr is not sys.__stderr__ and sys.stderr is not None:  # replaced within the process, by who reads it
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def catch_stray_errors() -> None:
    """What Python itself would write to stderr, and wait for a reader, becomes records."""

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical("the agent ends with a bug", exc_info=(kind, error, trace))
        flush()

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        about = (type(found.exc_value), found.exc_value, found.exc_traceback) if found.exc_value else None
        log.error("a bug that nothing waits for: %s", found.err_msg or "in a destructor", exc_info=about)

    sys.excepthook, sys.unraisablehook = uncaught, unraisable


class SparingLog:
    """A line a minute for each kind of message and each peer, whoever does what how often.

    What was held back is counted, and said with the next line. Peers beyond a bound share one line.
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
        self._said: dict[tuple[str, str], float] = {}
        self._held_back: dict[tuple[str, str], int] = {}

    def warning(self, message: str, *args: object, peer: str = "") -> bool:
        """Log it, unless the last one of this message and peer was within a minute; whether it was."""
        now = self._clock()
        key = (message, peer)
        if key not in self._said and len(self._said) >= self._most_peers:
            self._forget_old(now)
        if key not in self._said and len(self._said) >= self._most_peers:
            key = (message, "other peers")
        if now - self._said.get(key, -self._every_seconds) < self._every_seconds:
            self._held_back[key] = self._held_back.get(key, 0) + 1
            return False
        self._said[key] = now
        more = self._held_back.pop(key, 0)
        since = f" ({more} more since the last such line)" if more else ""
        self._to.warning(f"{message}%s", *args, since)
        return True

    def _forget_old(self, now: float) -> None:
        self._said = {key: at for key, at in self._said.items() if now - at < self._every_seconds}
        self._held_back = {key: count for key, count in self._held_back.items() if key in self._said}
