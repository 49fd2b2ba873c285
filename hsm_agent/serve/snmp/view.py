"""What one principal may see: an immutable, sorted set of encoded variable bindings, and the search in it.

Views are what was encoded: there is no access check to forget. A new poll makes new segments and a new view;
whoever holds the old one goes on reading the old values to the end of its answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.wire.snmp.ber import Oid


class Moment(NamedTuple):
    """When an answer is given: seconds on the monotonic clock, and UTC seconds since the epoch."""

    monotonic: float
    wall: float


Render = Callable[[float, Moment], bytes]
"""Makes an encoded value at the moment of the answer, from the number that the cell holds."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The instances of one column, or one scalar: sorted by their last subidentifier.

    `cells` are whole variable bindings; where `render` makes the values, they are encoded names, and `numbers`
    is what the values are made of. Rows without a value are not in it.
    """

    rows: Sequence[int] = ()
    cells: Sequence[bytes] = ()
    numbers: Sequence[float] = ()
    render: Render | None = None
    counter64: bool = False

    def take(self, start: int, stop: int, moment: Moment) -> Sequence[bytes]:
        """The variable bindings from `start` up to `stop`, as many as there are."""
        render = self.render
        if render is None:
            return self.cells[start:stop]
        named = zip(self.cells[start:stop], self.numbers[start:stop], strict=True)
        return [varbind(name, render(number, moment)) for name, number in named]


def varbind(name: bytes, value: bytes) -> bytes:
    """A variable binding of an encoded name and an encoded value."""
    return b"\x30" + ber.encode_length(len(name) + len(value)) + name + value


@dataclass(frozen=True, slots=True)
class Layout:
    """The objects of a view in order: what can be there, whether or not it has instances."""

    prefixes: tuple[Oid, ...]
    positions: Mapping[Oid, int] = field(init=False)

    def __post_init__(self) -> None:
        """No prefix lies within another, and they rise."""
        object.__setattr__(self, "positions", {prefix: place for place, prefix in enumerate(self.prefixes)})


Place = tuple[int, int]
"""Where an instance stands: number of the segment, position in it."""


@dataclass(frozen=True)
class View:
    """Segments by the layout's order. Nothing in it changes but what is computed from it."""

    layout: Layout
    segments: tuple[Segment, ...]

    def segment(self, prefix: Oid) -> Segment:
        """The segment of an object of the layout."""
        return self.segments[self.layout.positions[prefix]]

    def replaced(self, changes: Mapping[Oid, Segment]) -> View:
        """The same view with other segments for some objects; those that are not in its layout are left out."""
        segments = list(self.segments)
        for prefix, segment in changes.items():
            position = self.layout.positions.get(prefix)
            if position is not None:
                segments[position] = segment
        return View(self.layout, tuple(segments))

    @cached_property
    def without_counter64(self) -> View:
        """What SNMPv1 sees: it has no Counter64 (RFC 3584 section 4.2.2.1)."""
        kept = [place for place, segment in enumerate(self.segments) if not segment.counter64]
        prefixes = tuple(self.layout.prefixes[place] for place in kept)
        return View(Layout(prefixes), tuple(self.segments[place] for place in kept))

    def find(self, name: Oid) -> Place | None:
        """Where the instance of that very name stands."""
        number = self.layout.positions.get(name[:-1])
        if number is None:
            return None
        rows = self.segments[number].rows
        position = bisect_left(rows, name[-1])
        return (number, position) if position < len(rows) and rows[position] == name[-1] else None

    def knows_object(self, name: Oid) -> bool:
        """Whether the name lies within an object of the view, so that only the instance is missing."""
        number = bisect_right(self.layout.prefixes, name) - 1
        if number < 0:
            return False
        prefix = self.layout.prefixes[number]
        return name[: len(prefix)] == prefix

    def after(self, name: Oid) -> Place | None:
        """Where the first instance behind that name stands, None at the end of the view."""
        number = self.layout.positions.get(name[:-1])
        if number is not None:  # the common case of a walk: the name is an instance itself
            return self._from(number, bisect_right(self.segments[number].rows, name[-1]))
        number = bisect_right(self.layout.prefixes, name) - 1
        if number < 0:
            return self._from(0, 0)
        prefix = self.layout.prefixes[number]
        if name[: len(prefix)] != prefix:
            return self._from(number + 1, 0)
        if len(name) == len(prefix):
            return self._from(number, 0)
        return self._from(number, bisect_right(self.segments[number].rows, name[len(prefix)]))

    def _from(self, number: int, position: int) -> Place | None:
        segments = self.segments
        while number < len(segments):
            if position < len(segments[number].rows):
                return number, position
            number += 1
            position = 0
        return None

    def run(self, place: Place | None, wanted: int, moment: Moment) -> tuple[list[bytes], Place | None]:
        """Up to `wanted` variable bindings from a place on, and the place behind them."""
        found: list[bytes] = []
        while place is not None and len(found) < wanted:
            number, position = place
            taken = self.segments[number].take(position, position + wanted - len(found), moment)
            found += taken
            place = self._from(number, position + len(taken))
        return found, place

    def name(self, place: Place) -> Oid:
        """The name of the instance at a place."""
        number, position = place
        return (*self.layout.prefixes[number], self.segments[number].rows[position])

    @cached_property
    def last(self) -> Oid | None:
        """The name of the last instance; None in an empty view."""
        for number in range(len(self.segments) - 1, -1, -1):
            rows = self.segments[number].rows
            if rows:
                return (*self.layout.prefixes[number], rows[-1])
        return None
