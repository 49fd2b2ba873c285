"""The vocabulary of the package: a public type's name means one thing, and some words are not used in names."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.contract.trees import nodes, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[2] / "hsm_agent"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Type names that stand for two things for a reason that stays.
DOUBLE_FOR_A_REASON: dict[str, str] = {}

FORBIDDEN = {"acts", "book", "crew", "guest", "haul", "heard", "keeper", "ledger", "parts", "rounds", "said"}


def folder(path: Path) -> str:
    return path.relative_to(PACKAGE).parent.as_posix()


def public_types(path: Path) -> Iterator[str]:
    """Names of the classes and type aliases that a module defines at its top level."""
    for node in tree(path).body:
        match node:
            case ast.ClassDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in names if re.fullmatch(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", name))


def identifiers(path: Path) -> Iterator[str]:
    """Every name in a module, and the names of its file and folder."""
    yield path.stem
    yield path.parent.name
    for node in nodes(path):
        for field in ("id", "attr", "name", "arg", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str) and (field, name) != ("attr", "parts"):  # pathlib's
                yield name


def words(identifier: str) -> set[str]:
    """`HTTPServer_of`: http, server, of."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)}


def test_a_types_name_means_one_thing() -> None:
    places: dict[str, set[Path]] = defaultdict(set)
    for path in MODULES:
        for name in public_types(path):
            places[name].add(path)

    assert {name for name, where in places.items() if len(where) > 1} == set(DOUBLE_FOR_A_REASON)


def test_forbidden_words_are_not_used_in_names() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        for word in {word for name in identifiers(path) for word in words(name)} & FORBIDDEN:
            found[word].add(folder(path))

    assert found == {}
