"""What LunaSH prints for `partition list`: a table with a row for each partition. Pure.

Columns are known by their headings; a heading of unknown meaning makes the table another one. Only the name may hold
blanks, so a row is read from both its ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers.facts import Sheet, fill, unlike
from hsm_agent.collect.command.parsers.text import (
    Fields,
    Identity,
    Malformed,
    Parsed,
    check_result,
    name_in,
    one_line,
    whole_lines,
)

if TYPE_CHECKING:
    from hsm_agent.collect.series import Fact

_HEADINGS = (
    (re.compile(r"(?:partition\s+)?(?:serial(?:\s+(?:numbers?|num|no\.?|#))?|sn|s/n)|partition\s+id"), "serial"),
    (re.compile(r"(?:partition\s+)?(?:names?|labels?)"), "name"),
    (re.compile(r"object\s+counts?|objects?"), "objects"),
    (re.compile(r"total(?:\s+\(bytes\))?"), "total"),
    (re.compile(r"used(?:\s+\(bytes\))?"), "used"),
    (re.compile(r"free(?:\s+\(bytes\))?"), "free"),
    (re.compile(r"partitions?"), "partition"),
)
"""A column by its heading; what is one word here may be two there."""
_MOST_WORDS = 16
"""Of a head."""
_STORAGE = ("total", "used", "free")
_GAP = re.compile(r"\s{2,}")
_RULE = re.compile(r"[\s+=_-]*")
_UNIT = re.compile(r"storage\s*\(([a-z]{1,16})\)", re.IGNORECASE)
_NOBODY = re.compile(
    r"\s*(?:there (?:are|is) )?(?:currently )?(?:no|0) (?:\w{1,20} )?partitions?"
    r"(?:\W*$| (?:found|exists?|ha(?:s|ve) been|were|on|in|defined|created|configured|available)\b)",
    re.IGNORECASE,
)
"""The whole of an answer, not a part of a complaint; believed where the shell says that its command succeeded."""
_SERIAL = re.compile(r"[0-9]{1,20}")
_FIGURE = re.compile(r"[0-9]{1,18}")


@dataclass(slots=True)
class _Row:
    """A partition's row: its figures by column, or why there are none."""

    token: Identity
    figures: dict[str, int]
    reason: str = ""


def parse(text: str) -> Parsed:
    """Readings of every partition. Raises Malformed where there is no table, or the command failed."""
    lines = whole_lines(text)
    told = check_result(lines)
    place, columns = next(((place, found) for place, line in enumerate(lines) if (found := _head(line))), (0, []))
    if not columns and told and any(_NOBODY.match(line) for line in lines):
        return Parsed(facts=(), whole=True)
    if not columns:
        raise unlike("partition list", lines)
    _check_unit(lines[: place + 1])
    rows, strays = _rows(columns, lines[place + 1 :])
    facts: list[Fact] = []
    tokens: dict[str, Identity] = {}
    for row in rows:
        name = next((name for name in (row.token.label, row.token.serial) if name and name not in tokens), "")
        if not name:
            raise Malformed(f"two partitions are called '{row.token.label or row.token.serial}'")
        tokens[name] = row.token
        facts += _partition(name, row, columns)
    # Without the shell's own last line nobody knows whether there was more to come.
    return Parsed(facts=tuple(facts), whole=told and not strays, tokens=tokens)


def _head(line: str) -> list[str]:
    """The columns of a table's head, in their order; empty where the line is none."""
    columns: list[str] = []
    if len(line.split()) > _MOST_WORDS:
        return []
    for cell in _GAP.split(line.strip().casefold()):
        meanings = [_meaning(cell)]
        if not meanings[0]:  # set close: each word is a heading
            meanings = [_meaning(word) for word in cell.split()]
        columns += meanings
    if "" in columns or len({*columns}) < len(columns):
        return []
    if "name" not in columns:
        columns = ["name" if column == "partition" else column for column in columns]
    elif "serial" not in columns:
        columns = ["serial" if column == "partition" else column for column in columns]
    return columns if "name" in columns and {*_STORAGE, "objects"} & {*columns} else []


def _meaning(heading: str) -> str:
    return next((column for pattern, column in _HEADINGS if pattern.fullmatch(heading)), "")


def _check_unit(lines: list[str]) -> None:
    for line in lines:
        found = _UNIT.search(line)
        if found is not None and found[1].casefold() not in {"bytes", "byte", "b"}:
            raise Malformed(f"storage is not given in bytes: {one_line(line)}")


def _rows(columns: list[str], lines: list[str]) -> tuple[list[_Row], bool]:
    """The rows below a head, and whether there is a line that may be one and cannot be read as one."""
    rows: dict[Identity, _Row] = {}
    strays = False
    for line in lines:
        row = None if _RULE.fullmatch(line) else _row(columns, line)
        if row is None:
            strays = strays or (":" not in line and any(map(str.isdigit, line)))
        elif row.figures != rows.setdefault(row.token, row).figures:
            rows[row.token].reason = f"stands twice with different values: {one_line(line)}"
            rows[row.token].figures = {}
    return [*rows.values()], strays


def _row(columns: list[str], line: str) -> _Row | None:
    """A line of the table; None where nobody can say whose it is."""
    words = line.split()
    place = columns.index("name")
    last = len(words) - (len(columns) - place - 1)
    cells = dict(zip((*columns[:place], *columns[place + 1 :]), (*words[:place], *words[max(0, last) :]), strict=False))
    serial = cells.pop("serial", "")
    if "serial" in columns and not _SERIAL.fullmatch(serial):
        return None
    name = name_in(" ".join(words[place:last]))
    if last >= place and all(map(_FIGURE.fullmatch, cells.values())) and (name or serial):
        return _Row(Identity(name, serial), {column: int(cell) for column, cell in cells.items()})
    if not serial:
        return None
    return _Row(Identity("", serial, is_partial=True), {}, f"a row unlike the table's head: {one_line(line)}")


def _partition(name: str, row: _Row, columns: list[str]) -> list[Fact]:
    sheet = Sheet(Fields(), name)
    sheet.add("token_present", 1)
    if {*_STORAGE} & {*columns}:
        total, used, free = (row.figures.get(column) for column in _STORAGE)
        lost = next((column for column in _STORAGE if column not in columns), "")
        fill(
            sheet,
            "token_storage",
            total,
            used,
            free,
            row.reason or (f"the table has no column '{lost}'" if lost else ""),
        )
    if "objects" in columns:
        sheet.add("token_objects", row.figures.get("objects"), row.reason)
    labels = [(key, text) for key, text in (("name", row.token.label), ("serial", row.token.serial)) if text]
    if not row.token.is_partial:
        sheet.add("token_info", 1, labels=labels)
    return sheet.facts
