"""What a Luna client's own configuration says of HA groups, so that they are known before the module is loaded. Pure.

The file is `Chrystoki.conf`: sections `NAME = { KEY = VALUE; … }`; groups stand in `VirtualToken`, numbered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


def place(module: Path, environment: Mapping[str, str]) -> Path | None:
    """Where the client's configuration is; None for a module that is no Luna's."""
    if FOLDER_VARIABLE in environment:
        return Path(environment[FOLDER_VARIABLE]) / FILE
    return Path("/etc") / FILE if _LIBRARY.fullmatch(module.name) else None


def parse(text: str) -> ClientConfig:
    """The groups of a configuration; what it holds besides is passed over."""
    sections = {found[1].strip(): dict(_entries(found[2])) for found in _SECTION.finditer(text)}
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


def _entries(body: str) -> Iterable[tuple[str, str]]:
    return ((found[1].strip(), found[2].strip()) for found in _ENTRY.finditer(body))


def watched_alone(client: ClientConfig, tokens: Sequence[str]) -> list[HaGroup]:
    """Groups that are watched while, for certain, no member's own slot is.

    Labels of members are not in the file: a glob, or a name that is no group's, may well be a member's.
    """
    names = {name for group in client.groups for name in (group.label, group.serial) if name}
    if not client.ha_only and any(token not in names for token in tokens):
        return []
    return [group for group in client.groups if any(_means(token, group) for token in tokens)]


def _means(token: str, group: HaGroup) -> bool:
    return any(glob_matches(name, token) for name in (group.label, group.serial) if name)


def warnings(module: Path, environment: Mapping[str, str], tokens: Sequence[str]) -> list[str]:
    """For `check-config`: a line for each group that is watched alone, or why that cannot be told."""
    path = place(module, environment)
    if path is None:
        return []
    try:
        client = parse(path.read_text(encoding="utf-8", errors="replace"))
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
