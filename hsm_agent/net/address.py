"""Addresses of peers: `tcp:host:port` in the configuration, socket addresses when sending, and errors as text."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from hsm_agent.text import MAX_PORT, host_port
from hsm_agent.threads import Lanes

if TYPE_CHECKING:
    from collections.abc import Sequence

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A receiver or a source as it is configured: scheme, name or IP address, port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, schemes: Sequence[str]) -> Self:
        """`SCHEME:HOST:PORT`, an IPv6 address in brackets. Raises ValueError with what to write instead."""
        scheme, _, rest = text.partition(":")
        found = host_port(rest) if scheme in schemes else None
        if found is None:
            choices = ", ".join(f"{scheme}:" for scheme in schemes)
            raise ValueError(f"not an address: {text!r} (write one of {choices} then host:port; IPv6 in brackets)")
        if not 0 < found.port <= MAX_PORT:
            raise ValueError(f"not a port: {found.port}")
        if found.in_brackets:
            _ip(found.host.partition("%")[0])
        else:
            _encodable(found.host)
        return cls(scheme=scheme, host=found.host, port=found.port)

    def __str__(self) -> str:
        """As it is written in the configuration."""
        return (
            f"{self.scheme}:[{self.host}]:{self.port}" if ":" in self.host else f"{self.scheme}:{self.host}:{self.port}"
        )


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(f"not an IP address: {text!r}") from error


def _encodable(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"not a host name: {host!r}") from error


def source_address(text: str) -> str:
    """The text, if it is an IP address a socket can be bound to. Raises ValueError."""
    return str(_ip(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One socket address of a receiver, and the local one to send from (None: the kernel's choice)."""

    family: int
    remote: SocketAddress
    local: SocketAddress | None

    def __str__(self) -> str:
        """The numbers, as an operator would type them."""
        host, port = self.remote[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT = 10, 23, 0  # ip(7), ipv6(7); the socket module has no names


def let_routers_fragment(plain: socket.socket) -> None:
    """Switch path MTU discovery off for a datagram socket.

    With it, the first datagram that is too long for the path is lost, and its error, EMSGSIZE, is reported for the one
    sent after it: the wrong event would be refused for ever.
    """
    if plain.family == socket.AF_INET6:
        plain.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
    else:
        plain.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)


async def endpoints(address: Address, *, kind: socket.SocketKind, bind: str | None) -> list[Endpoint]:
    """All socket addresses of the receiver, in the resolver's order. Raises OSError; the caller has the deadline.

    Looked up each time: a receiver may get another address.
    """
    try:
        found = await resolve(address.host, address.port, kind)
    except OSError as error:
        raise OSError(f"{address.host}: {error.strerror or error}") from error
    local = None if bind is None else (bind, 0)
    result = [
        Endpoint(family=family, remote=remote, local=local)
        for family, remote in found
        if bind is None or family == _family(bind)
    ]
    if not result:
        raise OSError(f"{address.host} has no address of the family of bind {bind}")
    return result


def _family(text: str) -> int:
    return socket.AF_INET6 if _ip(text).version == 6 else socket.AF_INET  # noqa: PLR2004  # the number is its name


_LOOKUP_SECONDS = 3600.0  # callers have shorter deadlines of their own
_lookups = Lanes()


async def resolve(host: str, port: int, kind: socket.SocketKind) -> list[tuple[int, SocketAddress]]:
    """Address families and socket addresses of a host, in the resolver's order. Raises OSError.

    A resolver that hangs costs a thread for each name, and a caller no more than its own deadline.
    """
    loop = asyncio.get_running_loop()
    look_up = partial(socket.getaddrinfo, host, port, type=kind)
    found = await _lookups.call((loop, host), f"the look-up of {host}", look_up, seconds=_LOOKUP_SECONDS)
    return list(dict.fromkeys((int(family), _socket_address(remote)) for family, _, _, _, remote in found))


def _socket_address(remote: tuple[object, ...]) -> SocketAddress:
    if len(remote) == 4:  # noqa: PLR2004  # IPv6: host, port, flow, scope
        host, port, flow, scope = remote
        return (str(host), int(str(port)), int(str(flow)), int(str(scope)))
    host, port = remote[:2]
    return (str(host), int(str(port)))


def describe(error: BaseException) -> str:
    """A network or TLS failure in one line, without the numbers and file names of the libraries."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        # One that Python made itself has no reason.
        return f"TLS: {(getattr(error, 'reason', None) or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()  # asyncio's own text repeats the address
    return str(error) or type(error).__name__
