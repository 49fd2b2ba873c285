"""A configuration as it is written: the file with the environment's overrides, a tree that nobody has judged yet."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hsm_agent.config.errors import ConfigError
from hsm_agent.evaluate.messages import counted

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


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema: `off` is a word and `00:30` is text; a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int) and key in seen:
                raise ConfigError([f"line {key_node.start_mark.line + 1}: {key}: the key is given twice"])
            if isinstance(key, str | int):
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


_NOT_YAML = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""Besides its own, what PyYAML lets through: a tag that does not fit (`!!int x`, `!!bool x`), nesting without end."""


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
    tree = _parse(raw, path)
    overridden = _override(tree, overrides)
    tree.setdefault("agent", {})  # what is not given is not validated, and its paths would not be resolved
    folder = path.absolute().parent
    return Document(
        path=path,
        tree=tree,
        base=folder.parent if folder.name == "conf" else folder,
        digest=hashlib.sha256(raw + repr(overrides).encode()).hexdigest(),
        overridden=overridden,
    )


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(raw, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except ConfigError as error:
        raise ConfigError([f"{path}: {line}" for line in error.lines]) from error
    except _NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        what = getattr(error, "problem", None) or f"not a YAML document: {' '.join(str(error).split())}"
        raise ConfigError([f"{path}: {place}{what}"]) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError([f"{path}: the file is not a mapping of keys to values"])
    return {str(key): value if value is not None else {} for key, value in tree.items()}


def _override(tree: dict[str, Any], overrides: Mapping[str, str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for variable, text in overrides.items():
        keys = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        try:
            value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        except (*_NOT_YAML, ConfigError) as error:
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
