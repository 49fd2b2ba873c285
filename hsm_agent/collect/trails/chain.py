"""What the verification of a trail keeps and finds, whatever the trail's format. Pure: it is fed lines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from hsm_agent.metrics.tables import SUCCESS
from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

ZERO = bytes(32)
"""What the first entry of a trail carries as the hash of its predecessor."""
LONGEST_LINE_BYTES = 1 << 16
"""A longer line is no entry of any format."""
_QUOTED = 120
_MOST_BREAKS = 50
_LATEST_SECONDS = 253_402_300_799.0
"""The end of the year 9999."""


def seconds_of(value: object, per_second: float) -> float | None:
    """UTC seconds of a JSON value that a trail has for a time; None of what is none, such as 1e400 or NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= _LATEST_SECONDS * per_second:  # before it is divided: an integer may be too large for that
        return None
    return value / per_second


class TrailVerdict(StrEnum):
    """What can be said of a trail."""

    INTACT = "intact"
    BROKEN = "broken"
    ANCHOR_UNKNOWN = "anchor unknown"
    """Every link fits, but nothing shows that the first entry follows what came before it."""
    UNVERIFIABLE = "unverifiable"
    """Its hashes need a key."""


@dataclass(frozen=True, slots=True)
class Break:
    """The first link that does not fit: `line` (from 1) carries `found` where `expected` is its predecessor's hash."""

    line: int
    expected: str
    found: str

    def __str__(self) -> str:
        return f"line {self.line}: expected {self.expected}, found {self.found}"


class Entry(NamedTuple):
    """One operation that a trail records. `time` is UTC seconds; `session` and `mechanism` may be empty.

    `result` is `SUCCESS`, or the name of what it failed with: a CK_RV of PKCS#11, or the response of a CloudHSM.
    """

    time: float | None
    operation: str
    result: str
    session: str = ""
    mechanism: str = ""
    detail: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the operation succeeded."""
        return self.result == SUCCESS


@dataclass(slots=True, kw_only=True)
class ChainState:
    """How far a chain was verified, and what was found: what a checkpoint keeps.

    `anchor` is the hash that the first entry carried, `newest` the hash of the last entry, both in hex or empty.
    `form` is how the entries' bytes are hashed, where a format knows more than one way; while no link has shown which
    of them it is, `respelt` is the last entry's hash the other way.
    """

    anchor: str = ""
    newest: str = ""
    form: str = ""
    respelt: str = ""
    lines: int = 0
    entries: int = 0
    bad_lines: int = 0
    bad_line: str = ""
    breaks: int = 0
    broken: Break | None = None
    unverifiable_line: int = 0


class Chain(ABC):
    """Verifies a trail line by line. Never raises on what a line holds.

    `follows` is the hash, in hex, that the first line must carry: that of the last entry that was verified before.
    """

    format: ClassVar[str]
    first: ClassVar[str] = ZERO.hex()
    """What the first entry of a trail carries."""

    def __init__(self, state: ChainState | None = None, *, follows: str = "") -> None:
        self.state = ChainState() if state is None else state
        self.breaks: list[Break] = []
        """The first breaks that this object has seen."""
        if follows:
            self.state.newest = self.state.anchor = follows

    @abstractmethod
    def feed(self, line: bytes) -> bool:
        """Verify the next line, without its end. False for a line that is no entry; it is counted. Empty is well."""

    def feed_all(self, lines: Sequence[bytes]) -> None:
        """Verify the next lines."""
        for line in lines:
            self.feed(line)

    @abstractmethod
    def decode(self, line: bytes) -> Entry:
        """What the line records. Raises ValueError."""

    def is_whole(self, rest: bytes) -> bool:
        """Whether the last line of a file, which has no end, is an entry already."""
        return type(self)().feed(rest.rstrip(b"\r\n"))

    @staticmethod
    def following(newest: str) -> str:
        """What the first entry of the next file of a set must carry."""
        return newest

    @property
    def verdict(self) -> TrailVerdict:
        """Of all lines so far. An anchor is known where it is zero; a caller may know better."""
        if self.state.broken is not None:
            return TrailVerdict.BROKEN
        if self.state.unverifiable_line:
            return TrailVerdict.UNVERIFIABLE
        if self.state.anchor not in ("", self.first):
            return TrailVerdict.ANCHOR_UNKNOWN
        return TrailVerdict.INTACT

    def _refuse(self, line: bytes) -> bool:
        """Count a line that is no entry; the first one is quoted."""
        state = self.state
        state.bad_lines += 1
        if not state.bad_line:
            quoted = one_line(line[: 4 * _QUOTED].decode("utf-8", "replace"))[:_QUOTED]
            state.bad_line = f"line {state.lines}: {quoted!r}"
        return False

    def _break(self, expected: str, found: str) -> None:
        """Note a link that does not fit; the first one is kept."""
        broken = Break(self.state.lines, expected, found)
        self.state.breaks += 1
        if self.state.broken is None:
            self.state.broken = broken
        if len(self.breaks) < _MOST_BREAKS:
            self.breaks.append(broken)
