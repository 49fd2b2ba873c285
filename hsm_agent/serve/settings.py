"""What the configuration says of the servers: where they listen, whom they answer, and what is shown to whom.

Apart from the servers: who only reads the configuration loads none of them, and the agent loads that of HTTP last.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hsm_agent.settings.secret import Secret
from hsm_agent.settings.snmp import (
    LOOPBACK,
    EngineId,
    ListenAddress,
    Networks,
    SnmpUser,
    listen_address,
    reject_duplicates,
)
from hsm_agent.settings.types import Glob, LocalPath, Strict
from hsm_agent.text import MAX_PORT, host_port
from hsm_agent.wire.snmp.mib import BASE, parse_base


def _base(value: object) -> object:
    return parse_base(value) if isinstance(value, str) else value


HideKind = Literal["labels", "serials", "firmware"]
Hide = tuple[HideKind, ...]
"""What a view shows pseudonyms of; None where the view has nothing of its own to say: then `serve.hide` counts."""

Tokens = Annotated[tuple[Glob, ...], Field(min_length=1)]
"""Globs on label or serial of tokens; `*` sees everything."""


class ServerUser(SnmpUser):
    """An SNMPv3 user that may read."""

    tokens: Tokens = ("*",)
    hide: Hide | None = None


class ServerCommunity(Strict):
    """An SNMPv2c community: its name is a secret, and only these networks may use it."""

    name: Secret
    networks: Networks = LOOPBACK
    tokens: Tokens = ("*",)
    hide: Hide | None = None


class SystemSettings(Strict):
    """What the system group says beside what the agent knows itself."""

    contact: str = Field(default="", max_length=255)
    location: str = Field(default="", max_length=255)


class SnmpServerSettings(Strict):
    """The responder. Without users and communities it answers no request."""

    listen: Annotated[tuple[ListenAddress, ...], Field(min_length=1)] = ("udp:127.0.0.1:1161",)
    base_oid: Annotated[tuple[int, ...], BeforeValidator(_base)] = BASE
    engine_id: EngineId | None = None
    system: SystemSettings = SystemSettings.model_construct()
    users: tuple[ServerUser, ...] = ()
    communities: tuple[ServerCommunity, ...] = ()
    v1: bool = False

    @field_validator("base_oid")
    @classmethod
    def _base_is_possible(cls, oid: tuple[int, ...]) -> tuple[int, ...]:
        return parse_base(".".join(map(str, oid)))

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        reject_duplicates("listen", [listen_address(text) for text in self.listen if listen_address(text)[1]])
        reject_duplicates("users", [user.name for user in self.users])
        reject_duplicates("communities", [community.name.reveal() for community in self.communities])
        if self.v1 and not self.communities:
            raise ValueError("v1: needs a community")
        return self

    def hiding(self, hide: Hide) -> Self:
        """The same, hiding that from every user and community that has no `hide` of its own."""
        users = tuple(one.model_copy(update={"hide": hide}) if one.hide is None else one for one in self.users)
        communities = (one.model_copy(update={"hide": hide}) if one.hide is None else one for one in self.communities)
        return self.model_copy(update={"users": users, "communities": tuple(communities)})


class HttpError(Exception):
    """The server can't be started; the text names the key."""


class HttpSettings(Strict):
    """Where it listens, and what guards it."""

    listen: str = "127.0.0.1:9717"
    web_config: LocalPath | None = None
    hide: Hide | None = None

    def hiding(self, hide: Hide) -> Self:
        """The same, hiding that if it has no `hide` of its own."""
        return self.model_copy(update={"hide": hide}) if self.hide is None else self

    @property
    def port(self) -> int:
        """The port of `listen`."""
        return http_address(self.listen)[1]

    @field_validator("listen")
    @classmethod
    def _listen_is_an_address(cls, text: str) -> str:
        http_address(text)
        return text

    @field_validator("web_config")
    @classmethod
    def _web_config_is_sound(cls, path: LocalPath | None) -> LocalPath | None:
        if path is not None:
            from hsm_agent.serve.http.web_config import load_web_config  # noqa: PLC0415 - most agents have none

            load_web_config(path)
        return path


def http_address(text: str) -> tuple[str, int]:
    """Address and port of `127.0.0.1:9717` or `[::1]:9717`. Raises ValueError."""
    found = host_port(text)
    if found is None:
        raise ValueError(f"not an address and port: {text!r} (write 127.0.0.1:9717 or [::1]:9717)")
    try:
        address = ipaddress.ip_address(found.host)
    except ValueError as error:
        raise ValueError(f"not an IP address: {found.host!r} (write 127.0.0.1:9717 or [::1]:9717)") from error
    if isinstance(address, ipaddress.IPv6Address) != found.in_brackets or found.port > MAX_PORT:
        raise ValueError(f"not an address and port: {text!r}")
    return found.host, found.port
