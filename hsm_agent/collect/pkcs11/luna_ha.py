"""HA groups: what the client's configuration says of them, CA_GetHAState's answer decoded, and the facts in it. Pure.

No library says which layout CA_GetHAState writes. The buffer was filled with ff before the call, so what was written
tells: the younger layout has its count far behind the end of the older one.
The client's configuration is `Chrystoki.conf`: sections `NAME = { KEY = VALUE; … }`; groups stand in `VirtualToken`,
numbered.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hsm_agent.collect.series import Fact
from hsm_agent.text import glob_matches
from hsm_agent.workers.pkcs11.return_values import OK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

_MOST_MEMBERS = 32
_SERIAL_BYTES = 20
_SHORT = 2
UNKNOWN_LAYOUT = "CA_GetHAState answered in a layout that is not known"


@dataclass(frozen=True, slots=True)
class Field:
    """Where a serial or a number stands in the answer."""

    at: int
    size: int
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class HaState:
    """An HA group: serials, and CKR_OK or what is the matter with each member."""

    serial: str
    members: tuple[tuple[str, int], ...]


def decode(data: bytes, ulong_bytes: int) -> HaState | None:
    """The group, or None if the answer fits neither layout. Reads nothing beyond `data`."""
    found = _layout(data, ulong_bytes)
    if found is None:
        return None
    group, *fields = found
    serials = [_text(data, field) for field in fields[::2]]
    statuses = [_number(data, field) for field in fields[1::2]]
    return HaState(_text(data, group), tuple(zip(serials, statuses, strict=True)))


def _layout(data: bytes, ulong_bytes: int) -> list[Field] | None:
    """The group's serial, then serial and status of each member."""
    for is_text in (True, False):
        head = (-(-_SERIAL_BYTES // ulong_bytes)) * ulong_bytes if is_text else ulong_bytes
        step = head + ulong_bytes
        end = head + _MOST_MEMBERS * step
        count = _count(data, end, ulong_bytes)
        if count is None:
            continue
        size = _SERIAL_BYTES if is_text else ulong_bytes
        fields = [Field(0, size, is_text)]
        for position in range(count):
            at = head + position * step
            fields += [Field(at, size, is_text), Field(at + head, ulong_bytes)]
        if all(_is_serial(data, field) for field in (fields[0], *fields[1::2])):
            return fields
    return None


def _count(data: bytes, at: int, ulong_bytes: int) -> int | None:
    """The number of members. The oldest headers have it as a short: what is behind that was not written then."""
    field = data[at : at + ulong_bytes]
    if len(field) < ulong_bytes:
        return None
    if field[_SHORT:] == b"\xff" * (ulong_bytes - _SHORT):
        field = field[:_SHORT]
    count = int.from_bytes(field, sys.byteorder)
    return count if count <= _MOST_MEMBERS else None


def _is_serial(data: bytes, field: Field) -> bool:
    if not field.is_text:
        return set(data[field.at : field.at + field.size]) != {0xFF}
    text = data[field.at : field.at + field.size].partition(b"\0")[0].strip()
    return bool(text) and text.isascii() and text.decode("ascii").isprintable()


def _number(data: bytes, field: Field) -> int:
    return int.from_bytes(data[field.at : field.at + field.size], sys.byteorder)


def _text(data: bytes, field: Field) -> str:
    if not field.is_text:
        return str(_number(data, field))
    return data[field.at : field.at + field.size].partition(b"\0")[0].strip().decode("ascii")


def mask(data: bytes, ulong_bytes: int, number_of: Callable[[bytes], int]) -> bytes:
    """The same answer with other serials; `number_of` gives each serial its number."""
    masked = bytearray(data)
    found = _layout(data, ulong_bytes) or []
    for field in (*found[:1], *found[1::2]):
        number = number_of(_text(data, field).encode())
        new = b"serial-%d" % number if field.is_text else number.to_bytes(field.size, sys.byteorder)
        masked[field.at : field.at + field.size] = new.ljust(field.size, b"\0")
    return bytes(masked) if found else b"\xff" * len(data)


def ha_facts(state: HaState, known: Collection[str]) -> list[Fact]:
    """How many members can be used, of how many, and which; `known` are serials that were members before."""
    up = sum(status == OK for _, status in state.members)
    serials = dict.fromkeys(serial for serial, _ in state.members)
    return [
        # The level at which one of them is missing.
        Fact("ha_members_up", up, limit=len(state.members) - 1),
        Fact("ha_members_expected", len(state.members)),
        *(Fact("ha_member_up", int(status == OK), labels=(("member", serial),)) for serial, status in state.members),
        *(
            Fact("ha_member_up", None, "no longer a member of the group", (("member", serial),))
            for serial in known
            if serial not in serials
        ),
    ]


FILE = "Chrystoki.conf"
FOLDER_VARIABLE = "ChrystokiConfigurationPath"
_LIBRARY = re.compile(r"libCryptoki2(_64)?\.so")
_SECTION = re.compile(r"(?m)^[ \t]*([^={}\n]+?)[ \t]*=[ \t\r\n]*\{([^{}]*)\}")
_ENTRY = re.compile(r"([^=;{}\n]+?)[ \t]*=[ \t]*([^;\n]*?)[ \t\r]*;")
_NUMBERED = re.compile(r"VirtualToken(\d+)(Label|SN|Members)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HaGroup:
    """An HA group: the label and serial number of its virtual slot, and its members' serial numbers."""

    label: str
    serial: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """The groups a client has, and whether it shows nothing but them."""

    groups: tuple[HaGroup, ...]
    ha_only: bool


def client_config_path(module: Path, environment: Mapping[str, str]) -> Path | None:
    """Where the client's configuration is; None for a module that is no Luna's."""
    if FOLDER_VARIABLE in environment:
        return Path(environment[FOLDER_VARIABLE]) / FILE
    return Path("/etc") / FILE if _LIBRARY.fullmatch(module.name) else None


def parse_client_config(text: str) -> ClientConfig:
    """The groups of a configuration; what it holds besides is passed over."""
    sections = {
        found[1].strip(): {entry[1].strip(): entry[2].strip() for entry in _ENTRY.finditer(found[2])}
        for found in _SECTION.finditer(text)
    }
    numbered: dict[str, dict[str, str]] = {}
    for key, value in sections.get("VirtualToken", {}).items():
        if (found := _NUMBERED.fullmatch(key)) is not None:
            numbered.setdefault(found[1], {})[found[2]] = value
    groups = tuple(
        HaGroup(
            label=entries.get("Label", ""),
            serial=entries.get("SN", ""),
            members=tuple(member.strip() for member in entries.get("Members", "").split(",") if member.strip()),
        )
        for _, entries in sorted(numbered.items())
    )
    return ClientConfig(groups=groups, ha_only=sections.get("HAConfiguration", {}).get("HAOnly") == "1")


def watched_alone(client: ClientConfig, tokens: Sequence[str]) -> list[HaGroup]:
    """Groups that are watched while, for certain, no member's own slot is.

    Labels of members are not in the file: a glob, or a name that is no group's, may well be a member's.
    """
    names = {name for group in client.groups for name in (group.label, group.serial) if name}
    if not client.ha_only and any(token not in names for token in tokens):
        return []
    return [
        group
        for group in client.groups
        if any(glob_matches(name, token) for token in tokens for name in (group.label, group.serial) if name)
    ]


def warnings(module: Path, environment: Mapping[str, str], tokens: Sequence[str]) -> list[str]:
    """For `check-config`: a line for each group that is watched alone, or why that cannot be told."""
    path = client_config_path(module, environment)
    if path is None:
        return []
    try:
        client = parse_client_config(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"warning: {path}: {error.strerror}: whether HA groups are watched alone cannot be told"]
    hidden = f"; {path} has HAOnly = 1, which hides them" if client.ha_only else ""
    return [
        f"warning: {group.label or group.serial} is an HA group and none of its members' own slots "
        f"({', '.join(group.members) or 'none named'}) is watched: a full member is not seen{hidden}"
        for group in watched_alone(client, tokens)
    ]
