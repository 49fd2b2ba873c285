"""Regular expressions of an operator's own, by an engine whose time is linear in the text. Pure.

Devices and senders of traps write what these are tried on, so none may take for ever: RE2, and bounds on the pattern
and on the text. Why it is RE2 and where its syntax is not Python's: docs/decisions/009-patterns.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_PATTERN = 1000
LONGEST_TEXT = 4096
"""So many characters of a text are looked at."""
MOST_INSTRUCTIONS = 2000
"""Of the program that RE2 makes of a pattern; in the worst case it goes through all of them for each octet."""
MOST_GROUPS = 32
_MOST_MEMORY = 1024 * 1024
"""Of a pattern's program and its cache. A cache that is full slows a search down to the worst case, no more."""

_HINTS = (
    ("invalid escape sequence: \\Z", "the end of the text is written \\z, or $"),
    *(
        (f"invalid escape sequence: \\{digit}", "what a group caught cannot be asked for again")
        for digit in "123456789"
    ),
    ("invalid escape sequence: \\u", "write the character itself, or \\x{…}"),
    ("invalid perl operator: (?P", "a named group is written (?P<name>…); what it caught cannot be asked for again"),
    ("invalid perl operator: (?=", "there is no looking ahead"),
    ("invalid perl operator: (?!", "there is no looking ahead"),
    ("invalid perl operator: (?<", "there is no looking behind"),
    ("invalid perl operator: (?>", "there are no atomic groups, nor is there a need for them"),
    ("invalid perl operator: (?#", "there are no comments"),
    ("invalid perl operator: (?", "the flags are i, m, s and U; there are no conditions"),
    ("invalid repetition size", "at most 1000 repetitions, those inside others multiplied"),
    ("pattern too large", "it repeats too much, or too much inside of something repeated"),
)
_PIECE = re.compile(
    r"\\(?P<escape>.)|\[\^?\]?(?:\[:[^:\]]*:\]|\\.|[^\]\\])*\]|\(\?P?<(?P<name>[^>]*)>|(?P<count>\{,[0-9]*\})",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that has been compiled, and its named groups in their order."""

    text: str
    names: tuple[str, ...]
    instructions: int
    """The size of its program: what a search takes in the worst case, for each octet."""
    _engine: Any

    def groups(self, text: str) -> Mapping[str, str | None] | None:
        """What the named groups caught at the first place that fits; None where none does.

        Of a text that is too long the beginning is looked at. What reaches to where it was cut does not count: a
        number may go on behind it.
        """
        seen = text[:LONGEST_TEXT]
        if not seen.isascii():
            seen = seen.encode(errors="replace").decode()  # half a surrogate pair is no character of any text
        match = self._engine.search(seen)
        if match is None or (len(seen) < len(text) and match.end() == len(seen)):
            return None
        return {name: match[name] for name in self.names}

    def fits(self, text: str) -> bool:
        """Whether it is found anywhere in the text."""
        return self.groups(text) is not None


def compile_pattern(pattern: str) -> Pattern:
    """The pattern, compiled. Raises ValueError with what is wrong with it."""
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"a pattern has {LONGEST_PATTERN} characters at most; this one has {len(pattern)}")
    engine = _engine(pattern)
    if engine.programsize > MOST_INSTRUCTIONS:
        raise ValueError("not a pattern: it repeats too much, or too much inside of something repeated")
    if engine.groups > MOST_GROUPS:
        raise ValueError(f"a pattern has {MOST_GROUPS} groups at most; this one has {engine.groups}: write (?:…)")
    _refuse_what_is_read_otherwise(pattern)
    by_place = sorted((place, name) for name, place in engine.groupindex.items())
    return Pattern(pattern, tuple(name for _, name in by_place), engine.programsize, engine)


def _engine(pattern: str) -> Any:
    """RE2's own object."""
    try:
        import re2  # noqa: PLC0415 - 7 ms and 4 MB for those alone who have patterns; and not every platform has it
    except ImportError as error:
        raise ValueError(f"patterns need the package google-re2, which cannot be loaded here: {error}") from error
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        found = error.args[0]
        reason = found.decode(errors="replace") if isinstance(found, bytes) else str(found)
        hint = next((f" ({hint})" for begin, hint in _HINTS if reason.startswith(begin)), "")
        raise ValueError(f"not a pattern: {reason}{hint}") from error
    except UnicodeEncodeError:
        raise ValueError("not a pattern: it holds half a surrogate pair") from None


def _refuse_what_is_read_otherwise(pattern: str) -> None:
    """What RE2 takes for something else than Python, where patterns come from. Raises ValueError."""
    names: set[str] = set()
    for piece in _PIECE.finditer(pattern):
        escape, name = piece["escape"], piece["name"]
        if escape is not None and escape in "123456789":
            raise ValueError(f"not a pattern: \\{escape}: what a group caught cannot be asked for again")
        if escape is not None and escape in "CQE":
            raise ValueError(f"not a pattern: invalid escape sequence: \\{escape}")
        if piece["count"] is not None:
            raise ValueError(f"not a pattern: {piece[0]} is not a repetition: write {{0{piece[0][1:]}")
        if name is not None and name in names:
            raise ValueError(f"not a pattern: two groups are called '{name}'")
        if name is not None:
            names.add(name)
