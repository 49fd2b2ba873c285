"""The source `kind: process_log`: a log of the module's software, followed and searched for patterns.

A log that is there when the agent first starts is read from its end on: what it told before was of another time. Later
it goes on from where it was read to, restarts and rotations included.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings
from hsm_agent.collect.checkpoint_file import CheckpointFile
from hsm_agent.collect.followed_file import STEP_SECONDS, FollowedSet
from hsm_agent.collect.logs.patterns import CRATON, LogPattern, PatternSeverity, parse_line
from hsm_agent.collect.rotated_set import FilePosition, Member, UnreadableFileError, position_in, refuse_special
from hsm_agent.collect.trails.formats import LineRecords
from hsm_agent.model import Reading
from hsm_agent.settings.regex import compile_pattern
from hsm_agent.settings.types import Deadline, Interval, LocalPath, Strict
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
MOST_PATTERNS = 100
_ONLY = "log"
"""The name of a source's one checkpoint."""
_SHIPPED = {"craton": CRATON}


class PatternSettings(Strict):
    """One pattern of one's own, or another severity for a shipped one."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
    regex: str
    severity: PatternSeverity = "warning"
    level: Literal["trace", "debug", "info", "warn", "error"] = "trace"

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        compile_pattern(value)
        return value


class ProcessLogSettings(SourceSettings):
    """A log file and what is looked for in it."""

    kind: Literal["process_log"]
    path: LocalPath
    every: Interval = 60.0
    timeout: Annotated[Deadline, Field(le=60.0)] = 10.0
    shipped: Literal["craton"] | None = None
    """The set of patterns that is shipped for this software."""
    patterns: Annotated[tuple[PatternSettings, ...], Field(max_length=MOST_PATTERNS)] = ()
    """Patterns of one's own; one with the name of a shipped pattern takes its place."""

    @model_validator(mode="after")
    def _there_are_patterns(self) -> Self:
        names = [each.name for each in self.patterns]
        if len(set(names)) < len(names):
            raise ValueError("patterns: two have one name")
        if not self.log_patterns():
            raise ValueError("patterns: there is none; name some, or a shipped set: shipped: craton")
        return self

    def log_patterns(self) -> tuple[LogPattern, ...]:
        """All patterns, those of one's own first."""
        own = tuple(LogPattern(each.name, each.regex, each.severity, each.level.upper()) for each in self.patterns)
        names = {each.name for each in own}
        shipped = _SHIPPED[self.shipped] if self.shipped is not None else ()
        return (*own, *(each for each in shipped if each.name not in names))

    def build(self, context: CollectorContext) -> Collector:
        """The collector of this source."""
        return ProcessLogCollector(self, context)

    def about(self) -> Iterator[str]:
        """What is looked for."""
        yield str(self.path)
        for each in self.log_patterns():
            yield f"{each.name} ({each.severity}): {each.regex}"

    def metrics_produced(self) -> Mapping[str, str]:
        """Matches of each pattern."""
        return {"log_matches_total": "", "log_lines_total": ""}


@dataclass(slots=True, kw_only=True)
class LogCheckpoint:
    """How far a log was read, and what was found; `matches` by the pattern's name, `quotes` the latest line of each.

    `modified` is when the file was written to last, UTC seconds, as it was seen when lines were taken from it.
    """

    position: FilePosition | None = None
    modified: float = 0.0
    lines: int = 0
    matches: dict[str, int] = field(default_factory=dict)
    quotes: dict[str, str] = field(default_factory=dict)


class LogReader(FollowedSet):
    """Follows one log and searches its lines."""

    checkpoint: LogCheckpoint

    def __init__(self, settings: ProcessLogSettings, checkpoint: LogCheckpoint | None, *, is_new: bool) -> None:
        super().__init__(settings.path)
        self.checkpoint = LogCheckpoint() if checkpoint is None else checkpoint
        self._patterns = [(each, compile_pattern(each.regex)) for each in settings.log_patterns()]
        self._begins_at_end = is_new

    def _records(self) -> LineRecords:
        return LineRecords()

    def _first(self, found: Sequence[Member]) -> FilePosition:
        """The end of a log that was there before the agent; the beginning of one that came later."""
        known = self.position
        if known is not None:  # it was empty
            same = (each for each in found if (each.device, each.inode) == (known.device, known.inode))
            return position_in(next(same, None) or self._first_unread(found), 0)
        if not self._begins_at_end:
            # There was none when it was looked for: it may have been rotated since.
            return position_in(found[0], 0)
        self.checkpoint.modified = found[-1].modified
        return position_in(found[-1], found[-1].size)

    def _first_unread(self, found: Sequence[Member]) -> Member:
        """The oldest file that was written to since lines were taken last."""
        return next((each for each in found if each.modified > self.checkpoint.modified), found[-1])

    def look(self, seconds: float) -> bool:
        """Read on: whether there is more."""
        more = self.step(seconds)
        self._begins_at_end = False
        return more

    def _take(self, file: Member, records: list[bytes]) -> None:
        point = self.checkpoint
        point.modified = file.modified
        for record in records:
            if not record.strip():
                continue
            point.lines += 1
            line = parse_line(record)
            for each, pattern in self._patterns:
                if line.is_at_least(each.level) and pattern.fits(line.message):
                    point.matches[each.name] = point.matches.get(each.name, 0) + 1
                    point.quotes[each.name] = line.quote

    def _leave(self, file: Member, end: float) -> bool:
        del end
        self.checkpoint.modified = file.modified  # it may have grown since lines were taken from it
        return True

    def _next_file(self, position: FilePosition) -> None:
        self.position = position

    def _lost(self, found: Sequence[Member]) -> bool:
        """What was read to is not there any more: the log was emptied, or rotated away while nobody read."""
        assert self.position is not None
        newest = found[-1]
        first = newest if newest.inode == self.position.inode else self._first_unread(found)
        self.position = position_in(first, 0)
        return True


class ProcessLogCollector(Collector):
    """Looks at the log once a second, on a thread; publishes what changed at once, and everything after `every`."""

    kind = "process_log"

    def __init__(
        self,
        settings: ProcessLogSettings,
        context: CollectorContext,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(settings)
        self._settings = settings
        self._file = CheckpointFile(context.state_directory, "log", settings.name, LogCheckpoint)
        self._lane = Lane(str(settings.path))
        self._monotonic = monotonic
        self._wall = wall
        self._reader: LogReader | None = None
        self._published: dict[Any, float | int | None] = {}
        self._full_at = 0.0
        self._was_there = True
        self._trouble: list[str] = []
        """What the last look could not do."""

    async def poll(self) -> Poll:
        """Read on. Raises SourceFailure."""
        try:
            readings, more = await self._lane.call(self._look, seconds=self._settings.timeout)
        except (OSError, StuckError, UnreadableFileError) as error:
            raise SourceFailure(f"{self._settings.path}: {getattr(error, 'strerror', None) or error}") from error
        now = self._monotonic()
        is_full = now >= self._full_at
        if is_full:
            self._full_at = now + self.every_seconds
        fresh = tuple(each for each in readings if is_full or self._published.get(each.series) != each.value)
        self._published = {each.series: each.value for each in readings}
        if self._reader is not None and self._reader.is_there != self._was_there:
            self._was_there = self._reader.is_there
            if not self._was_there:
                log.warning("source %s: %s is not there: waiting for it", self.name, self._settings.path)
        return Poll(
            readings=fresh,
            next_in_seconds=0.0 if more else LOOK_SECONDS,
            errors=tuple(self._trouble),
            calls={"file": 1},
            complete=is_full,
        )

    def _look(self) -> tuple[list[Reading], bool]:
        if self._reader is None:
            checkpoint = self._file.load().get(_ONLY)
            self._reader = LogReader(self._settings, checkpoint, is_new=checkpoint is None)
        more = self._reader.look(min(STEP_SECONDS, self._settings.timeout / 2))
        if not self._reader.is_there:
            refuse_special(self._settings.path)
        self._trouble = [self._reader.trouble] if self._reader.trouble else []
        try:
            self._file.store({_ONLY: self._reader.checkpoint})
        except OSError as error:
            self._trouble.append(f"the checkpoint cannot be kept: {error.strerror}")
        return list(self._readings(self._reader.checkpoint)), more

    def _readings(self, point: LogCheckpoint) -> Iterator[Reading]:
        reading = partial(Reading, source=self.name, resource=self._settings.path.name, time=self._wall())
        yield reading(metric="log_lines_total", value=point.lines)
        for each in self._settings.log_patterns():
            labels = (("pattern", each.name), ("severity", each.severity))
            note = point.quotes.get(each.name, "")
            yield reading(metric="log_matches_total", value=point.matches.get(each.name, 0), labels=labels, note=note)
