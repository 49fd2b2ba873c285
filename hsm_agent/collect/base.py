"""What a collector is. A collector is one room: its settings, its fetching, its pure parsing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Protocol, Self, runtime_checkable

from pydantic import Field, model_validator

from hsm_agent.settings.types import Deadline, Interval, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hsm_agent.model import Reading, Series, Usage


LONGEST_TIMEOUT_SECONDS = 3600.0


class SourceFailure(Exception):
    """The whole poll failed. The text is one line, names what failed and says what to check.

    `retry_in` is in how many seconds the collector wants to be called again, where the usual haste would do harm.
    """

    def __init__(self, text: str, *, retry_in: float | None = None) -> None:
        super().__init__(text)
        self.retry_in = retry_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """The result of one poll that reached its source.

    `readings` holds everything that was due, and an *unavailable* reading for whatever went missing since the
    last poll. `errors` are isolated failures (one slot, one call), a line each; `standing` are those of earlier polls
    in what was not tried again in this one; `remarks` are what people should know and no reading says. `next_in` says
    in how many seconds the collector wants to be called again. `calls` counts the C calls or requests made, by name.
    `raw` is what the source answered, for `poll --record`; its settings' `mask` makes it fit for JSON. `complete` says
    that every resource the source has, or misses, is in the readings: what is not among them is not the source's any
    more. `gone` are resources that were read until now and are not there under that name any more, nor missed.
    `waited_seconds` is the part of the poll in which a source that speaks by itself was listened to, which is no time
    it took.
    """

    readings: tuple[Reading, ...]
    next_in: float
    errors: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    slowest_call_seconds: float | None = None
    calls: Mapping[str, int] = field(default_factory=dict)
    raw: object = None
    complete: bool = False
    gone: tuple[str, ...] = ()
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorContext:
    """What a settings class is given to build its collector. `state_directory` is private to the agent (0700).

    `lasting` is False for a look from outside: the directory is then another one, and is thrown away.
    """

    state_directory: Path
    lasting: bool = True


class Collector(Protocol):
    """Reads one source. Never raises anything but SourceFailure; never blocks the event loop."""

    @property
    def name(self) -> str:
        """The source's name in the configuration."""

    @property
    def kind(self) -> str:
        """The kind of source, as written in the configuration."""

    @property
    def every(self) -> float:
        """Seconds between full polls; what `source_age_seconds` is judged by."""

    async def poll(self) -> Poll:
        """Read what is due now. Raises SourceFailure within the source's own time-out."""

    async def close(self) -> None:
        """Let go of everything; leaves no process behind."""

    async def forget(self, resource: str) -> bool:
        """Stop missing a resource that is gone for good. False if it was not missed."""

    def pids(self) -> tuple[int, ...]:
        """Processes this collector runs at the moment, for the agent's account of itself."""

    def calls_a_day(self) -> Mapping[str, float]:
        """How often each C call or request is made in a day for one token, at the configured rhythms."""


@runtime_checkable
class AlarmHolder(Protocol):
    """A collector whose source raised an alarm once and does not repeat it: the collector holds it until its end."""

    async def end_alarm(self, series: Series) -> bool:
        """An operator says it is over: read it as cleared from now on. False if it is not held."""


@runtime_checkable
class HasKeepers(Protocol):
    """A collector whose processes have keepers, which see them where /proc hides them from the agent."""

    def usages(self) -> Mapping[int, Usage]:
        """What each process uses, by pid; without those that were not looked at yet."""


def patience_seconds(every: float) -> float:
    """How long a source may go without a successful poll before it counts as down."""
    return max(120.0, 3 * every)


class SourceSettings(Strict, ABC):
    """What the settings of every kind of source have. A kind narrows `kind` and adds its own keys."""

    name: Annotated[str, Field(min_length=1)]
    kind: str
    every: Interval = 60.0
    timeout: Annotated[Deadline, Field(le=LONGEST_TIMEOUT_SECONDS)] = 10.0
    labels: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_slow_poll_is_not_taken_for_none(self) -> Self:
        patience = patience_seconds(self.every)
        if self.every + self.timeout > patience:
            raise ValueError(
                f"timeout: polls {self.every:g} s apart that take {self.timeout:g} s each come too late for "
                f"source-down, which waits for {patience:g} s; raise every, or lower timeout to "
                f"{patience - self.every:g} s"
            )
        return self

    @abstractmethod
    def build(self, context: CollectorContext) -> Collector:
        """The collector of this source."""

    @abstractmethod
    def about(self) -> Iterator[str]:
        """For `check-config`: what is watched; the first line stands behind the kind, others below it."""

    @abstractmethod
    def brings(self) -> Mapping[str, str]:
        """For `check-config`: metrics it may bring beside `source_…`, and on what that depends, in words or empty."""

    def trusted_files(self) -> Mapping[str, Path]:
        """Files that the agent runs or loads, by key: refused where somebody who is not trusted could change them."""
        return {}

    def declares(self) -> frozenset[str]:
        """Metrics (`custom_…`) that this source's own configuration names, and that rules may name then."""
        return frozenset()

    @staticmethod
    def mask(raw: object) -> object:
        """What a poll brought, fit to be shown to others; None where there is nothing to record."""
        del raw
        return None
