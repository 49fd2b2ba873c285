"""The source `kind: command`: its settings, and the collector that reads what an appliance or a tool prints.

It must not start a shell, nor two commands at once: an appliance has few sessions, and logs each of them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from hsm_agent.collect.base import (
    LONGEST_TIMEOUT_SECONDS,
    Collector,
    CollectorContext,
    Poll,
    SourceFailure,
    SourceSettings,
    first_of,
)
from hsm_agent.collect.command.parsers import LISTING, METRICS_PRODUCED, REGEX, ParserName, read, regex
from hsm_agent.collect.command.parsers.regex import MOST_PATTERNS
from hsm_agent.collect.command.parsers.text import Malformed, one_line
from hsm_agent.collect.command.poll_state import PRESENT, PollState
from hsm_agent.collect.command.process import CommandRunner, find, name_of
from hsm_agent.collect.identity import SeenObjectsFile, digest_of
from hsm_agent.collect.series import without_forgotten
from hsm_agent.settings.types import Deadline, Interval, Size, Strict
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hsm_agent.collect.command.parsers.text import ParsedOutput
    from hsm_agent.model import Reading

_DAY = 86400.0
_SHOWN_CHARACTERS = 500
_READ_SECONDS = 30.0
_LEAST_READING_SECONDS = 1.0
"""A command that took all of its time is read nevertheless."""
_GLOB = re.compile(r"[*?\[]")


def _words(words: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """The first word is an executable: a relative path is relative like the file's others."""
    if any("\0" in word for word in words):
        raise ValueError("a word of a command cannot hold a NUL")
    base = (info.context or {}).get("base")
    first = words[0]
    if not first or first != first.strip():
        raise ValueError("the first word is not an executable")
    return (str(Path(base) / first), *words[1:]) if base is not None and "/" in first else words


def _pattern(pattern: str) -> str:
    regex.compiled(pattern)
    return pattern


def _name(name: str) -> str:
    if not name or _GLOB.search(name):
        raise ValueError(
            f"not the name of one token or partition: {name!r} (where a label holds * ? or [: its serial number)"
        )
    return name


class RunSettings(Strict):
    """One command, and how what it prints is read."""

    command: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_words)]
    parser: ParserName
    patterns: Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], Field(max_length=MOST_PATTERNS)] = ()

    @model_validator(mode="after")
    def _patterns_are_for_regex(self) -> Self:
        if self.parser == REGEX and not self.patterns:
            raise ValueError("the parser regex needs patterns")
        if self.parser != REGEX and self.patterns:
            raise ValueError(f"patterns are for the parser regex; this is {self.parser}")
        return self


class CommandSettings(SourceSettings):
    """Commands that print what an HSM or its appliance says of itself."""

    kind: Literal["command"]
    runs: Annotated[tuple[RunSettings, ...], Field(min_length=1)]
    every: Interval = 300.0
    timeout: Annotated[Deadline, Field(le=LONGEST_TIMEOUT_SECONDS)] = 30.0
    environment: dict[str, str] = Field(default_factory=dict)
    output_limit: Annotated[Size, Field(gt=0, le=16 * 1024 * 1024)] = 256 * 1024
    resource: str = ""
    expected: tuple[Annotated[str, AfterValidator(_name)], ...] = ()
    audit_capacity: Annotated[int, Field(gt=0)] = 198120

    def build(self, context: CollectorContext) -> Collector:
        return CommandCollector(self, context)

    def about(self) -> Iterator[str]:
        yield f"{len(self.runs)} command{'s' if len(self.runs) > 1 else ''}"
        for run in self.runs:
            lost = "" if find(run.command[0], self.environment) else " (no such executable: the source would be down)"
            yield f"{run.parser}: {one_line(' '.join(run.command), _SHOWN_CHARACTERS)}{lost}"

    def metrics_produced(self) -> Mapping[str, str]:
        """What the parsers read, and what the patterns name."""
        named = (name for run in self.runs for text in run.patterns for name in regex.compiled(text).names)
        read = (name for run in self.runs for name in METRICS_PRODUCED.get(run.parser, ()))
        return dict.fromkeys(sorted({*named, *read} - {regex.RESOURCE}), "")

    def declares(self) -> frozenset[str]:
        """Metrics of the operator's own (`custom_…`) that the patterns name."""
        named = (name for run in self.runs for text in run.patterns for name in regex.compiled(text).names)
        return frozenset(name for name in named if name.startswith("custom_"))

    def trusted_files(self) -> Mapping[str, Path]:
        found = {f"runs.{index}.command": find(run.command[0], self.environment) for index, run in enumerate(self.runs)}
        return {key: path for key, path in found.items() if path is not None}


class CommandCollector(Collector):
    """Runs the commands of one source, one after the other; between polls nothing runs."""

    kind = "command"

    def __init__(self, settings: CommandSettings, context: CollectorContext | None = None) -> None:
        """Without a context tokens are remembered for no longer than this process."""
        super().__init__(settings)
        self._settings = settings
        self._patterns = [tuple(map(regex.compiled, run.patterns)) for run in settings.runs]
        self._runner = CommandRunner(settings.environment, settings.output_limit)
        self._reading = Lane(f"reading what a command of source {settings.name} printed")
        digests = [digest_of(run.command, run.parser) for run in settings.runs]
        self._memory = None if context is None else SeenObjectsFile(context.state_directory, settings.name, digests)
        self._is_new = self._memory is not None
        self._forgotten: set[str] = set()
        """Resources that were forgotten since the present poll began."""
        self._state = PollState(
            settings.name,
            resource=settings.resource,
            expected=settings.expected,
            audit_capacity=settings.audit_capacity,
            listing=[index for index, run in enumerate(settings.runs) if _lists_tokens(run)],
        )

    async def poll(self) -> Poll:
        """Run every command. Raises SourceFailure when none of them can be read."""
        loop = asyncio.get_running_loop()
        self._forgotten.clear()
        await self._remember()
        began = loop.time()
        deadline = began + self._settings.timeout
        readings: list[Reading] = []
        errors: list[str] = []
        slowest = 0.0
        runs = self._settings.runs
        for index in range(len(runs)):
            # Each has its share of the time left: one that hangs takes nothing from those behind it.
            share = (deadline - loop.time()) / (len(runs) - index)
            started = loop.time()
            try:
                parsed = await self._read(index, share)
                readings += self._state.read(index, parsed, time.time())
            except SourceFailure as failure:
                errors.append(str(failure))
                readings += self._state.fail(index, str(failure), time.time())
            slowest = max(slowest, loop.time() - started)
        if len(errors) == len(runs):
            self._state.finish(time.time())
            # Not sooner: every run is a login at an appliance, and many that fail may lock the account.
            raise SourceFailure(first_of(errors), retry_in_seconds=max(0.0, began + self.every_seconds - loop.time()))
        readings += self._state.finish(time.time())
        await self._keep()
        return Poll(
            # An operator may have forgotten what an earlier run of this poll had missed.
            readings=tuple(without_forgotten(readings, self._forgotten)),
            next_in_seconds=max(0.0, began + self.every_seconds - loop.time()),
            errors=tuple(errors),
            slowest_call_seconds=slowest,
            calls=Counter(_call(run) for run in runs),
            gone=self._state.gone,
        )

    async def _read(self, index: int, seconds: float) -> ParsedOutput:
        run = self._settings.runs[index]
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        printed = await self._runner.run(run.command, seconds)
        try:
            end = max(end, loop.time() + _LEAST_READING_SECONDS)
            # Off the loop: some pages are long, and an operator's pattern may be slow.
            work = partial(read, run.parser, self._patterns[index], printed.output, lambda: loop.time() > end)
            return await self._reading.call(work, seconds=_READ_SECONDS + seconds)
        except (Malformed, StuckError) as error:
            raise SourceFailure(f"{name_of(run.command)}: {error}") from error

    async def close(self) -> None:
        await self._runner.kill()

    def pids(self) -> tuple[int, ...]:
        return self._runner.pids()

    async def forget(self, resource: str) -> bool:
        await self._remember()
        known = self._state.forget(resource)
        self._forgotten.add(resource)
        await self._keep()
        return known

    async def _remember(self) -> None:
        """Once, whom the last process knew."""
        if self._memory is not None and self._is_new:
            seen = await self._memory.load()
            # A poll and an operator's `forget` may both have waited: only the first to come back starts the memory.
            if self._is_new:
                self._state.remember(seen)
            self._is_new = False

    async def _keep(self) -> None:
        if self._memory is not None:
            await self._memory.keep(self._state.seen)

    def calls_a_day(self) -> Mapping[str, float]:
        """How often each command is run in a day."""
        runs = Counter(_call(run) for run in self._settings.runs)
        return {name: count * _DAY / self.every_seconds for name, count in runs.items()}


def _call(run: RunSettings) -> str:
    return Path(run.command[0]).name


def _lists_tokens(run: RunSettings) -> bool:
    return run.parser in LISTING or any(PRESENT in regex.compiled(text).names for text in run.patterns)
