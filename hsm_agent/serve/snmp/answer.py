"""What is answered to a request, from a view (RFC 3416 sections 4.2.1 to 4.2.5, RFC 3584 section 4.2.2 for v1).

Pure: a request, a view and a moment come in; error status, error index and variable bindings go out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.pdu import ErrorStatus, PduType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.serve.snmp.view import Moment, Place, View
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.request import Request

MAX_BULK_VARBINDS = 500
"""How many variable bindings one GETBULK is answered at most: less is always allowed, more serves amplification."""


class Answer(NamedTuple):
    """What Authority.respond wants to know."""

    error_status: int
    error_index: int
    varbinds: Sequence[bytes]


def answer(request: Request, view: View, moment: Moment) -> Answer:
    """The answer to a request that was found authentic."""
    if not request.counter64:
        view = view.without_counter64
    match request.pdu_type:
        case PduType.GET:
            return _get(request, view, moment)
        case PduType.GETNEXT:
            return _get_next(request, view, moment)
        case PduType.GETBULK:
            return Answer(ErrorStatus.NO_ERROR, 0, _get_bulk(request, view, moment))
        case _:
            # A SET: nothing here can be written, whatever the name (RFC 3416 section 4.2.5).
            return Answer(
                ErrorStatus.NOT_WRITABLE if request.names else ErrorStatus.NO_ERROR, min(1, len(request.names)), ()
            )


def _get(request: Request, view: View, moment: Moment) -> Answer:
    varbinds: list[bytes] = []
    for index, name in enumerate(request.names, 1):
        place = view.find(name)
        if place is not None:
            number, position = place
            varbinds += view.segments[number].take(position, position + 1, moment)
        elif not request.counter64:
            return Answer(ErrorStatus.NO_SUCH_NAME, index, ())
        else:
            missing = ber.NO_SUCH_INSTANCE if view.knows_object(name) else ber.NO_SUCH_OBJECT
            varbinds.append(ber.encode_varbind(name, missing))
    return Answer(ErrorStatus.NO_ERROR, 0, varbinds)


def _get_next(request: Request, view: View, moment: Moment) -> Answer:
    varbinds: list[bytes] = []
    for index, name in enumerate(request.names, 1):
        place = view.after(name)
        if place is not None:
            number, position = place
            varbinds += view.segments[number].take(position, position + 1, moment)
        elif not request.counter64:
            return Answer(ErrorStatus.NO_SUCH_NAME, index, ())
        else:
            varbinds.append(ber.encode_varbind(name, ber.END_OF_MIB_VIEW))
    return Answer(ErrorStatus.NO_ERROR, 0, varbinds)


def _get_bulk(request: Request, view: View, moment: Moment) -> list[bytes]:
    names = request.names
    single = names[: max(request.non_repeaters, 0)]
    repeated = names[len(single) :]
    varbinds: list[bytes] = []
    for name in single[:MAX_BULK_VARBINDS]:
        found, _ = view.run(view.after(name), 1, moment)
        varbinds += found or [ber.encode_varbind(name, ber.END_OF_MIB_VIEW)]
    room = MAX_BULK_VARBINDS - len(varbinds)
    if not repeated or room <= 0 or request.max_repetitions <= 0:
        return varbinds
    if len(repeated) == 1:
        return varbinds + _repeat_one(repeated[0], view, min(request.max_repetitions, room), moment)
    return varbinds + _repeat_many(repeated, view, request.max_repetitions, room, moment)


def _repeat_one(name: Oid, view: View, repetitions: int, moment: Moment) -> list[bytes]:
    found, place = view.run(view.after(name), repetitions, moment)
    if place is None and len(found) < repetitions:
        # One endOfMibView says it: the rest of the repetitions would only say it again (RFC 3416 section 4.2.3).
        end = view.last if found and view.last else name
        found.append(ber.encode_varbind(end, ber.END_OF_MIB_VIEW))
    return found


def _repeat_many(names: Sequence[Oid], view: View, repetitions: int, room: int, moment: Moment) -> list[bytes]:
    varbinds: list[bytes] = []
    places: list[Place | None] = [view.after(name) for name in names[:room]]
    ends = list(names[:room])
    for _ in range(repetitions):
        if len(varbinds) + len(places) > room:
            break
        is_last = not any(places)  # a repetition of nothing but endOfMibView may be the last (RFC 3416 section 4.2.3)
        for column, place in enumerate(places):
            if place is None:
                varbinds.append(ber.encode_varbind(ends[column], ber.END_OF_MIB_VIEW))
                continue
            found, following = view.run(place, 1, moment)
            varbinds += found
            places[column] = following
            if following is None:
                ends[column] = view.name(place)
        if is_last:
            break
    return varbinds
