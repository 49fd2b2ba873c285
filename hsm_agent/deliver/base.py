"""What a sink is, and the settings that every kind has. A sink sends and classifies; the pump retries and counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol, Self, runtime_checkable

from pydantic import AfterValidator, Field, model_validator

from hsm_agent.model import Severity
from hsm_agent.net.address import source_address
from hsm_agent.settings.types import Deadline, Interval, Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hsm_agent.model import Event, Guarantee
    from hsm_agent.net.tls import TlsSettings
    from hsm_agent.wire.snmp.engine import Engine


LEAST_PATIENCE_SECONDS = 120.0
MOST_PATIENCE_SECONDS = 3600.0
"""The head of a queue waits for an answer no longer: what a sink's settings add up to must stay below."""
_MARGIN_SECONDS = 10.0


class Retry(Exception):
    """The receiver could not take it now (down, slow, closing). Everything unaccepted is sent again later.

    `sent` says that the session was up, the first unaccepted event had been sent, and the session ended or nothing was
    answered then: an event of which that is true again and again may be the cause.
    """

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent


class Refused(Exception):
    """The receiver answered that it does not take this event. `event_id` names it; the rest of the batch is unaffected.

    Whether the event or the receiver is the cause, the pump finds out. `certain`: no receiver could ever take it,
    because the protocol can't express it.
    """

    def __init__(self, event_id: str, reason: str, *, certain: bool = False) -> None:
        super().__init__(reason)
        self.event_id = event_id
        self.certain = certain


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentIdentity:
    """What each message says of the agent itself."""

    agent_name: str
    host_name: str
    version: str
    enterprise_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkContext:
    """What a settings class is given to build its sink.

    `engine` is the agent's one SNMP engine, shared with the responder; `base_oid` the root of the agent's MIB.
    """

    origin: AgentIdentity
    engine: Engine
    base_oid: tuple[int, ...]


class Sink(Protocol):
    """Sends events to one receiver. Never blocks the event loop; every await has a deadline."""

    @property
    def name(self) -> str:
        """The sink's name in the configuration."""

    @property
    def kind(self) -> str:
        """The kind of sink and its transport, such as `syslog relp` or `snmp inform`."""

    @property
    def guarantee(self) -> Guarantee:
        """How far its deliveries can be relied on."""

    @property
    def window(self) -> int:
        """How many events one `deliver` may be given."""

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """Send in order; call `accepted` for each event as the receiver accepts it, in order.

        Raises Retry or Refused for the first event that was not accepted. A connection is kept between calls;
        after Retry it is closed.
        """

    async def close(self) -> None:
        """End the session with the receiver and close, within two seconds."""


@runtime_checkable
class Announcer(Protocol):
    """A sink that can also send SNMP's own notifications (RFC 3418): coldStart, authenticationFailure."""

    async def notify(self, oid: tuple[int, ...]) -> None:
        """Send it once, unspooled. Raises Retry if it certainly did not arrive."""


class SinkSettings(Strict, ABC):
    """What the settings of every kind of sink have. A kind narrows `kind` and `to` and adds its own keys."""

    name: Annotated[str, Field(min_length=1)]
    kind: str
    to: str
    bind: Annotated[str, AfterValidator(source_address)] | None = None
    timeout: Deadline
    """Seconds; what they bound depends on the kind."""
    minimum_severity: Severity = Severity.WARNING
    heartbeat: Interval | None = None

    @property
    @abstractmethod
    def guarantee(self) -> Guarantee:
        """How far its deliveries can be relied on."""

    @property
    @abstractmethod
    def answer_seconds(self) -> float:
        """The longest time until one event is accepted or given up by the sink's own deadlines."""

    @property
    def patience_seconds(self) -> float:
        """How long the pump lets the sink be silent: longer than the sink's own deadlines, whose errors say more."""
        return max(LEAST_PATIENCE_SECONDS, self.answer_seconds + _MARGIN_SECONDS)

    @model_validator(mode="after")
    def _an_answer_comes_in_time(self) -> Self:
        if self.patience_seconds > MOST_PATIENCE_SECONDS:
            raise ValueError(
                f"timeout: an event could wait {self.patience_seconds:g} s for an answer;"
                f" {MOST_PATIENCE_SECONDS:g} s is the most"
            )
        return self

    @abstractmethod
    def build(self, context: SinkContext) -> Sink:
        """The sink. Neither connects nor reads a file: that was done when the settings were read."""

    def about(self, engine_id: bytes | None) -> Iterator[str]:
        """For `check-config`: the first line stands behind the kind, others below it.

        `engine_id`: the agent's own, None as long as it has none.
        """
        del engine_id
        yield f"{self.to}, {self.guarantee.value}, from {self.minimum_severity.value} on"

    def own_tls(self) -> TlsSettings | None:
        """How its connections are secured; None without TLS."""
        return None

    def speaks_v3(self) -> bool:
        """Whether it sends as the agent's SNMPv3 engine, and must be built anew when that is another one."""
        return False
