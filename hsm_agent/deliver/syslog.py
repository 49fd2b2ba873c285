"""The `kind: syslog` sinks and their settings; relp.py is the one with acknowledgements.

Those here are best effort: UDP (RFC 5426), TCP (RFC 6587, octet counting), TLS (RFC 5425). Accepted means over TCP and
TLS: the receiver's kernel has acknowledged the octets. What its program had not read yet when it died is lost. Over UDP
it means: sent, and no refusal came back at once.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from hsm_agent.deliver.base import MESSAGES_A_TURN, DatagramSink, Retry, SinkSettings, Withheld, always
from hsm_agent.deliver.relp import RelpSink
from hsm_agent.model import Guarantee
from hsm_agent.net.address import Address, describe
from hsm_agent.net.streams import Route
from hsm_agent.net.tls import TlsSettings
from hsm_agent.net.udp import LinkError, UdpLink, open_link
from hsm_agent.settings.types import Deadline, Size
from hsm_agent.wire.syslog.rfc5424 import MAX_SEQUENCE_ID, MIN_MAX_BYTES, Formatter, octet_counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hsm_agent.deliver.base import MaySend, Sink, SinkContext
    from hsm_agent.model import AgentIdentity, Event
    from hsm_agent.net.streams import Connection
    from hsm_agent.wire.syslog.bodies import BodyFormatter

RecordFormat = Literal["rfc5424", "cef", "leef", "json"]
_TLS_SCHEMES = ("tls", "relp+tls")
_RELP_SCHEMES = ("relp", "relp+tls")
_DEFAULT_WINDOW = 128
_DEFAULT_MAX_BYTES, _DEFAULT_UDP_MAX_BYTES = 8000, 1400
_MOST_BYTES, _MOST_UDP_BYTES = 128 * 1024, 65000  # the RELP specification's limit; a datagram's, rounded down
_TCP_WINDOW = 64

_LIBC = ctypes.CDLL(None)
_TIMEX_BYTES = 512  # struct timex is 208 octets on 64-bit Linux, less elsewhere
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


def clock_is_synchronised() -> bool:
    """The kernel's state of the system clock. Also False if that can't be read: synchronised is a claim."""
    request = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: only read
    state = int(_LIBC.adjtimex(request))
    return 0 <= state != _TIME_ERROR


class MessageBuilder:
    """Formats events for one sink when they are sent, with numbers from 1 on (RFC 5424 section 7.3.1)."""

    def __init__(self, origin: AgentIdentity, *, facility: int, max_bytes: int, body: RecordFormat = "rfc5424") -> None:
        process_id = str(os.getpid())
        self._formatter: Formatter | BodyFormatter
        if body == "rfc5424":
            self._formatter = Formatter(origin, facility=facility, process_id=process_id, max_bytes=max_bytes)
        else:
            from hsm_agent.wire.syslog.bodies import BodyFormatter  # noqa: PLC0415 - most configurations have none

            self._formatter = BodyFormatter(
                origin, body=body, facility=facility, process_id=process_id, max_bytes=max_bytes
            )
        self._sequence_id = 0

    def message(self, event: Event) -> bytes:
        """The event as one RFC 5424 message, without framing."""
        self._sequence_id = self._sequence_id % MAX_SEQUENCE_ID + 1
        return self._formatter.format(event, sequence_id=self._sequence_id, synced=clock_is_synchronised())


class TcpSink:
    """Sends events over one connection that is kept between calls."""

    guarantee = Guarantee.BEST_EFFORT
    window = _TCP_WINDOW

    def __init__(self, *, name: str, route: Route, builder: MessageBuilder) -> None:
        self.name = name
        self.kind = f"syslog {route.address.scheme}"
        self._route = route
        self._builder = builder
        self._connection: Connection | None = None
        self._confirmed = False

    async def deliver(
        self, events: Sequence[Event], accepted: Callable[[Event], None], may_send: MaySend = always
    ) -> None:
        """Send in order. A new connection takes one event first: if it ends then, that event was in flight alone."""
        connection = await self._ready()
        start = 0
        while start < len(events):
            part = events[start:] if self._confirmed else events[start : start + 1]
            sent = await self._send(connection, part, may_send)
            self._confirmed |= sent > 0
            start += sent
            for event in part[:sent]:
                accepted(event)
            if sent < len(part):
                raise Withheld

    async def _send(self, connection: Connection, events: Sequence[Event], may_send: MaySend) -> int:
        """How many were sent: all, or those before the first that may not be."""
        whole, sent = False, 0
        try:
            async with asyncio.timeout(self._route.timeout_seconds):
                while sent < len(events):
                    turn = events[sent : sent + MESSAGES_A_TURN]
                    messages = [octet_counted(self._builder.message(event)) for event in turn]
                    allowed = list(takewhile(may_send, turn))
                    connection.write(b"".join(messages[: len(allowed)]))
                    sent += len(allowed)
                    if len(allowed) < len(turn):
                        break
                    await asyncio.sleep(0)
                    await connection.handed_over()
                await connection.acknowledged()
            whole = True
        except TimeoutError as error:
            raise Retry(
                f"{self._route.address}: nothing acknowledged within {self._route.timeout_seconds:g} s"
            ) from error
        except OSError as error:
            raise Retry(f"{self._route.address}: {describe(error)}", sent=True) from error
        finally:
            if not whole:
                self._drop()
        return sent

    async def _ready(self) -> Connection:
        if self._connection is not None and not self._connection.broken:
            return self._connection
        self._drop()
        try:
            self._connection = await self._route.connect(keep=False)
        except OSError as error:
            raise Retry(f"{self._route.address}: {describe(error)}") from error
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort("given up")
        self._connection = None
        self._confirmed = False

    async def close(self) -> None:
        """Close the connection after what was written."""
        connection, self._connection = self._connection, None
        self._confirmed = False
        if connection is not None:
            await connection.close()


class UdpSink(DatagramSink):
    """Sends each event in one datagram."""

    kind = "syslog udp"

    def __init__(
        self, *, name: str, address: Address, bind: str | None, timeout_seconds: float, builder: MessageBuilder
    ) -> None:
        super().__init__(name=name, address=address)
        self._bind = bind
        self._timeout_seconds = timeout_seconds
        self._builder = builder

    def _datagram(self, event: Event) -> bytes:
        return self._builder.message(event)

    async def _open(self, turn: int) -> UdpLink:
        return await open_link(self._address, bind=self._bind, turn=turn, timeout_seconds=self._timeout_seconds)

    async def _ready(self) -> UdpLink:
        if self._link is not None:
            try:
                self._link.check()
            except LinkError:  # a late refusal of an earlier batch: a new socket shows whether it still holds
                self._drop()
        return await super()._ready()


Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip
"""In the order of their numbers, RFC 5424 section 6.2.1."""
_FACILITIES: tuple[str, ...] = get_args(Facility)


class SyslogSinkSettings(SinkSettings):
    """A syslog server and how it is reached."""

    schemes = ("udp", "tcp", "tls", "relp", "relp+tls")

    kind: Literal["syslog"]
    tls: TlsSettings | None = None
    format: RecordFormat = "rfc5424"
    """What stands behind the header: our structured data and text, or what a SIEM reads better."""
    facility: Facility = "local4"
    max_bytes: Size | None = None
    """None: 8000, and 1400 over UDP."""
    timeout: Deadline = 5.0
    """Seconds to connect, and to send and be acknowledged."""
    window: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Messages on their way at once, RELP only. None: 128."""

    @property
    def transport(self) -> str:
        return f"syslog {self.address.scheme}"

    @property
    def octets(self) -> int:
        """The most octets of one message."""
        if self.max_bytes is not None:
            return self.max_bytes
        return _DEFAULT_UDP_MAX_BYTES if self.address.scheme == "udp" else _DEFAULT_MAX_BYTES

    @property
    def guarantee(self) -> Guarantee:
        """RELP alone acknowledges each message."""
        return Guarantee.AT_LEAST_ONCE if self.address.scheme in _RELP_SCHEMES else Guarantee.BEST_EFFORT

    @property
    def answer_seconds(self) -> float:
        """To connect, to open the session, and for the acknowledgement of one message."""
        return 3 * self.timeout

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        scheme = self.address.scheme
        if scheme in _TLS_SCHEMES and self.tls is None:
            raise ValueError(f"tls: required for {scheme}: (at least tls.ca, or tls.verify: fingerprint)")
        if scheme not in _TLS_SCHEMES and self.tls is not None:
            raise ValueError(f"tls: not for {scheme}: (write one of {', '.join(f'{name}:' for name in _TLS_SCHEMES)})")
        if self.window is not None and scheme not in _RELP_SCHEMES:
            raise ValueError(f"window: not for {scheme}: (only RELP has answers to wait for)")
        most = _MOST_UDP_BYTES if scheme == "udp" else _MOST_BYTES
        if not MIN_MAX_BYTES <= self.octets <= most:
            raise ValueError(f"max_bytes: {self.octets} is not between {MIN_MAX_BYTES} and {most}")
        return self

    def about(self, engine_id: bytes | None) -> Iterator[str]:
        """With the format of the records where it is not the standard's own."""
        first, *more = super().about(engine_id)
        yield first if self.format == "rfc5424" else f"{first}, as {self.format}"
        yield from more

    def own_tls(self) -> TlsSettings | None:
        return self.tls

    def build(self, context: SinkContext) -> Sink:
        facility = _FACILITIES.index(self.facility)
        builder = MessageBuilder(context.origin, facility=facility, max_bytes=self.octets, body=self.format)
        address = self.address
        if address.scheme == "udp":
            return UdpSink(
                name=self.name, address=address, bind=self.bind, timeout_seconds=self.timeout, builder=builder
            )
        route = Route(address=address, tls=self.tls, bind=self.bind, timeout_seconds=self.timeout)
        if address.scheme in _RELP_SCHEMES:
            window = self.window or _DEFAULT_WINDOW
            return RelpSink(name=self.name, route=route, message=builder.message, window=window)
        return TcpSink(name=self.name, route=route, builder=builder)
