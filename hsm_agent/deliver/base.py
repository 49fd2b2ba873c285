"""What a sink is, the settings of every kind, and what kinds share. A sink sends; the pump retries and counts."""

from __future__ import annotations

import asyncio
import errno
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol, Self, runtime_checkable

from pydantic import AfterValidator, Field, field_validator, model_validator

from hsm_agent.model import Guarantee, Severity
from hsm_agent.net.address import Address, source_address
from hsm_agent.net.udp import LinkError
from hsm_agent.settings.types import Deadline, Interval, Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hsm_agent.model import AgentIdentity, Event
    from hsm_agent.net.tls import TlsSettings
    from hsm_agent.net.udp import UdpLink
    from hsm_agent.wire.snmp.engine import Engine

    MaySend = Callable[[Event], bool]
    """Whether an event may be sent by this agent now."""

LEAST_PATIENCE_SECONDS = 120.0
MOST_PATIENCE_SECONDS = 3600.0
"""The head of a queue waits for an answer no longer: what a sink's settings add up to must stay below."""
_MARGIN_SECONDS = 10.0
MESSAGES_A_TURN = 16
"""How many messages a sink encodes before it lets the event loop turn: a fifth of a millisecond each."""
_DATAGRAM_WINDOW = 32
_GRACE_SECONDS = 0.02
"""How long a refusal (ICMP port unreachable) is waited for: it takes a round trip, and most networks drop it."""
_LOOK_UP_EVERY_SECONDS = 60.0
"""A receiver that moved to another address would never be noticed otherwise."""


class Retry(Exception):
    """The receiver could not take it now (down, slow, closing). Everything unaccepted is sent again later.

    `sent` says that the session was up, the first unaccepted event had been sent, and the session ended or nothing was
    answered then: an event of which that is true again and again may be the cause. `asked_seconds`: how long the
    receiver asked to be left alone.
    """

    def __init__(self, reason: str, *, sent: bool = False, asked_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.sent = sent
        self.asked_seconds = asked_seconds


class Refused(Exception):
    """The receiver answered that it does not take this event. `event_id` names it; the rest of the batch is unaffected.

    Whether the event or the receiver is the cause, the pump finds out. `certain`: no receiver could ever take it,
    because the protocol can't express it.
    """

    def __init__(self, event_id: str, reason: str, *, certain: bool = False) -> None:
        super().__init__(reason)
        self.event_id = event_id
        self.certain = certain


class Withheld(Exception):
    """What is left may not be sent by this agent now: another one tells it. Says nothing of the receiver.

    `sent`: an event that was not accepted had been sent before.
    """

    def __init__(self, *, sent: bool = False) -> None:
        super().__init__("not told any more by this agent")
        self.sent = sent


def always(event: Event) -> bool:
    """For `deliver`: every event may be sent."""
    del event
    return True


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

    async def deliver(
        self, events: Sequence[Event], accepted: Callable[[Event], None], may_send: MaySend = always
    ) -> None:
        """Send in order; call `accepted` for each event as the receiver accepts it, in order.

        Raises Retry or Refused for the first event that was not accepted. A connection is kept between calls;
        after Retry it is closed. `may_send` is asked before each write of an event, with nothing awaited in between;
        where it says no, answers to what was sent are still waited for, and Withheld is raised.
        """

    async def close(self) -> None:
        """End the session with the receiver and close, within two seconds."""


@runtime_checkable
class Announcer(Protocol):
    """A sink that can also send SNMP's own notifications (RFC 3418): coldStart, authenticationFailure."""

    async def notify(self, oid: tuple[int, ...]) -> None:
        """Send it once, unspooled. Raises Retry if it certainly did not arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAlarm:
    """An alarm that is raised, and of which a sink was told. `since`: UTC seconds.

    `is_last_word`: `event` is what the sink was told last, as far as the agent knows. Otherwise a silence holds it
    back, or it waits in the spool: only the sink knows what it told.
    """

    event: Event
    since: float
    is_last_word: bool


@runtime_checkable
class Repeater(Protocol):
    """A sink whose receiver forgets: what is on is told again, beside the spool."""

    repeat_seconds: float

    def recall(self, told: Mapping[str, frozenset[Severity]]) -> None:
        """Under which severities the receiver may know alarms, where known. What the sink knows itself is void.

        Before anything else, and after another agent has told.
        """

    async def repeat(
        self, alarms: Sequence[ToldAlarm], progress: Callable[[], None], may_send: MaySend = always
    ) -> None:
        """Tell again what is on; `progress` is called at each answer. Raises as `deliver` does.

        Without an answer there was nothing to tell, which says nothing of the receiver.
        """


class SinkSettings(Strict, ABC):
    """What the settings of every kind of sink have. A kind narrows `kind` and adds its own keys."""

    schemes: ClassVar[tuple[str, ...]]
    """How `to` may begin."""

    name: Annotated[str, Field(min_length=1)]
    kind: str
    to: str
    bind: Annotated[str, AfterValidator(source_address)] | None = None
    timeout: Deadline
    """Seconds; what they bound depends on the kind."""
    minimum_severity: Severity = Severity.WARNING
    heartbeat: Interval | None = None

    @field_validator("to")
    @classmethod
    def _normalized(cls, text: str) -> str:
        return str(Address.parse(text, cls.schemes))

    @property
    def address(self) -> Address:
        """The receiver: `to`, parsed."""
        return Address.parse(self.to, self.schemes)

    @property
    def transport(self) -> str:
        """What the sink's own `kind` will be: the row of a sink stands in its table before the sink is built."""
        return self.kind

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

    def warnings_in_group(self) -> tuple[str, ...]:
        """For `check-config`: what does not suit a sink that several agents tell as one, each with its key."""
        return ()

    def own_tls(self) -> TlsSettings | None:
        """How its connections are secured; None without TLS."""
        return None

    def speaks_v3(self) -> bool:
        """Whether it sends as the agent's SNMPv3 engine, and must be built anew when that is another one."""
        return False


class OrderedBatch:
    """The events of one `deliver`. Answers may come in any order; events are reported in their own."""

    def __init__(
        self, events: Sequence[Event], accepted: Callable[[Event], None], acknowledged: Collection[str]
    ) -> None:
        """`acknowledged`: ids of events that an earlier call was answered for and could not report."""
        self._events = events
        self._accepted = accepted
        self._answers: dict[int, Refused | None] = {
            position: None for position, event in enumerate(events) if event.event_id in acknowledged
        }
        self._reported = 0

    def unanswered(self) -> list[tuple[int, Event]]:
        """The events without an answer, with their positions."""
        return [(position, event) for position, event in enumerate(self._events) if position not in self._answers]

    def answered(self, position: int, refused: Refused | None = None) -> None:
        """The receiver's answer to one event; None if it was accepted."""
        self._answers[position] = refused
        self.report()

    def report(self) -> None:
        """Report what was accepted, up to the first event that was refused or has no answer yet."""
        while self._reported in self._answers and self._answers[self._reported] is None:
            self._reported += 1
            self._accepted(self._events[self._reported - 1])

    def behind(self) -> list[Event]:
        """The events accepted behind the first one that was not."""
        return [event for event in self._events if event.event_id in self.acknowledged]

    @property
    def refused(self) -> Refused | None:
        """The receiver's refusal, if it refused the first event that was not accepted."""
        return self._answers.get(self._reported)

    @property
    def reported(self) -> set[str]:
        """The ids of the events reported as accepted."""
        return {event.event_id for event in self._events[: self._reported]}

    @property
    def acknowledged(self) -> set[str]:
        """The ids of the events accepted behind a gap: they need not be sent again. One refused there is sent again."""
        return {
            self._events[position].event_id
            for position, refused in self._answers.items()
            if refused is None and position >= self._reported
        }


class DatagramSink(ABC):
    """Sends each event in one datagram that the receiver does not answer.

    An event is accepted once it left the host and no refusal came back. A receiver whose host answers port unreachable
    is a failure like any other: what was lost that way can be seen, so it is sent again.
    """

    guarantee = Guarantee.BEST_EFFORT
    window = _DATAGRAM_WINDOW

    def __init__(self, *, name: str, address: Address) -> None:
        self.name = name
        self._address = address
        self._link: UdpLink | None = None
        self._opened_at = 0.0
        self._refusals = 0

    @abstractmethod
    def _datagram(self, event: Event) -> bytes:
        """The event encoded. Raises Refused if it has no encoding."""

    @abstractmethod
    async def _open(self, turn: int) -> UdpLink:
        """A socket to one of the receiver's addresses, another one each turn. Raises LinkError."""

    async def deliver(
        self, events: Sequence[Event], accepted: Callable[[Event], None], may_send: MaySend = always
    ) -> None:
        """Send all, then wait for a refusal: without one, all count as accepted."""
        try:
            link = await self._ready()
            sent, refused = await self._send(link, events, may_send)
            await asyncio.sleep(_GRACE_SECONDS)
            link.check()
        except LinkError as error:
            self._refusals += 1
            self._drop()
            raise Retry(f"{self._address}: {error}") from error
        for event in events[:sent]:
            accepted(event)
        if refused is not None:
            raise refused

    async def _send(
        self, link: UdpLink, events: Sequence[Event], may_send: MaySend
    ) -> tuple[int, Refused | Withheld | None]:
        """Send up to the first event that can't be sent; how many were, and why that one can't."""
        for position, event in enumerate(events):
            if position % MESSAGES_A_TURN == 0:
                await asyncio.sleep(0)
            try:
                datagram = self._datagram(event)
                if not may_send(event):
                    return position, Withheld()
                link.send(datagram)
            except Refused as refused:
                return position, refused
            except LinkError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                return position, Refused(event.event_id, f"{self._address}: too long for a datagram on this path")
        return len(events), None

    async def _ready(self) -> UdpLink:
        now = asyncio.get_running_loop().time()
        if self._link is not None and now - self._opened_at < _LOOK_UP_EVERY_SECONDS:
            return self._link
        self._drop()
        self._link, self._opened_at = await self._open(self._refusals), now
        return self._link

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None

    async def close(self) -> None:
        self._drop()
