"""Dates as people and backup jobs write them, and how far away they are. Pure; the clock is an argument.

A plain date is midnight, local time, at the beginning of that day, both ways: an age is then rather too great, and what
is left rather too little, by less than a day.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Literal

from hsm_agent.model import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["age", "expiry"]

AGE, LEFT = "declared_age_seconds", "declared_seconds_left"
METRICS: dict[Kind, str] = {"age": AGE, "expiry": LEFT}
_EPOCH = re.compile(r"[0-9]{1,11}")
_LONGEST_SHOWN = 40
_SKEW_SECONDS = 300.0
"""A file server's clock may be that far ahead of ours; its fresh file is of now."""


def instant(text: str) -> float:
    """UTC seconds since the epoch of an ISO 8601 date or date with time; without a zone it is local time.

    Raises ValueError.
    """
    try:
        when = dt.datetime.fromisoformat(text.strip())
        return (when if when.tzinfo is not None else when.astimezone()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"not a date: {text.strip()[:_LONGEST_SHOWN]!r} (write 2026-10-01 or 2026-10-01T06:30:00+02:00)"
        ) from None


def first_line_instant(data: bytes) -> float:
    """UTC seconds of a date on the first line: ISO 8601, or seconds since the epoch. Raises ValueError."""
    line = data.split(b"\n", 1)[0].decode("ascii", "replace").strip()
    if not line:
        raise ValueError("its first line is empty")
    return float(line) if _EPOCH.fullmatch(line) else instant(line)


def reading(source: str, name: str, kind: Kind, when: float, now: float, limit: float | None) -> Reading:
    """The age of, or the time left until, an instant. What lies ahead has no age: unavailable, with a reason."""
    value = now - when if kind == "age" else when - now
    if kind == "age" and -_SKEW_SECONDS <= value < 0:
        value = 0.0
    if kind == "age" and value < 0:
        days = math.ceil(-value / 86400)
        return missing(source, name, kind, now, f"the date is ahead of this host's clock, by {days} days or less")
    return Reading(source=source, resource=name, metric=METRICS[kind], value=value, time=now, limit=limit)


def missing(source: str, name: str, kind: Kind, now: float, reason: str) -> Reading:
    """An unavailable reading of a date."""
    return Reading(source=source, resource=name, metric=METRICS[kind], value=None, time=now, reason=reason)


def errors(readings: Sequence[Reading]) -> tuple[str, ...]:
    """A line for each reading that has no value."""
    return tuple(f"{each.resource}: {each.reason}" for each in readings if each.value is None)
