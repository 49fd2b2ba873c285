"""Output of a shell as lines and fields, and the facts that are read from fields. Pure.

A field is a line `Key : value`. Spacing and case of keys vary between firmwares and do not matter; order does not
matter either. A field that occurs twice with different values has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.collect.series import Fact
from hsm_agent.text import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hsm_agent.collect.identity import ObjectIdentity

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_FIELD = re.compile(r"\s*([^:]{1,80}):\s*(.*)$")
_COUNT = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"(-?[0-9]{1,18}(?:\.[0-9]{1,9})?)")
MOST_FACTS = 4000
"""Of one output. A device of a hundred partitions has half as many; more would fill every table the agent has."""
LONGEST_LINE = 4096
_SHOWN_CHARACTERS = 80
_KEPT_CHARACTERS = 64


class Malformed(ValueError):
    """A text does not fit. The message is one line and holds the line that is to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedOutput:
    """What one output says.

    `whole`: the output is known to be complete, so that a token that is not in it is not there. `tokens`: who the
    resources are, where they are tokens that may have one name; the facts call each by another one.
    """

    facts: tuple[Fact, ...]
    whole: bool = False
    tokens: Mapping[str, ObjectIdentity] = field(default_factory=dict)


def check_number(facts: int) -> None:
    """Raises Malformed where an output makes more facts than can be meant."""
    if facts > MOST_FACTS:
        raise Malformed(f"the output makes {facts} readings; {MOST_FACTS} are allowed")


def one_line(text: str, most: int = _SHOWN_CHARACTERS) -> str:
    """Foreign text for a log or a reason: one line, without control characters, cut."""
    shown = harmless(" ".join(text.split()))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def name_in(text: str, most: int = _KEPT_CHARACTERS) -> str:
    """A name as it becomes a label or a resource: one line, cut.

    Tools print a field of fixed length with what it holds; behind a NUL that is whatever was in memory.
    """
    return one_line(text.partition("\0")[0], most)


def lines_of(text: str) -> list[str]:
    """Lines without escape sequences, carriage returns and what is not fit to be shown but NUL, tabs as two spaces."""
    bare = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n").replace("\t", "  ")
    return ["\0".join(map(harmless, line.split("\0"))).rstrip() for line in bare.split("\n")]


def whole_lines(text: str) -> list[str]:
    """As `lines_of`, but for a last line that has no end: it may have been cut in the middle of a number.

    Raises Malformed where a line is longer than any shell prints: expressions are not made for that.
    """
    *lines, last = lines_of(text)
    for line in lines:
        if len(line) > LONGEST_LINE:
            raise Malformed(
                f"a line has {len(line)} characters, {LONGEST_LINE} are read: {one_line(line[:LONGEST_LINE])}"
            )
    return [*lines, last] if _RESULT.match(last) else lines


_RESULT = re.compile(r"\s*command\s+result\s*:\s*(.*)$", re.IGNORECASE)
_SUCCESS = re.compile(r"0\s*\(success\)|0|no error", re.IGNORECASE)


def check_result(lines: list[str]) -> bool:
    """Whether the shell says that its command succeeded. Raises Malformed if it says that it failed."""
    results = [(line, found[1].strip()) for line in lines if (found := _RESULT.match(line))]
    for line, result in results:
        if not _SUCCESS.fullmatch(result):
            words = words_of(lines)
            raise Malformed(
                f"the device refused: {words} ({one_line(line)})" if words else f"the device refused: {one_line(line)}"
            )
    return bool(results)


_COMPLAINTS = (
    re.compile(r"\W*(?:fatal\s+)?error\b", re.IGNORECASE),
    re.compile(
        r"\b(?:errors?|fail(?:s|ed|ure)?|unable|cannot|could not|can't|denied|refused|rejected|invalid|illegal|unknown"
        r"|not (?:found|allowed|permitted|recogni[sz]ed|available|connected|supported)|no such|timed? ?out|locked out"
        r"|must (?:be|log)|please log)",
        re.IGNORECASE,
    ),
)
"""What a complaint looks like, the surest sign first: a banner, and what was printed before it, may stand above."""


def words_of(lines: Sequence[str]) -> str:
    """What a device says for itself, where it does not say what it should: its complaint, with the line behind it.

    Without one the first line, which is the message of most tools, and the last one, as banners come first. Empty
    where it says nothing.
    """
    printed = [line[:LONGEST_LINE] for line in lines if any(map(str.isalnum, line)) and not _RESULT.match(line)]
    for sign in _COMPLAINTS:
        for number, line in enumerate(printed):
            if sign.match(line) if sign is _COMPLAINTS[0] else sign.search(line):
                return " ".join(map(one_line, printed[number : number + 2]))
    ends = dict.fromkeys(map(one_line, (*printed[:1], *printed[-1:])))
    return " … ".join(ends)


def instead(lines: Sequence[str]) -> str:
    """What an output says that is not what was asked for, to stand behind what is wrong with it."""
    words = words_of(lines)
    return f"it says: {words}" if words else "it is empty"


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
        """A value as a name, empty where there is none or it says two things."""
        found = None if name in self.doubled else self.values.get(name)
        return name_in(found[0]) if found else ""


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


def count(value: str, line: str) -> int:
    """A number of things or bytes. Raises Malformed, also for what overflowed on its way and came out negative."""
    if not _COUNT.fullmatch(value):
        raise Malformed(f"no number as expected: {one_line(line)}")
    return int(value)


def as_number(digits: str) -> float | int:
    """An integer where it is written as one."""
    return float(digits) if "." in digits else int(digits)


def yes_or_no(value: str, line: str) -> int:
    """1 for yes, 0 for no. Raises Malformed for anything else."""
    known = {"yes": 1, "no": 0}.get(value.casefold())
    if known is None:
        raise Malformed(f"neither yes nor no: {one_line(line)}")
    return known


_ATTEMPTS = re.compile(r"([0-9]{1,4})(?:\s+before\b.*)?", re.IGNORECASE)
_NONE_LEFT = re.compile(r"none\b.*", re.IGNORECASE)
_ROLES = {"hsm admin": "so", "hsm so": "so", "partition so": "so", "owner": "partition_owner"}


class FactBuilder:
    """The facts of one output, or of one part of it that has a name."""

    def __init__(self, fields: Fields, resource: str = "") -> None:
        self.fields = fields
        self.facts: list[Fact] = []
        self._resource = resource

    def add(
        self,
        metric: str,
        value: float | None,
        reason: str = "",
        *,
        labels: Iterable[tuple[str, str]] = (),
        resource: str | None = None,
        limit: float | None = None,
    ) -> None:
        """Write down one fact."""
        self.facts.append(
            Fact(
                metric=metric,
                value=value,
                resource=self._resource if resource is None else resource,
                reason=reason,
                labels=tuple(sorted(labels)),
                limit=limit,
            )
        )

    def attempt(self, metric: str, read: Callable[[], float | int]) -> None:
        """Write down the fact that `read` returns, or why it raised Malformed."""
        try:
            self.add(metric, read())
        except Malformed as error:
            self.add(metric, None, str(error))

    def number(self, names: Sequence[str], convert: Callable[[str, str], float | int]) -> float | int | None:
        """The field of one of these names as a number; None where it is not there. Raises Malformed."""
        for name in names:
            found = self.fields.find(name)
            if found is not None:
                return convert(*found)
        return None

    def take(
        self,
        metric: str,
        names: Sequence[str],
        convert: Callable[[str, str], float | int],
        *,
        optional: bool = False,
        labels: Iterable[tuple[str, str]] = (),
    ) -> float | int | None:
        """The fact of a field, and its value. One that is not optional is missed where it is not there."""
        reason = missing(names[0])
        try:
            value = self.number(names, convert)
        except Malformed as error:
            value, reason, optional = None, str(error), False
        if value is not None or not optional:
            self.add(metric, value, "" if value is not None else reason, labels=labels)
        return value

    def identity(self, metric: str, names: dict[str, tuple[str, ...]]) -> None:
        """An `..._info` fact of the fields that say anything."""
        found = {label: self.first(*keys) for label, keys in names.items()}
        labels = [(label, text) for label, text in found.items() if text]
        if labels:
            self.add(metric, 1, labels=labels)

    def first(self, *names: str) -> str:
        """Text of the first of these fields that says anything."""
        return next((text for name in names if (text := self.fields.text(name))), "")

    @property
    def empty(self) -> bool:
        """Whether nothing was read."""
        return all(fact.value is None for fact in self.facts)


def missing(name: str) -> str:
    """The reason where a line is not there."""
    return f"the output has no line '{name}'"


def attempts_left(value: str, line: str) -> int:
    """`10 before … is locked out`, or `None - …`. Raises Malformed."""
    if _NONE_LEFT.fullmatch(value):
        return 0
    found = _ATTEMPTS.fullmatch(value)
    if found is None:
        raise Malformed(f"no number of login attempts: {one_line(line)}")
    return int(found[1])


def role(name: str) -> str:
    """The value of the label `role` for a role as the shell writes it."""
    return _ROLES.get(name, re.sub(r"[^a-z0-9]+", "_", name))


def fill(
    builder: FactBuilder, prefix: str, total: float | None, used: float | None, free: float | None, reason: str
) -> None:
    """Storage as `<prefix>_{total,used,free}_bytes` and `<prefix>_used_percent`; figures that contradict are none."""
    if total is not None and used is not None and free is not None and used + free > total:
        reason = f"{used:.0f} bytes used and {free:.0f} free of {total:.0f} cannot be"
        total = used = free = None
    for name, value in (("total", total), ("used", used), ("free", free)):
        builder.add(f"{prefix}_{name}_bytes", value, "" if value is not None else reason)
    percent = None if total is None or used is None or free is None or not total else 100 * used / total
    builder.add(f"{prefix}_used_percent", percent, "" if percent is not None else reason or "the size is 0")


def unlike(what: str, lines: Sequence[str]) -> Malformed:
    """The failure of an output that holds nothing of what is looked for."""
    return Malformed(f"this is not what {what} prints: {instead(lines)}")
