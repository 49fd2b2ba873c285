"""No module of the package imports itself, through whichever others.

Imports for types only count too. That a module's import runs the `__init__` of its folder does not.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from tests.contract.trees import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


def _modules() -> dict[str, Path]:
    """Every module by its dotted name; a package by its own."""
    paths = sorted((ROOT / "hsm_agent").rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def _imported(path: Path, names: set[str]) -> Iterator[str]:
    """The modules of the package that are imported, at whatever level and under whatever condition."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in names:
            inner = [f"{node.module}.{each.name}" for each in node.names]
            yield from (name for name in inner if name in names)
            if any(name not in names for name in inner):
                yield node.module


def graph() -> dict[str, set[str]]:
    modules = _modules()
    return {name: set(_imported(path, set(modules))) for name, path in modules.items()}


def circles(edges: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules each of which reaches all others of its set."""
    reached = {name: _reached(name, edges) for name in edges}
    mutual = {name: frozenset(each for each in reached[name] if name in reached[each]) for name in edges}
    return {found for found in mutual.values() if found}


def _reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = edges[waiting.pop()] - reached
        reached |= fresh
        waiting += fresh
    return reached


def test_no_import_goes_in_a_circle() -> None:
    assert circles(graph()) == set()


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}) == {frozenset({"b", "c"}), frozenset({"d"})}


def test_every_import_of_the_package_is_seen() -> None:
    edges = graph()

    assert "hsm_agent.model" in edges["hsm_agent.pipeline"]
    assert sum(map(len, edges.values())) > len(edges)
