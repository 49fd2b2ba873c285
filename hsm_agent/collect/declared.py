"""The source `kind: declared`: dates that cannot be measured, written in the configuration or left in a file by a job.

When the last backup was tested, until when a firmware is supported, when a custodian's card is to be renewed.

A plain date is midnight, local time, at the beginning of that day, both ways: an age is then rather too great, and the
time left rather too little, by less than a day.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import re
import time
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings, first_of
from hsm_agent.collect.file_reader import FileReader, FileTrouble
from hsm_agent.collect.series import Fact
from hsm_agent.settings.types import Duration, Interval, LocalPath, Strict, refuse_doubles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hsm_agent.model import Reading


Kind = Literal["age", "expiry"]

AGE, LEFT = "declared_age_seconds", "declared_seconds_left"
METRICS: dict[Kind, str] = {"age": AGE, "expiry": LEFT}
_EPOCH = re.compile(r"[0-9]{1,11}")
_LONGEST_SHOWN = 40
_DAY = 86400.0
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


def declared_fact(kind: Kind, when: float, now: float, limit: float | None) -> Fact:
    """The age of, or the time left until, an instant. What lies ahead has no age: unavailable, with a reason."""
    if kind == "expiry":
        return Fact(LEFT, when - now, limit=limit)
    if when - now > _SKEW_SECONDS:
        days = math.ceil((when - now) / _DAY)
        return Fact(AGE, None, f"the date is ahead of this host's clock, by {days} days or less")
    return Fact(AGE, max(0.0, now - when), limit=limit)


_MOST_LINE_BYTES = 256


def _date_text(value: object) -> object:
    """A date as text, whatever the reader of the file made of it; refused where it is none."""
    text = value.isoformat() if isinstance(value, dt.date) else value
    if isinstance(text, str):
        instant(text)
    return text


class DeclaredDate(Strict):
    """One date: given as it is, or as a file's time of modification or first line."""

    name: Annotated[str, Field(min_length=1)]
    kind: Literal["age", "expiry"]
    date: Annotated[str, BeforeValidator(_date_text)] | None = None
    file: LocalPath | None = None
    read: Literal["modified", "first-line"] = "modified"
    warning: Annotated[Duration, Field(gt=0)] | None = None
    """The age from which it is an alarm; `expiry` has its levels in the rule."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.date is None) == (self.file is None):
            raise ValueError("name exactly one of date, file")
        if self.file is None and "read" in self.model_fields_set:
            raise ValueError("read: only with file")
        if self.kind == "expiry" and self.file is not None and self.read == "modified":
            raise ValueError("read: an expiry stands on the file's first line; write read: first-line")
        if self.kind == "expiry" and self.warning is not None:
            raise ValueError("warning: only with kind: age (of an expiry the rule declared-date has the levels)")
        return self


class DeclaredSettings(SourceSettings):
    """Dates."""

    kind: Literal["declared"]
    every: Interval = 300.0
    dates: Annotated[tuple[DeclaredDate, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        refuse_doubles("dates", [each.name for each in self.dates], "dates")
        return self

    def build(self, context: CollectorContext) -> Collector:
        del context
        return DeclaredCollector(self)

    def about(self) -> Iterator[str]:
        yield f"{len(self.dates)} date{'s' * (len(self.dates) != 1)}"
        for each in self.dates:
            yield f"{each.name}: {each.kind} of {each.date or each.file}"

    def metrics_produced(self) -> Mapping[str, str]:
        """Time left, or age, as the dates are declared."""
        return dict.fromkeys(sorted({METRICS[each.kind] for each in self.dates}), "")


class DeclaredCollector(Collector):
    """Reads the files, and the clock."""

    kind = "declared"

    def __init__(self, settings: DeclaredSettings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._files = FileReader()

    async def poll(self) -> Poll:
        """Every date. Raises SourceFailure where none could be had."""
        deadline = asyncio.get_running_loop().time() + self._settings.timeout
        readings = await asyncio.gather(*(self._reading(each, deadline) for each in self._settings.dates))
        problems = tuple(f"{each.resource}: {each.reason}" for each in readings if each.value is None)
        if len(problems) == len(readings):
            raise SourceFailure(f"no date could be read: {first_of(problems)}")
        return Poll(
            readings=tuple(readings),
            next_in_seconds=self.every_seconds,
            errors=problems,
            calls={"file": sum(each.file is not None for each in self._settings.dates)},
            complete=True,
        )

    async def _reading(self, declared: DeclaredDate, deadline: float) -> Reading:
        try:
            when = await self._instant(declared, deadline)
            fact = declared_fact(declared.kind, when, time.time(), declared.warning)
        except (FileTrouble, ValueError) as error:
            fact = Fact(METRICS[declared.kind], None, str(error))
        return fact.reading(self.name, time.time(), resource=declared.name)

    async def _instant(self, declared: DeclaredDate, deadline: float) -> float:
        if declared.file is None:
            # Each time anew: local midnight moves with the host's time zone.
            return instant(declared.date or "")
        seconds = deadline - asyncio.get_running_loop().time()
        content = await self._files.read(declared.file, most_bytes=_MOST_LINE_BYTES, seconds=seconds)
        if declared.read == "modified":
            return content.modified
        try:
            return first_line_instant(content.data)
        except ValueError as error:
            raise ValueError(f"{declared.file}: {error}") from error

    def calls_a_day(self) -> Mapping[str, float]:
        return {"file": sum(each.file is not None for each in self._settings.dates) * _DAY / self.every_seconds}
