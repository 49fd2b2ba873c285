"""The source `kind: declared`: dates nobody can measure, written in the configuration or left in a file by a job.

When the last backup was tested, until when a firmware is supported, when a custodian's card is to be renewed.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings
from hsm_agent.collect.declared import parse as declared_parse
from hsm_agent.collect.file_reader import FileReader, FileTrouble
from hsm_agent.settings.types import Duration, Interval, LocalPath, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hsm_agent.model import Reading

_DAY = 86400.0
_LONGEST_LINE = 256


def _date_text(value: object) -> object:
    """A date as text, whatever the reader of the file made of it; refused where it is none."""
    text = value.isoformat() if isinstance(value, dt.date) else value
    if isinstance(text, str):
        declared_parse.instant(text)
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
        names = [each.name for each in self.dates]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ValueError(f"dates.{index}.name: two dates are called {name!r}")
        return self

    def build(self, context: CollectorContext) -> Collector:
        """The collector of this source."""
        del context
        return DeclaredCollector(self)

    def about(self) -> Iterator[str]:
        """What is declared, a line each."""
        yield f"{len(self.dates)} date{'s' * (len(self.dates) != 1)}"
        for each in self.dates:
            yield f"{each.name}: {each.kind} of {each.date or each.file}"

    def brings(self) -> Mapping[str, str]:
        """Time left, or age, as the dates are declared."""
        return dict.fromkeys(sorted({declared_parse.METRICS[each.kind] for each in self.dates}), "")


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
        errors = declared_parse.errors(readings)
        if len(errors) == len(readings):
            others = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise SourceFailure(f"no date could be read: {errors[0]}{others}")
        return Poll(
            readings=tuple(readings),
            next_in=self.every,
            errors=errors,
            calls={"file": sum(each.file is not None for each in self._settings.dates)},
            complete=True,
        )

    async def _reading(self, declared: DeclaredDate, deadline: float) -> Reading:
        try:
            when = await self._instant(declared, deadline)
        except (FileTrouble, ValueError) as error:
            return declared_parse.missing(self.name, declared.name, declared.kind, time.time(), str(error))
        return declared_parse.reading(self.name, declared.name, declared.kind, when, time.time(), declared.warning)

    async def _instant(self, declared: DeclaredDate, deadline: float) -> float:
        if declared.file is None:
            # Each time anew: local midnight moves with the host's time zone.
            return declared_parse.instant(declared.date or "")
        seconds = deadline - asyncio.get_running_loop().time()
        content = await self._files.read(declared.file, most=_LONGEST_LINE, seconds=seconds)
        if declared.read == "modified":
            return content.modified
        try:
            return declared_parse.first_line_instant(content.data)
        except ValueError as error:
            raise ValueError(f"{declared.file}: {error}") from error

    def calls_a_day(self) -> Mapping[str, float]:
        """File reads a day."""
        return {"file": sum(each.file is not None for each in self._settings.dates) * _DAY / self.every}
