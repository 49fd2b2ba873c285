"""The YAML of files that people write settings in: the agent's own, and the one of its HTTP side."""

from __future__ import annotations

import re
from typing import Any

import yaml

from hsm_agent.settings.errors import ConfigError


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

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        """A text. YAML escapes of half a character, as JSON writes emoji, are joined; a half alone is refused."""
        found = super().construct_scalar(node)
        if not found.isascii():
            try:
                return found.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                raise ConfigError([f"line {node.start_mark.line + 1}: a text holds half a character"]) from None
        return found


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


def mapping_of(raw: bytes) -> dict[str, Any]:
    """What stands in a file, by its top-level keys; an empty file has none. Raises ConfigError with the line."""
    tree = value_of(raw)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(["the file is not a mapping of keys to values"])
    return {str(key): value for key, value in tree.items()}


def value_of(text: bytes | str) -> Any:
    """What a YAML text stands for. Raises ConfigError with the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except _NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        what = getattr(error, "problem", None) or f"not a YAML document: {' '.join(str(error).split())}"
        raise ConfigError([f"{place}{what}"]) from error
