"""What a sink is: it sends and classifies; the pump retries, counts and remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.model import Event, Guarantee
    from hsm_agent.wire.snmp.engine import Engine


LEAST_PATIENCE_SECONDS = 120.0
MOST_PATIENCE_SECONDS = 3600.0
"""The head of a queue waits for an answer no longer: what a sink's settings add up to must stay below."""
_MARGIN_SECONDS = 10.0


def patience_seconds(own_deadlines: float) -> float:
    """How long the pump lets a sink be silent whose own deadlines add up to so much. Raises ValueError if too long."""
    found = max(LEAST_PATIENCE_SECONDS, own_deadlines + _MARGIN_SECONDS)
    if found > MOST_PATIENCE_SECONDS:
        raise ValueError(
            f"timeout: an event could wait {found:g} s for an answer; {MOST_PATIENCE_SECONDS:g} s is the most"
        )
    return found


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

    Whether it is the event's fault or the receiver's, the pump finds out. `certain`: no receiver could ever take it,
    because it can't be put into words of the protocol at all.
    """

    def __init__(self, event_id: str, reason: str, *, certain: bool = False) -> None:
        super().__init__(reason)
        self.event_id = event_id
        self.certain = certain


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who speaks: what each message says of the agent itself."""

    agent_name: str
    host_name: str
    version: str
    enterprise_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkContext:
    """What a settings class is given to build its sink.

    `engine` is the agent's one SNMP engine, shared with the responder; `base_oid` the root of the agent's MIB.
    """

    origin: Origin
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
        """Say goodbye to the receiver and close, within two seconds."""


@runtime_checkable
class Announcer(Protocol):
    """A sink that can also send SNMP's own notifications (RFC 3418): coldStart, authenticationFailure."""

    async def notify(self, oid: tuple[int, ...]) -> None:
        """Send it once, unspooled. Raises Retry where it surely did not arrive."""
