"""Patterns of process logs: those that are shipped, and what a line of a log says. Pure.

A line is plain text, or a JSON object as Rust's `tracing` writes it: level, and a message among its fields.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from hsm_agent.text import one_line

PatternSeverity = Literal["warning", "critical"]
LONGEST_QUOTE = 200
_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")
_PLAIN_LEVEL = re.compile(r"\b(TRACE|DEBUG|INFO|WARN|ERROR)(?:ING)?\b")
_LEVEL_WITHIN = 80
"""Characters at a plain line's beginning where its level stands, behind the time."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class LogPattern:
    """A pattern by its name; `level` is the least severity at which a line must have been written."""

    name: str
    regex: str
    severity: PatternSeverity
    level: str = "TRACE"


CRATON = (
    LogPattern("self-test", r"(?i)(self[- ]?test|\bPOST\b|\bKAT\b|integrity (test|check)).*fail", "critical", "WARN"),
    LogPattern("drbg", r"(?i)(\bdrbg\b|entropy).*(fail|error)", "critical", "WARN"),
    LogPattern(
        "audit-open",
        r"(?i)audit.*(fail|cannot|could not|unable).*(open|write|create)|audit.*permission denied",
        "critical",
        "WARN",
    ),
    LogPattern("nonce-counter-95", r"(?i)AES-GCM .*count at 9[0-9] ?%", "critical"),
    LogPattern("certificate-expired", r"(?i)certificate.*\bexpired\b", "critical", "WARN"),
    LogPattern("nonce-counter-75", r"(?i)AES-GCM .*count at [78][0-9] ?%", "warning"),
    LogPattern("memory-lock", r"(?i)\bmlock(all)?\b.*fail|fail.*\bmlock", "warning"),
    LogPattern("tls-reload", r"(?i)\btls\b.*reload.*(fail|error)|(fail|error).*reload.*\btls\b", "warning"),
    LogPattern(
        "crl", r"(?i)\bCRL\b.*(fail|expired|stale|not configured)|(fail|no|expired|stale).*\bCRL\b", "warning", "WARN"
    ),
    LogPattern(
        "object-store", r"(?i)(object|encrypted|lockout|key)[ _]?store.*(i/o|fail|error|corrupt)", "warning", "WARN"
    ),
)
"""What Craton HSM's operators are told to watch for. Its source has no message for 95 % of the nonce counter; that
pattern is a guess from the one for 75 %."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log: what it says, and the level it was written at, or an empty one."""

    message: str
    level: str = ""

    def is_at_least(self, level: str) -> bool:
        """Whether it was written at that level or a worse one; a line without a level counts as the worst."""
        return not self.level or _LEVELS.index(self.level) >= _LEVELS.index(level)

    @property
    def quote(self) -> str:
        """The line as an alarm's text may have it."""
        return one_line(f"{self.level} {self.message}".strip())[:LONGEST_QUOTE]


def parse_line(line: bytes) -> LogLine:
    """What a line says. One that is no JSON object is plain text."""
    text = _COLOURS.sub("", line.decode("utf-8", "replace")).strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return _from_json(found, text)
    level = _PLAIN_LEVEL.search(text[:_LEVEL_WITHIN])
    return LogLine(text, level[1] if level is not None else "")


def _from_json(found: dict[str, object], text: str) -> LogLine:
    fields = found.get("fields")
    message = fields.get("message") if isinstance(fields, dict) else None
    if message is None:
        message = found.get("message", found.get("msg"))
    level = str(found.get("level", "")).upper().removesuffix("ING")
    return LogLine(message if isinstance(message, str) else text, level if level in _LEVELS else "")
