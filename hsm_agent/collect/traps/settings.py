"""What the configuration says of a listener for vendors' traps: where, from whom, and what traps mean."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hsm_agent.collect.base import SourceSettings
from hsm_agent.collect.traps.trap_maps import MAX_COMPONENT_OCTETS, VENDORS, AlarmLevel, TrapEntry, TrapTable, clean
from hsm_agent.settings.regex import compile_pattern
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
from hsm_agent.settings.types import Interval, Strict
from hsm_agent.wire.snmp.ber import parse_oid

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_MAPS = 256
MOST_INSTRUCTIONS = 10_000
"""Of all patterns of a listener: what a trap may cost, on the event loop."""
_LEAST_SUBIDS, _HIGHEST_ROOT = 2, 2  # X.690 8.19.4
_NAME = r"^[a-z0-9][a-z0-9_-]{0,47}$"


def _oid(value: object) -> object:
    if not isinstance(value, str):
        return value
    oid = parse_oid(value)
    if len(oid) < _LEAST_SUBIDS or oid[0] > _HIGHEST_ROOT:
        raise ValueError(f"not an object identifier: {value!r} (write 1.3.6.1.4.1.N.M, in quotes)")
    return oid


def _pattern(text: str) -> str:
    compile_pattern(text)
    return text


def _parse_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError(f"not an IP address: {text!r}") from error


def _parse_device(text: str) -> str:
    if not text or clean(text, MAX_COMPONENT_OCTETS) != text:
        raise ValueError(f"not a name: it has 1 to {MAX_COMPONENT_OCTETS} printable octets")
    return text


OidText = Annotated[tuple[int, ...], BeforeValidator(_oid)]
DeviceAddress = Annotated[str, AfterValidator(_parse_address)]
DeviceName = Annotated[str, AfterValidator(_parse_device)]


class TrapCommunity(Strict):
    """An SNMPv1 or SNMPv2c community: the word itself is a secret."""

    name: Secret


class TrapUser(SnmpUser):
    """An SNMPv3 user: of informs, and of the traps of these engines."""

    engine_ids: tuple[EngineId, ...] = ()


class TrapMapSettings(Strict):
    """What a trap means that the built-in tables do not know, or mean otherwise."""

    trap: OidText
    alarm: Annotated[str, Field(pattern=_NAME)]
    does: Literal["raise", "clear"] = "raise"
    severity: Literal["warning", "critical"] = "warning"
    resource: OidText | None = None
    text: OidText | None = None
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    clear_after: Interval | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.pattern is not None and self.text is None:
            raise ValueError("pattern: looks at `text`, which is missing")
        if self.does == "clear" and self.clear_after is not None:
            raise ValueError("clear_after: is for what raises")
        return self


def refuse_too_much(maps: tuple[TrapMapSettings, ...]) -> None:
    """Refuse maps that could hold up the listener: their patterns are looked for one after the other."""
    if len(maps) > MOST_MAPS:
        raise ValueError(f"maps: {MOST_MAPS} at most; these are {len(maps)}")
    size = sum(compile_pattern(one.pattern).instructions for one in maps if one.pattern is not None)
    if size > MOST_INSTRUCTIONS:
        raise ValueError(f"maps: the patterns together repeat too much (size {size}; at most {MOST_INSTRUCTIONS})")


def refuse_ends_without_beginning(maps: tuple[TrapMapSettings, ...], vendors: Iterable[str]) -> None:
    """Refuse a map that clears what nothing raises: with a misspelt name an alarm would stand for ever."""
    raised = {one.alarm for one in maps if one.does == "raise"}
    raised |= {entry.alarm for vendor in vendors for entry in VENDORS[vendor]}
    for index, one in enumerate(maps):
        if one.alarm not in raised:
            raise ValueError(f"maps.{index}.alarm: nothing raises {one.alarm!r}")


def combined(maps: tuple[TrapMapSettings, ...], vendors: Iterable[str]) -> TrapTable:
    """What traps mean: an own map of a trap stands instead of the built-in ones."""
    own = tuple(_entry(one, maps) for one in maps)
    mapped = {entry.trap for entry in own}
    built_in = [entry for vendor in vendors for entry in VENDORS[vendor] if entry.trap not in mapped]
    return TrapTable((*own, *built_in))


def _entry(one: TrapMapSettings, maps: tuple[TrapMapSettings, ...]) -> TrapEntry:
    cleared = any(other.alarm == one.alarm and other.does == "clear" for other in maps)
    level = AlarmLevel.CRITICAL if one.severity == "critical" else AlarmLevel.WARNING
    return TrapEntry(
        trap=one.trap,
        alarm=one.alarm,
        level=AlarmLevel.CLEARED if one.does == "clear" else level,
        component=(one.resource,) if one.resource else (),
        note=one.text,
        pattern=compile_pattern(one.pattern) if one.pattern is not None else None,
        clear_after=one.clear_after,
        clears_itself=cleared and one.clear_after is None,
    )


LONGEST_INTERVAL_SECONDS = 300.0


class ListenerSettings(SourceSettings):
    """Where traps are received, from whom, and what they mean."""

    every: Annotated[Interval, Field(le=LONGEST_INTERVAL_SECONDS)] = 60.0
    listen: Annotated[tuple[ListenAddress, ...], Field(min_length=1)] = ("udp:127.0.0.1:1162",)
    networks: Networks = LOOPBACK
    communities: tuple[TrapCommunity, ...] = ()
    users: tuple[TrapUser, ...] = ()
    devices: dict[DeviceAddress, DeviceName] = Field(default_factory=dict)
    vendors: tuple[Literal["luna", "utimaco"], ...] = ("luna", "utimaco")
    maps: tuple[TrapMapSettings, ...] = ()
    clear_after: Interval = 86400.0

    @model_validator(mode="after")
    def _somebody_can_speak(self) -> Self:
        reject_duplicates("listen", [listen_address(text) for text in self.listen if listen_address(text)[1]])
        reject_duplicates("users", [user.name for user in self.users])
        reject_duplicates("communities", [community.name.reveal() for community in self.communities])
        if not self.users and not self.communities:
            raise ValueError("users: without users and communities nobody can be heard")
        refuse_ends_without_beginning(self.maps, self.vendors)
        refuse_too_much(self.maps)
        return self
