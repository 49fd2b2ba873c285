"""How the agent logs: one line a record on stderr, as text or as JSON; no control characters, never a secret.

Only a bug of ours has more lines: its traceback, indented below the record.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

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


def set_up(level: str, form: Literal["text", "json"]) -> None:
    """Send the agent's records to stderr; libraries speak from warning on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("hsm_agent").setLevel(level.upper())
    logging.captureWarnings(capture=True)
