"""What LunaSH prints for `partition show` and `partition list`. Pure.

In the table of `partition list` columns are known by their headings; a heading of unknown meaning makes the table
another one. Only the name may hold blanks, so a row is read from both its ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers.text import (
    FactBuilder,
    Fields,
    Malformed,
    ParsedOutput,
    attempts_left,
    check_result,
    count,
    fill,
    instead,
    missing,
    name_in,
    one_line,
    role,
    split_field,
    unlike,
    whole_lines,
    yes_or_no,
)
from hsm_agent.collect.identity import ObjectIdentity

if TYPE_CHECKING:
    from hsm_agent.collect.series import Fact

_NAME = "partition name"
_STARTERS = (_NAME, "partition sn", "partition serial number", "partition serial #")
_SERIALS = _STARTERS[1:]
_NAMELESS = "the output names no partition: no line 'partition name', or name, label and number are blank"
_STORAGE = "partition storage information (bytes)"
_FIGURES = re.compile(
    r"total\s*=\s*([0-9]{1,18})\s*,\s*used\s*=\s*([0-9]{1,18})\s*,\s*free\s*=\s*([0-9]{1,18})", re.IGNORECASE
)
_ROLE_FIELD = re.compile(r"(.+?) (login attempts left|locked out|zeroized)")


def parse_partitions(text: str) -> ParsedOutput:
    """Readings of every partition in the output. Raises Malformed where there is none, or the command failed."""
    lines = whole_lines(text)
    has_succeeded = check_result(lines)
    blocks, strays = _blocks(lines)
    if not blocks:
        raise unlike("partition show", lines)
    named = _named(blocks)
    if not named:
        raise Malformed(f"{_NAMELESS}; {instead(lines)}")
    facts = [fact for name, (block, _) in named.items() for fact in _partition(name, block)]
    tokens = {name: token for name, (_, token) in named.items()}
    # Without the shell's own last line there may have been more to come, and where the line is lost that
    # begins a partition, it is among the lines of another one, or of none.
    whole = has_succeeded and not strays and len(named) == len(blocks) and not any(block.doubled for block in blocks)
    return ParsedOutput(facts=tuple(facts), whole=whole, tokens=tokens)


def _blocks(lines: list[str]) -> tuple[list[Fields], bool]:
    """One part for each partition, beginning with the line that begins the first; and if one has no beginning."""
    pairs = [(pair, line) for line in lines if (pair := split_field(line)) is not None]
    starter = next((name for (name, _), _ in pairs if name in _STARTERS), None)
    if starter is None:
        return [], False
    blocks: list[Fields] = []
    strays = False
    for (name, value), line in pairs:
        if name == starter:
            blocks.append(Fields())
        if blocks:
            blocks[-1].add(name, value, line)
        else:
            strays = strays or name.startswith("partition ") or _ROLE_FIELD.fullmatch(name) is not None
    return blocks, strays


def _named(blocks: list[Fields]) -> dict[str, tuple[Fields, ObjectIdentity]]:
    """Parts by the partition's name, else by its label or serial number, and who each is. Raises Malformed.

    A part without the line of the name has been cut: it must not become a partition of another name.
    """
    sheets = [FactBuilder(block) for block in blocks if _NAME in block.values]
    tokens = [ObjectIdentity(builder.first(_NAME, "partition label"), builder.first(*_SERIALS)) for builder in sheets]
    numbered = {token.label for token in tokens if token.serial}
    found: dict[str, tuple[Fields, ObjectIdentity]] = {}
    for builder, token in zip(sheets, tokens, strict=True):
        label, serial = token.label, token.serial
        if not serial and (not label or label in numbered):  # of a name that stands twice one part is damaged
            continue
        name = next((name for name in (label, serial) if name and name not in found), "")
        if not name:
            raise Malformed(f"two partitions are called '{label or serial}'")
        found[name] = (builder.fields, token)
    return found


def _partition(name: str, block: Fields) -> list[Fact]:
    builder = FactBuilder(block, name)
    # A line that begins a partition may have been lost: what stands twice may be another partition's.
    mixed = next(iter(block.doubled.values()), None)
    if mixed is not None:
        block = Fields(values=block.values, doubled=dict.fromkeys(block.values, mixed))
        builder.fields = block
    builder.add("token_present", 1)
    _storage(builder)
    builder.take("token_objects", ["partition object count"], count)
    for field in block.values:
        _role_field(builder, field)
    if mixed is None:
        builder.identity("token_info", {"label": ("partition label",), "name": (_NAME,), "serial": _SERIALS})
    return builder.facts


def _storage(builder: FactBuilder) -> None:
    reason = missing(_STORAGE)
    values: tuple[int, ...] | tuple[None, ...] = (None, None, None)
    try:
        found = builder.fields.find(_STORAGE)
        if found is not None:
            values = _figures(*found)
    except Malformed as error:
        reason = str(error)
    total, used, free = values
    fill(builder, "token_storage", total, used, free, reason)


def _figures(value: str, line: str) -> tuple[int, ...]:
    found = _FIGURES.fullmatch(value)
    if found is None:
        raise Malformed(f"no Total, Used and Free: {one_line(line)}")
    return tuple(map(int, found.groups()))


def _role_field(builder: FactBuilder, field: str) -> None:
    found = _ROLE_FIELD.fullmatch(field)
    if found is None:
        return
    labels = [("role", role(found[1]))]
    if found[2] == "locked out":
        builder.take("token_role_locked", [field], yes_or_no, labels=labels)
    elif found[2] == "zeroized":
        builder.take("token_zeroized", [field], yes_or_no, labels=labels)
    else:
        builder.take("token_login_attempts_left", [field], attempts_left, labels=labels)


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
_STORAGE_COLUMNS = ("total", "used", "free")
_GAP = re.compile(r"\s{2,}")
_RULE = re.compile(r"[\s+=_-]*")
_UNIT = re.compile(r"storage\s*\(([a-z]{1,16})\)", re.IGNORECASE)
_NO_PARTITIONS = re.compile(
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

    token: ObjectIdentity
    figures: dict[str, int]
    reason: str = ""


def parse_partition_list(text: str) -> ParsedOutput:
    """Readings of every partition. Raises Malformed where there is no table, or the command failed."""
    lines = whole_lines(text)
    has_succeeded = check_result(lines)
    place, columns = next(((place, found) for place, line in enumerate(lines) if (found := _head(line))), (0, []))
    if not columns and has_succeeded and any(_NO_PARTITIONS.match(line) for line in lines):
        return ParsedOutput(facts=(), whole=True)
    if not columns:
        raise unlike("partition list", lines)
    _check_unit(lines[: place + 1])
    rows, strays = _rows(columns, lines[place + 1 :])
    facts: list[Fact] = []
    tokens: dict[str, ObjectIdentity] = {}
    for row in rows:
        name = next((name for name in (row.token.label, row.token.serial) if name and name not in tokens), "")
        if not name:
            raise Malformed(f"two partitions are called '{row.token.label or row.token.serial}'")
        tokens[name] = row.token
        facts += _listed_partition(name, row, columns)
    # Without the shell's own last line there may have been more to come.
    return ParsedOutput(facts=tuple(facts), whole=has_succeeded and not strays, tokens=tokens)


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
    return columns if "name" in columns and {*_STORAGE_COLUMNS, "objects"} & {*columns} else []


def _meaning(heading: str) -> str:
    return next((column for pattern, column in _HEADINGS if pattern.fullmatch(heading)), "")


def _check_unit(lines: list[str]) -> None:
    for line in lines:
        found = _UNIT.search(line)
        if found is not None and found[1].casefold() not in {"bytes", "byte", "b"}:
            raise Malformed(f"storage is not given in bytes: {one_line(line)}")


def _rows(columns: list[str], lines: list[str]) -> tuple[list[_Row], bool]:
    """The rows below a head, and whether there is a line that may be one and cannot be read as one."""
    rows: dict[ObjectIdentity, _Row] = {}
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
    """A line of the table; None where it does not show which partition it is about."""
    words = line.split()
    place = columns.index("name")
    last = len(words) - (len(columns) - place - 1)
    cells = dict(zip((*columns[:place], *columns[place + 1 :]), (*words[:place], *words[max(0, last) :]), strict=False))
    serial = cells.pop("serial", "")
    if "serial" in columns and not _SERIAL.fullmatch(serial):
        return None
    name = name_in(" ".join(words[place:last]))
    if last >= place and all(map(_FIGURE.fullmatch, cells.values())) and (name or serial):
        return _Row(ObjectIdentity(name, serial), {column: int(cell) for column, cell in cells.items()})
    if not serial:
        return None
    return _Row(ObjectIdentity("", serial, is_partial=True), {}, f"a row unlike the table's head: {one_line(line)}")


def _listed_partition(name: str, row: _Row, columns: list[str]) -> list[Fact]:
    builder = FactBuilder(Fields(), name)
    builder.add("token_present", 1)
    if {*_STORAGE_COLUMNS} & {*columns}:
        total, used, free = (row.figures.get(column) for column in _STORAGE_COLUMNS)
        lost = next((column for column in _STORAGE_COLUMNS if column not in columns), "")
        fill(
            builder,
            "token_storage",
            total,
            used,
            free,
            row.reason or (f"the table has no column '{lost}'" if lost else ""),
        )
    if "objects" in columns:
        builder.add("token_objects", row.figures.get("objects"), row.reason)
    labels = [(key, text) for key, text in (("name", row.token.label), ("serial", row.token.serial)) if text]
    if not row.token.is_partial:
        builder.add("token_info", 1, labels=labels)
    return builder.facts
