"""The configuration before validation: the tree of the file, with the environment's overrides."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsm_agent.evaluate.messages import counted
from hsm_agent.settings.errors import ConfigError
from hsm_agent.settings.yaml_file import mapping_of, value_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_PLACES = (Path("conf/agent.yaml"), Path("/etc/hsm-agent/agent.yaml"))
ENVIRONMENT_PREFIX = "HSM_AGENT__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What was read: the tree, the folder its relative paths begin at, and the SHA-256 of file and overrides.

    `overridden` are the places that the environment gave, `sources.0.every`, with the variable that did.
    """

    path: Path
    tree: dict[str, Any]
    base: Path
    digest: str
    overridden: Mapping[str, str]

    def locate(self, lines: Iterable[str]) -> list[str]:
        """Lines that begin with the place of a key, behind what gave that key: the file, or the environment."""
        return [f"{self._origin(line)}: {line}" for line in lines]

    def _origin(self, line: str) -> str:
        given = [place for place in self.overridden if line.startswith((f"{place}:", f"{place}."))]
        return f"environment {self.overridden[max(given, key=len)]}" if given else str(self.path)


def find() -> Path:
    """The configuration file where none is named."""
    for place in DEFAULT_PLACES:
        if place.exists():
            return place
    return DEFAULT_PLACES[-1]


def read(path: Path, environment: Mapping[str, str]) -> Document:
    """Read the file and apply the overrides. Raises ConfigError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
    overrides = {key: value for key, value in sorted(environment.items()) if key.startswith(ENVIRONMENT_PREFIX)}
    try:
        tree = mapping_of(raw)
    except ConfigError as error:
        raise ConfigError([f"{path}: {line}" for line in error.lines]) from error
    overridden = _override(tree, overrides)
    if tree.get("agent") is None:
        tree["agent"] = {}  # what is not given is not validated, and its paths would not be resolved
    folder = path.absolute().parent
    return Document(
        path=path,
        tree=tree,
        base=folder.parent if folder.name == "conf" else folder,
        digest=hashlib.sha256(raw + repr(overrides).encode()).hexdigest(),
        overridden=overridden,
    )


def _override(tree: dict[str, Any], overrides: Mapping[str, str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for variable, text in overrides.items():
        keys = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        try:
            value = value_of(text)
        except ConfigError as error:
            raise ConfigError([f"environment {variable}: not a YAML value"]) from error
        given[_put(tree, keys, value, variable)] = variable
    return given


def _put(tree: dict[str, Any], keys: Sequence[str], value: object, variable: str) -> str:
    """Put it there; returns the place of what was not there before: an entry of a list, a section, the key itself."""
    place: Any = tree
    made = len(keys)
    for depth, (key, following) in enumerate(zip(keys, [*keys[1:], None], strict=True), 1):
        if isinstance(place, list):
            if not key.isdecimal() or int(key) > len(place):
                raise ConfigError(
                    [f"environment {variable}: {key} is not an entry of this list ({counted(len(place), 'entries')})"]
                )
            if int(key) == len(place):
                place.append({})
                made = min(made, depth)
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
        else:
            raise ConfigError([f"environment {variable}: {key} stands under a value that has no keys"])
        if following is None:
            place[index] = value
            break
        if isinstance(place, dict) and place.get(index) in (None, {}):
            place[index] = [] if following.isdecimal() else {}
            made = min(made, depth)
        place = place[index]
    return ".".join(keys[:made])
