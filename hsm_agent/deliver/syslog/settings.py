"""The `kind: syslog` sinks: their settings, and which sink each transport is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from hsm_agent.deliver.base import SinkSettings
from hsm_agent.deliver.syslog.best_effort import TcpSink, UdpSink
from hsm_agent.deliver.syslog.message import MessageBuilder
from hsm_agent.deliver.syslog.relp import RelpSink
from hsm_agent.model import Guarantee
from hsm_agent.net.address import Address
from hsm_agent.net.streams import Route
from hsm_agent.net.tls import TlsSettings
from hsm_agent.settings.types import Deadline, Size
from hsm_agent.wire.syslog.rfc5424 import MIN_MAX_BYTES

if TYPE_CHECKING:
    from hsm_agent.deliver.base import Sink, SinkContext

SCHEMES = ("udp", "tcp", "tls", "relp", "relp+tls")
_TLS_SCHEMES = ("tls", "relp+tls")
_RELP_SCHEMES = ("relp", "relp+tls")
_DEFAULT_WINDOW = 128
_DEFAULT_MAX_BYTES, _DEFAULT_UDP_MAX_BYTES = 8000, 1400
_MOST_BYTES, _MOST_UDP_BYTES = 128 * 1024, 65000  # the RELP specification's limit; a datagram's, rounded down

Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip
"""In the order of their numbers, RFC 5424 section 6.2.1."""
_FACILITIES: tuple[str, ...] = get_args(Facility)


def _receiver(text: str) -> str:
    return str(Address.parse(text, SCHEMES))


class SyslogSinkSettings(SinkSettings):
    """A syslog server and how it is reached."""

    kind: Literal["syslog"]
    to: Annotated[str, AfterValidator(_receiver)]
    tls: TlsSettings | None = None
    facility: Facility = "local4"
    max_bytes: Size | None = None
    """None: 8000, and 1400 over UDP."""
    timeout: Deadline = 5.0
    """Seconds to connect, and to send and be acknowledged."""
    window: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Messages on their way at once, RELP only. None: 128."""

    @property
    def address(self) -> Address:
        """The receiver, parsed."""
        return Address.parse(self.to, SCHEMES)

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

    def own_tls(self) -> TlsSettings | None:
        """How its connections are secured."""
        return self.tls

    def build(self, context: SinkContext) -> Sink:
        """The sink of the transport that `to` names."""
        builder = MessageBuilder(context.origin, facility=_FACILITIES.index(self.facility), max_bytes=self.octets)
        address = self.address
        if address.scheme == "udp":
            return UdpSink(name=self.name, address=address, bind=self.bind, timeout=self.timeout, builder=builder)
        route = Route(address=address, tls=self.tls, bind=self.bind, timeout=self.timeout)
        if address.scheme in _RELP_SCHEMES:
            window = self.window or _DEFAULT_WINDOW
            return RelpSink(name=self.name, route=route, builder=builder, window=window)
        return TcpSink(name=self.name, route=route, builder=builder)
