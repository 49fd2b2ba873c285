"""What LunaSH prints for `partition show`, of one partition or of all. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers.facts import Sheet, attempts_left, fill, missing, role, unlike
from hsm_agent.collect.command.parsers.text import (
    Fields,
    Identity,
    Malformed,
    Parsed,
    check_result,
    count,
    instead,
    one_line,
    split_field,
    whole_lines,
    yes_or_no,
)

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


def parse(text: str) -> Parsed:
    """Readings of every partition in the output. Raises Malformed where there is none, or the command failed."""
    lines = whole_lines(text)
    told = check_result(lines)
    blocks, strays = _blocks(lines)
    if not blocks:
        raise unlike("partition show", lines)
    named = _named(blocks)
    if not named:
        raise Malformed(f"{_NAMELESS}; {instead(lines)}")
    facts = [fact for name, (block, _) in named.items() for fact in _partition(name, block)]
    tokens = {name: token for name, (_, token) in named.items()}
    # Without the shell's own last line nobody knows whether there was more to come, and where the line is lost that
    # begins a partition, it is among the lines of another one, or of none.
    whole = told and not strays and len(named) == len(blocks) and not any(block.doubled for block in blocks)
    return Parsed(facts=tuple(facts), whole=whole, tokens=tokens)


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


def _named(blocks: list[Fields]) -> dict[str, tuple[Fields, Identity]]:
    """Parts by the partition's name, else by its label or serial number, and who each is. Raises Malformed.

    A part without the line of the name has been cut: it must not become a partition of another name.
    """
    sheets = [Sheet(block) for block in blocks if _NAME in block.values]
    tokens = [Identity(sheet.first(_NAME, "partition label"), sheet.first(*_SERIALS)) for sheet in sheets]
    numbered = {token.label for token in tokens if token.serial}
    found: dict[str, tuple[Fields, Identity]] = {}
    for sheet, token in zip(sheets, tokens, strict=True):
        label, serial = token.label, token.serial
        if not serial and (not label or label in numbered):  # of a name that stands twice one part is damaged
            continue
        name = next((name for name in (label, serial) if name and name not in found), "")
        if not name:
            raise Malformed(f"two partitions are called '{label or serial}'")
        found[name] = (sheet.fields, token)
    return found


def _partition(name: str, block: Fields) -> list[Fact]:
    sheet = Sheet(block, name)
    # A line that begins a partition may have been lost: what stands twice may be another partition's.
    mixed = next(iter(block.doubled.values()), None)
    if mixed is not None:
        block = Fields(values=block.values, doubled=dict.fromkeys(block.values, mixed))
        sheet.fields = block
    sheet.add("token_present", 1)
    _storage(sheet)
    sheet.take("token_objects", ["partition object count"], count)
    for field in block.values:
        _role_field(sheet, field)
    if mixed is None:
        sheet.identity("token_info", {"label": ("partition label",), "name": (_NAME,), "serial": _SERIALS})
    return sheet.facts


def _storage(sheet: Sheet) -> None:
    reason = missing(_STORAGE)
    values: tuple[int, ...] | tuple[None, ...] = (None, None, None)
    try:
        found = sheet.fields.find(_STORAGE)
        if found is not None:
            values = _figures(*found)
    except Malformed as error:
        reason = str(error)
    total, used, free = values
    fill(sheet, "token_storage", total, used, free, reason)


def _figures(value: str, line: str) -> tuple[int, ...]:
    found = _FIGURES.fullmatch(value)
    if found is None:
        raise Malformed(f"no Total, Used and Free: {one_line(line)}")
    return tuple(map(int, found.groups()))


def _role_field(sheet: Sheet, field: str) -> None:
    found = _ROLE_FIELD.fullmatch(field)
    if found is None:
        return
    labels = [("role", role(found[1]))]
    if found[2] == "locked out":
        sheet.take("token_role_locked", [field], yes_or_no, labels=labels)
    elif found[2] == "zeroized":
        sheet.take("token_zeroized", [field], yes_or_no, labels=labels)
    else:
        sheet.take("token_login_attempts_left", [field], attempts_left, labels=labels)
