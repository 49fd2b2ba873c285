"""What one principal may see: an immutable, sorted set of encoded variable bindings; and the answers from it.

Views are what was encoded: there is no access check to forget. A new poll makes new segments and a new view; an answer
that was begun with the old one is completed with the old values. Answers follow RFC 3416 sections 4.2.1 to 4.2.5, for
v1 RFC 3584 section 4.2.2. Pure: a request, a view and a moment in; error status, error index and bindings out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.pdu import ErrorStatus, PduType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.pdu import Request

MAX_BULK_VARBINDS = 500
"""How many variable bindings one GETBULK is answered at most: less is always allowed, more serves amplification."""


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


InstancePosition = tuple[int, int]
"""Where an instance is: number of the segment, position in it."""


@dataclass(frozen=True)
class View:
    """The objects of a view, with or without instances: `segments` in the order of `prefixes`, none within another.

    Nothing in it changes but what is computed from it.
    """

    prefixes: tuple[Oid, ...]
    segments: tuple[Segment, ...]
    numbers: Mapping[Oid, int]
    """The number of each prefix's segment."""

    @classmethod
    def of(cls, segments: Mapping[Oid, Segment]) -> View:
        """The view of these objects."""
        prefixes = tuple(sorted(segments))
        numbers = {prefix: number for number, prefix in enumerate(prefixes)}
        return cls(prefixes, tuple(segments[prefix] for prefix in prefixes), numbers)

    def segment(self, prefix: Oid) -> Segment:
        """The segment of an object of the view."""
        return self.segments[self.numbers[prefix]]

    def replaced(self, changes: Mapping[Oid, Segment]) -> View:
        """The same view with other segments for some objects; those that it does not have are left out."""
        segments = list(self.segments)
        for prefix, segment in changes.items():
            number = self.numbers.get(prefix)
            if number is not None:
                segments[number] = segment
        return View(self.prefixes, tuple(segments), self.numbers)

    @cached_property
    def without_counter64(self) -> View:
        """What SNMPv1 sees: it has no Counter64 (RFC 3584 section 4.2.2.1)."""
        return View.of(
            {
                prefix: segment
                for prefix, segment in zip(self.prefixes, self.segments, strict=True)
                if not segment.counter64
            }
        )

    def find(self, name: Oid) -> InstancePosition | None:
        """Where the instance of that very name stands."""
        number = self.numbers.get(name[:-1])
        if number is None:
            return None
        rows = self.segments[number].rows
        position = bisect_left(rows, name[-1])
        return (number, position) if position < len(rows) and rows[position] == name[-1] else None

    def missing(self, name: Oid) -> bytes:
        """The exception for a name that stands for nothing: noSuchInstance within an object, else noSuchObject."""
        number = bisect_right(self.prefixes, name) - 1
        prefix = self.prefixes[number] if number >= 0 else None
        return ber.NO_SUCH_INSTANCE if prefix and name[: len(prefix)] == prefix else ber.NO_SUCH_OBJECT

    def after(self, name: Oid) -> InstancePosition | None:
        """Where the first instance behind that name stands, None at the end of the view."""
        number = self.numbers.get(name[:-1])
        if number is not None:  # the common case of a walk: the name is an instance itself
            return self._from(number, bisect_right(self.segments[number].rows, name[-1]))
        number = bisect_right(self.prefixes, name) - 1
        if number < 0:
            return self._from(0, 0)
        prefix = self.prefixes[number]
        if name[: len(prefix)] != prefix:
            return self._from(number + 1, 0)
        if len(name) == len(prefix):
            return self._from(number, 0)
        return self._from(number, bisect_right(self.segments[number].rows, name[len(prefix)]))

    def _from(self, number: int, position: int) -> InstancePosition | None:
        segments = self.segments
        while number < len(segments):
            if position < len(segments[number].rows):
                return number, position
            number += 1
            position = 0
        return None

    def run(
        self, instance: InstancePosition | None, wanted: int, moment: Moment
    ) -> tuple[list[bytes], InstancePosition | None]:
        """Up to `wanted` variable bindings from a position on, and the position behind them."""
        found: list[bytes] = []
        while instance is not None and len(found) < wanted:
            number, position = instance
            taken = self.segments[number].take(position, position + wanted - len(found), moment)
            found += taken
            instance = self._from(number, position + len(taken))
        return found, instance

    def name(self, instance: InstancePosition) -> Oid:
        """The name of the instance at a position."""
        number, position = instance
        return (*self.prefixes[number], self.segments[number].rows[position])

    @cached_property
    def last(self) -> Oid | None:
        """The name of the last instance; None in an empty view."""
        for number in range(len(self.segments) - 1, -1, -1):
            rows = self.segments[number].rows
            if rows:
                return (*self.prefixes[number], rows[-1])
        return None


class ResponseContent(NamedTuple):
    """What a Response is encoded from (Authority.respond)."""

    error_status: int
    error_index: int
    varbinds: Sequence[bytes]


def answer(request: Request, view: View, moment: Moment) -> ResponseContent:
    """The answer to a request that was found authentic."""
    if not request.counter64:
        view = view.without_counter64
    match request.pdu_type:
        case PduType.GET:
            return _get_each(request, view, moment, view.find, view.missing)
        case PduType.GETNEXT:
            return _get_each(request, view, moment, view.after, lambda _: ber.END_OF_MIB_VIEW)
        case PduType.GETBULK:
            return ResponseContent(ErrorStatus.NO_ERROR, 0, _get_bulk(request, view, moment))
        case _:
            # A SET: nothing here can be written, whatever the name (RFC 3416 section 4.2.5).
            return ResponseContent(
                ErrorStatus.NOT_WRITABLE if request.names else ErrorStatus.NO_ERROR, min(1, len(request.names)), ()
            )


def _get_each(
    request: Request,
    view: View,
    moment: Moment,
    find: Callable[[Oid], InstancePosition | None],
    missing: Callable[[Oid], bytes],
) -> ResponseContent:
    """One variable binding for each name: the instance that `find` finds, else the exception that `missing` gives."""
    varbinds: list[bytes] = []
    for index, name in enumerate(request.names, 1):
        instance = find(name)
        if instance is not None:
            number, position = instance
            varbinds += view.segments[number].take(position, position + 1, moment)
        elif not request.counter64:  # v1 has no exceptions: the first name that is missing fails the whole request
            return ResponseContent(ErrorStatus.NO_SUCH_NAME, index, ())
        else:
            varbinds.append(ber.encode_varbind(name, missing(name)))
    return ResponseContent(ErrorStatus.NO_ERROR, 0, varbinds)


def _get_bulk(request: Request, view: View, moment: Moment) -> list[bytes]:
    names = request.names
    single = names[: max(request.non_repeaters, 0)]
    repeated = names[len(single) :]
    varbinds: list[bytes] = []
    for name in single[:MAX_BULK_VARBINDS]:
        found, _ = view.run(view.after(name), 1, moment)
        varbinds += found or [ber.encode_varbind(name, ber.END_OF_MIB_VIEW)]
    # The bound on octets comes later (Authority.respond): this one keeps the work small, whatever is asked.
    room = MAX_BULK_VARBINDS - len(varbinds)
    if not repeated or room <= 0 or request.max_repetitions <= 0:
        return varbinds
    if len(repeated) == 1:
        return varbinds + _repeat_one(repeated[0], view, min(request.max_repetitions, room), moment)
    return varbinds + _repeat_many(repeated, view, request.max_repetitions, room, moment)


def _repeat_one(name: Oid, view: View, repetitions: int, moment: Moment) -> list[bytes]:
    found, instance = view.run(view.after(name), repetitions, moment)
    if instance is None and len(found) < repetitions:
        # One endOfMibView says it: the rest of the repetitions would only say it again (RFC 3416 section 4.2.3).
        end = view.last if found and view.last else name
        found.append(ber.encode_varbind(end, ber.END_OF_MIB_VIEW))
    return found


def _repeat_many(names: Sequence[Oid], view: View, repetitions: int, room: int, moment: Moment) -> list[bytes]:
    varbinds: list[bytes] = []
    positions: list[InstancePosition | None] = [view.after(name) for name in names[:room]]
    ends = list(names[:room])
    for _ in range(repetitions):
        if len(varbinds) + len(positions) > room:  # whole repetitions only: a manager reads them as rows
            break
        # A repetition of nothing but endOfMibView may be the last (RFC 3416 section 4.2.3).
        is_last = not any(positions)
        for column, instance in enumerate(positions):
            if instance is None:
                varbinds.append(ber.encode_varbind(ends[column], ber.END_OF_MIB_VIEW))
                continue
            found, following = view.run(instance, 1, moment)
            varbinds += found
            positions[column] = following
            if following is None:
                ends[column] = view.name(instance)
        if is_last:
            break
    return varbinds
