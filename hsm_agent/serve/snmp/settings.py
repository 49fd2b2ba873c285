"""What the configuration says of the SNMP responder: where it listens, whom it answers, and what they may see."""

from __future__ import annotations

from typing import Annotated, Self

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
from hsm_agent.settings.types import Glob, Strict
from hsm_agent.wire.snmp.mib import BASE, parse_base


def _base(value: object) -> object:
    return parse_base(value) if isinstance(value, str) else value


Tokens = Annotated[tuple[Glob, ...], Field(min_length=1)]
"""Globs on label or serial of tokens; `*` sees everything."""


class ServerUser(SnmpUser):
    """An SNMPv3 user that may read."""

    tokens: Tokens = ("*",)


class ServerCommunity(Strict):
    """An SNMPv2c community: its name is a secret, and only these networks may use it."""

    name: Secret
    networks: Networks = LOOPBACK
    tokens: Tokens = ("*",)


class SystemSettings(Strict):
    """What the system group says beside what the agent knows itself."""

    contact: str = Field(default="", max_length=255)
    location: str = Field(default="", max_length=255)


class SnmpServerSettings(Strict):
    """The responder. Without users and communities it answers no request."""

    listen: Annotated[tuple[ListenAddress, ...], Field(min_length=1)] = ("udp:127.0.0.1:1161",)
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
        reject_duplicates("listen", [listen_address(text) for text in self.listen if listen_address(text)[1]])
        reject_duplicates("users", [user.name for user in self.users])
        reject_duplicates("communities", [community.name.reveal() for community in self.communities])
        if self.v1 and not self.communities:
            raise ValueError("v1: needs a community")
        return self
