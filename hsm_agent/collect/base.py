"""The interface of collectors, and their kinds. A collector has its settings, its fetching and its pure parsing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol, Self

from pydantic import Field, model_validator

from hsm_agent.settings.types import ByKind, Deadline, Interval, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.model import Reading, Series, Usage
    from hsm_agent.net.tls import TlsSettings


LONGEST_TIMEOUT_SECONDS = 3600.0


class SourceFailure(Exception):
    """The whole poll failed. The text is one line, names what failed and says what to check.

    `retry_in_seconds`: when the collector wants to be called again, where the usual retry would come too soon.
    """

    def __init__(self, text: str, *, retry_in_seconds: float | None = None) -> None:
        super().__init__(text)
        self.retry_in_seconds = retry_in_seconds


def first_of(errors: Sequence[str]) -> str:
    """The first of the errors of a poll in which all failed, and the number of the others."""
    return f"{errors[0]} (and {len(errors) - 1} more)" if len(errors) > 1 else errors[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """The result of one poll that reached its source."""

    readings: tuple[Reading, ...]
    """All that was due, and an *unavailable* reading for each series that the source had before and has no more."""
    next_in_seconds: float
    """When the collector wants to be called again."""
    errors: tuple[str, ...] = ()
    """Isolated failures (one slot, one call), a line each."""
    standing: tuple[str, ...] = ()
    """Failures of earlier polls in what this poll did not try again."""
    remarks: tuple[str, ...] = ()
    """What an operator should know and no reading shows."""
    slowest_call_seconds: float | None = None
    calls: Mapping[str, int] = field(default_factory=dict)
    """The number of C calls or requests made, by name."""
    raw: object = None
    """What the source answered, for `poll --record`; the settings' `mask` makes it fit for JSON."""
    complete: bool = False
    """Every resource that the source has, or misses, is in the readings: any other is not the source's any more."""
    gone: tuple[str, ...] = ()
    """Resources that earlier polls read, and that are neither there under that name nor missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorContext:
    """What a settings class is given to build its collector. `state_directory` is private to the agent (0700).

    `lasting` is False for a look from outside: the directory is then another one, and is thrown away.
    """

    state_directory: Path
    lasting: bool = True


class ChildProcesses(Protocol):
    """The child processes of a source."""

    def pids(self) -> tuple[int, ...]:
        """Those that live now."""

    def usages(self) -> Mapping[int, Usage]:
        """CPU and memory of those that /proc hides from the agent, by process id."""


class Collector(ABC):
    """Reads one source. Raises nothing but SourceFailure and StuckError; never blocks the event loop."""

    kind: ClassVar[str]
    """The kind of source, as written in the configuration."""
    children: ChildProcesses | None = None

    def __init__(self, settings: SourceSettings) -> None:
        self.name = settings.name
        self.every_seconds = settings.every
        """Seconds between full polls; `source_age_seconds` is evaluated against it."""

    @abstractmethod
    async def poll(self) -> Poll:
        """Read what is due now. Raises SourceFailure within the source's own timeout."""

    async def close(self) -> None:  # noqa: B027 - most collectors hold nothing
        """Release everything; leaves no process behind."""

    async def forget(self, resource: str) -> bool:
        """Stop missing a resource that an operator says was removed. Returns False if it was not missed."""
        del resource
        return False

    def pids(self) -> tuple[int, ...]:
        """The running child processes."""
        return self.children.pids() if self.children else ()

    def usages(self) -> Mapping[int, Usage]:
        """CPU and memory of child processes that /proc hides from the agent, by process id."""
        return self.children.usages() if self.children else {}

    def calls_a_day(self) -> Mapping[str, float]:
        """The number of C calls or requests a day for one token, by name, at the configured intervals."""
        return {}


class PushCollector(Collector):
    """A collector whose source sends by itself. `poll` returns at once with what was received.

    The runner awaits `wait` before each poll. So the time of waiting is not the poll's, and has no deadline.
    """

    @abstractmethod
    async def wait(self) -> None:
        """Return when something was received, when a time-out of the source's own is due, or after `every`."""

    @abstractmethod
    async def end_alarm(self, series: Series) -> bool:
        """Clear an alarm for an operator: its source raised it once and may never clear it. False if unknown."""


def patience_seconds(every_seconds: float) -> float:
    """How long a source may go without a successful poll before it counts as down."""
    return max(120.0, 3 * every_seconds)


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
    def metrics_produced(self) -> Mapping[str, str]:
        """For `check-config`: the metrics it may read beside `source_…`, each with its condition or an empty text."""

    def trusted_files(self) -> Mapping[str, Path]:
        """Files that the agent runs or loads, by key: refused where somebody who is not trusted could change them."""
        return {}

    def own_tls(self) -> TlsSettings | None:
        """How its connections are secured, where the agent watches the certificates of that; None where it does not."""
        return None

    def declares(self) -> frozenset[str]:
        """Metrics (`custom_…`) that this source's own configuration names, and that rules may name then."""
        return frozenset()

    @staticmethod
    def mask(raw: object) -> object:
        """`Poll.raw` without what others must not see; None where there is nothing to record."""
        del raw
        return None


KINDS = ByKind(
    {
        "audit_trail": "hsm_agent.collect.trails.source:AuditTrailSettings",
        "canary": "hsm_agent.collect.canary.source:CanarySettings",
        "certificate": "hsm_agent.collect.certificate.source:CertificateSettings",
        "cloudwatch": "hsm_agent.collect.aws.cloudwatch:CloudWatchSettings",
        "command": "hsm_agent.collect.command.source:CommandSettings",
        "declared": "hsm_agent.collect.declared:DeclaredSettings",
        "fleet": "hsm_agent.collect.fleet.source:FleetSettings",
        "process_log": "hsm_agent.collect.logs.source:ProcessLogSettings",
        "pkcs11": "hsm_agent.collect.pkcs11.source:Pkcs11Settings",
        "snmp": "hsm_agent.collect.snmp.source:SnmpSettings",
        "snmp_trap_listener": "hsm_agent.collect.traps.source:SnmpTrapListenerSettings",
    }
)
AnySource = Annotated[SourceSettings, KINDS]
"""One of the kinds of source; told apart by `kind`."""
