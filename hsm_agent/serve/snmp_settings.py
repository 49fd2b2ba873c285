"""What the configuration says of the SNMP responder: where it listens, whom it answers, and what they may see."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from hsm_agent.secret import Secret
from hsm_agent.settings import Glob, Strict
from hsm_agent.snmp_user import SnmpUser
from hsm_agent.wire.mib import BASE, parse_base

T = TypeVar("T")

_LISTEN = re.compile(r"udp:(?P<v4>[0-9.]+):(?P<p4>[0-9]{1,5})|udp6:\[(?P<v6>[^\]\[]+)\]:(?P<p6>[0-9]{1,5})")
_HIGHEST_PORT = 65535
_MIN_ENGINE_ID, _MAX_ENGINE_ID = 5, 32  # RFC 3411 section 5, SnmpEngineID

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))


def listen_address(text: str) -> tuple[str, int]:
    """Address and port of `udp:127.0.0.1:1161` or `udp6:[::1]:1161`. Raises ValueError."""
    found = _LISTEN.fullmatch(text)
    if found is None:
        raise ValueError(f"not a place to listen: {text!r} (write udp:127.0.0.1:1161 or udp6:[::1]:1161)")
    host, port = found["v4"] or found["v6"], int(found["p4"] or found["p6"])
    try:
        ipaddress.IPv4Address(host) if found["v4"] else ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError as error:
        raise ValueError(f"not an IP address: {host!r}") from error
    if port > _HIGHEST_PORT:
        raise ValueError(f"not a port: {port}")
    return host, port


def _listen(text: str) -> str:
    listen_address(text)
    return text


def _base(value: object) -> object:
    return parse_base(value) if isinstance(value, str) else value


def _engine_id(value: object) -> object:
    if not isinstance(value, str):
        return value
    digits = value.removeprefix("0x")
    if not re.fullmatch(r"([0-9A-Fa-f]{2})+", digits):
        raise ValueError("not an engine ID: write it in hex, in quotes")
    octets = bytes.fromhex(digits)
    if not _MIN_ENGINE_ID <= len(octets) <= _MAX_ENGINE_ID or octets.count(octets[0]) == len(octets):
        raise ValueError(f"not an engine ID: it has {_MIN_ENGINE_ID} to {_MAX_ENGINE_ID} octets, not all the same")
    return octets


def _network(value: object) -> object:
    return ipaddress.ip_network(value) if isinstance(value, str) else value


Place = Annotated[str, AfterValidator(_listen)]
"""Where to listen, as listen_address reads it."""
EngineId = Annotated[bytes, BeforeValidator(_engine_id)]
"""An SNMP engine ID, written in hex."""
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], Field(alias="from", min_length=1)]
"""Networks that may speak, under the key `from`."""
Tokens = Annotated[tuple[Glob, ...], Field(min_length=1)]
"""Globs on label or serial of tokens; `*` sees everything."""


class ServerUser(SnmpUser):
    """An SNMPv3 user that may read."""

    tokens: Tokens = ("*",)


class ServerCommunity(Strict):
    """An SNMPv2c community: the word itself is a secret, and only these networks may use it."""

    name: Secret
    networks: Networks = LOOPBACK
    tokens: Tokens = ("*",)


class SystemSettings(Strict):
    """What the system group says beside what the agent knows itself."""

    contact: str = Field(default="", max_length=255)
    location: str = Field(default="", max_length=255)


class SnmpServerSettings(Strict):
    """The responder. Without users and communities it answers nobody."""

    listen: Annotated[tuple[Place, ...], Field(min_length=1)] = ("udp:127.0.0.1:1161",)
    base_oid: Annotated[tuple[int, ...], BeforeValidator(_base)] = BASE
    engine_id: EngineId | None = None
    system: SystemSettings = SystemSettings()
    users: tuple[ServerUser, ...] = ()
    communities: tuple[ServerCommunity, ...] = ()
    v1: bool = False

    @field_validator("base_oid")
    @classmethod
    def _base_is_possible(cls, oid: tuple[int, ...]) -> tuple[int, ...]:
        return parse_base(".".join(map(str, oid)))

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        refuse_twins("listen", [listen_address(text) for text in self.listen if listen_address(text)[1]])
        refuse_twins("users", [user.name for user in self.users])
        refuse_twins("communities", [community.name.reveal() for community in self.communities])
        if self.v1 and not self.communities:
            raise ValueError("v1: needs a community")
        return self


def refuse_twins(what: str, values: list[T]) -> None:
    """Raise ValueError that names the key if two of a list are the same."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{what}.{index}: the same as {what}.{values.index(value)}")
