"""SECURITY.md: its lists of calls, listeners, connections and files are those of the code."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, get_args

from hsm_agent.collect.base import KINDS
from hsm_agent.deliver import KINDS as SINK_KINDS
from tests.contract.trees import nodes, tree
from tests.fakes.sample_configuration import ROOT, every_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "hsm_agent"
FUNCTION = re.compile(r"CA?_[A-Z]\w*")

# Paths that the code joins and that are not in the state directory.
NO_STATE_FILES = {
    "Chrystoki.conf": "the Luna client's configuration, which is read",
    "profiles": "SNMP profiles, installed with the package",
    "*.yaml": "one SNMP profile",
    "scripts": "the checkout",
    "demo": "the checkout",
    "mibs": "the checkout",
    "docs": "the checkout",
    "schema": "the checkout",
    "hsm-agent": "the installed schema",
    "agent.schema.json": "the installed schema",
    "agent.yaml": "the configuration that `setup` writes",
    "secrets": "the folder beside it",
    "var": "the state directory that it names",
    "share": "the installed MIB text; the checkout",
    "snmp": "the installed MIB text",
    "HSM-AGENT-MIB.txt": "the installed MIB text",
    "status.html": "the template of the status page, installed with the package",
    "style.css": "its style sheet, likewise",
    "*.json": "recordings of `poll --record DIR`",
}
# Files that are not joined by name: SQLite and the writer of small files derive them from the names of others.
DERIVED_FILES = {
    "spool.db-wal": "SQLite's write-ahead log",
    "*.damaged-*": "what state_file sets aside",
    "*.new": "what state_file has not renamed yet",
    "snmp-engine.json.*": "the same, where the file must not exist yet",
}


def section(heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def cells(heading: str, column: int) -> list[str]:
    """One column of the table below a heading, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [re.split(r" *(?<!\\)\| *", line.strip("|").strip())[column] for line in lines[1:]]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def bound_functions() -> set[str]:
    """Every PKCS#11 function that the binding names as a string or as an attribute of the library."""
    (binding,) = PACKAGE.rglob("cryptoki.py")
    found = [node for path in sorted(binding.parent.rglob("*.py")) for node in nodes(path)]
    texts = {node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    attributes = {node.attr for node in found if isinstance(node, ast.Attribute)}
    return {name for name in texts | attributes if FUNCTION.fullmatch(name)}


def joined_names() -> set[str]:
    """The last part of every path that is joined with `/` in the package, `*` for what is not constant in it."""
    return {name for path in sorted(PACKAGE.rglob("*.py")) for name in _joined(path)}


def _joined(path: Path) -> Iterator[str]:
    constants = {
        target.id: node.value
        for node in tree(path).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in nodes(path):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            right = constants.get(node.right.id) if isinstance(node.right, ast.Name) else node.right
            if isinstance(right, ast.Constant) and isinstance(right.value, str):
                yield right.value
            elif isinstance(right, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in right.values)


def stored_files() -> set[str]:
    """Names in the first column of the table of files, `*` for the name of a source or the number of a process."""
    names = [name for cell in cells("What is stored", 0) for name in quoted(cell)]
    return {re.sub("SOURCE|PID", "*", name).rstrip("/") for name in names}


# What is called


def test_the_functions_that_are_listed_are_those_of_the_binding() -> None:
    listed = section("What the agent may not do to an HSM").partition("\nNo `C_Login`")[0]

    assert set(FUNCTION.findall(listed)) == bound_functions()


def test_the_functions_that_are_ruled_out_are_not_in_the_binding() -> None:
    ruled_out = set(FUNCTION.findall(section("What the agent may not do to an HSM").partition("\nNo `C_Login`")[2]))

    assert ruled_out
    assert not ruled_out & bound_functions()


# What listens


def test_every_key_that_makes_the_agent_listen_has_its_row() -> None:
    keys = {option.place for option in every_option() if re.search(r"(^|\.)(listen|\w*socket)$", option.place)}

    assert sorted(key for cell in cells("What listens", 1) for key in quoted(cell)) == sorted(keys)


def test_the_default_addresses_are_the_ones_listed() -> None:
    places = dict(zip(cells("What listens", 1), cells("What listens", 2), strict=True))

    for option in every_option():
        if f"`{option.place}`" in places and option.place.endswith("listen"):
            default = option.field.get_default(call_default_factory=True)
            first = str(default[0] if isinstance(default, list | tuple) else default)
            assert first.removeprefix("udp:") in places[f"`{option.place}`"], option.place


# What is connected to


def test_every_kind_of_source_and_sink_has_its_row() -> None:
    kinds = {
        f"{what} `{get_args(settings.model_fields['kind'].annotation)[0]}`"
        for what, classes in (("source", KINDS.classes()), ("sink", SINK_KINDS.classes()))
        for settings in classes
    }

    assert sorted(cells("What it connects to", 0)) == sorted(kinds)


# What is stored


def test_every_file_that_the_code_names_is_listed() -> None:
    files = stored_files()
    unlisted = {name for name in joined_names() if not any(_same(name, file) for file in files)}

    assert unlisted == set(NO_STATE_FILES)


def test_every_file_that_is_listed_is_in_the_code() -> None:
    names = joined_names() - set(NO_STATE_FILES)
    unknown = {file for file in stored_files() if not any(_same(name, file) for name in names)}

    assert unknown == set(DERIVED_FILES)


def _same(name: str, file: str) -> bool:
    """Whether a joined name, such as `*-*.json`, stands for a listed one, such as `snmp-*.json`, or the other way."""
    if name.startswith("*"):
        return name.count("*") > 1 and fnmatchcase(file, name)
    return name == file or (name.partition("*")[0] == file.partition("*")[0] != "" and fnmatchcase(name, file))
