"""What a shell printed, as lines and fields: cleaned of what terminals add, and read without guessing. Pure.

A field is a line `Key : value`. Spacing and case of keys vary between firmwares and do not matter; order does not
matter either. A field that stands twice with different values has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hsm_agent.plain import harmless

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_FIELD = re.compile(r"\s*([^:]{1,80}):\s*(.*)$")
_NUMBER = re.compile(r"(-?[0-9]{1,18}(?:\.[0-9]{1,9})?)")
_SHOWN_CHARACTERS = 80
_KEPT_CHARACTERS = 64


class Malformed(ValueError):
    """A text does not fit. The message is one line and holds the line that is to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One metric as a command printed it: a value, or why there is none. `resource` is empty for the whole device."""

    metric: str
    value: float | int | None
    resource: str = ""
    reason: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What one output says.

    `whole`: the output is known to be complete, so that a token that is not in it is not there.
    """

    facts: tuple[Fact, ...]
    whole: bool = False


def one_line(text: str, most: int = _SHOWN_CHARACTERS) -> str:
    """Foreign text for a log or a reason: one line, without control characters, cut."""
    shown = harmless(" ".join(text.split()))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def lines_of(text: str) -> list[str]:
    """Lines without escape sequences, carriage returns and other control characters, tabs as two spaces."""
    bare = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n").replace("\t", "  ")
    return [harmless(line).rstrip() for line in bare.split("\n")]


def whole_lines(text: str) -> list[str]:
    """As `lines_of`, but for a last line that has no end: it may have been cut in the middle of a number."""
    *lines, last = lines_of(text)
    return [*lines, last] if _RESULT.match(last) else lines


_RESULT = re.compile(r"\s*command\s+result\s*:\s*(.*)$", re.IGNORECASE)
_SUCCESS = re.compile(r"0\s*\(success\)|0|no error", re.IGNORECASE)


def check_result(lines: list[str]) -> bool:
    """Whether the shell says that its command succeeded. Raises Malformed if it says that it failed."""
    said = [(line, found[1].strip()) for line in lines if (found := _RESULT.match(line))]
    for line, result in said:
        if not _SUCCESS.fullmatch(result):
            raise Malformed(f"the device refused: {one_line(line)}")
    return bool(said)


def key(text: str) -> str:
    """A key as it is compared: lower case, one space between words."""
    return " ".join(text.split()).casefold()


@dataclass(slots=True)
class Fields:
    """The fields of an output, or of a part of it: key, value and line."""

    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    doubled: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: str, line: str) -> None:
        """Take in one field."""
        before = self.values.setdefault(name, (value, line))
        if before[0] != value:
            self.doubled[name] = line

    def find(self, name: str) -> tuple[str, str] | None:
        """Value and line of a field, None where it is not there. Raises Malformed where it says two things."""
        if name in self.doubled:
            raise Malformed(f"stands twice with different values: {one_line(self.doubled[name])}")
        return self.values.get(name)

    def text(self, name: str) -> str:
        """A value as text, empty where there is none or it says two things; cut, as it becomes a label."""
        found = None if name in self.doubled else self.values.get(name)
        return one_line(found[0], _KEPT_CHARACTERS) if found else ""


def split_field(line: str) -> tuple[str, str] | None:
    """Key and value of a line `Key : value`."""
    found = _FIELD.match(line)
    return (key(found[1]), found[2].strip()) if found and found[1].strip() else None


def fields_of(lines: list[str]) -> Fields:
    """All fields of an output."""
    found = Fields()
    for line in lines:
        pair = split_field(line)
        if pair is not None:
            found.add(*pair, line)
    return found


def number(value: str, line: str, units: str = "") -> float | int:
    """A number, followed by nothing or by one of the units (a pattern). Raises Malformed."""
    found = re.fullmatch(rf"{_NUMBER.pattern}\s*(?:{units})" if units else _NUMBER.pattern, value, re.IGNORECASE)
    if found is None:
        raise Malformed(f"no number as expected: {one_line(line)}")
    return as_number(found[1])


def as_number(digits: str) -> float | int:
    """An integer where it is written as one."""
    return float(digits) if "." in digits else int(digits)


def yes_or_no(value: str, line: str) -> int:
    """1 for yes, 0 for no. Raises Malformed for anything else."""
    known = {"yes": 1, "no": 0}.get(value.casefold())
    if known is None:
        raise Malformed(f"neither yes nor no: {one_line(line)}")
    return known
