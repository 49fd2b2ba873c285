"""The search in a view: what stands there, what comes next, whatever the name."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.serve.snmp.view import Moment, Segment, View, varbind
from hsm_agent.wire.snmp import ber

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

MOMENT = Moment(10.0, 1000.0)


def segment(prefix: Oid, *rows: int) -> Segment:
    return Segment(rows, tuple(ber.encode_varbind((*prefix, row), ber.encode_integer(row)) for row in rows))


A, B, C, D = (1, 3, 6, 1), (1, 3, 6, 2), (1, 3, 6, 2 + 1, 1), (1, 3, 7)
VIEW = View.of(dict(zip((A, B, C, D), (segment(A, 0), segment(B), segment(C, 1, 5, 700), segment(D, 2)), strict=True)))
INSTANCES = [(*A, 0), (*C, 1), (*C, 5), (*C, 700), (*D, 2)]


def test_an_instance_is_found() -> None:
    assert [VIEW.find(name) for name in INSTANCES] == [(0, 0), (2, 0), (2, 1), (2, 2), (3, 0)]


def test_what_is_no_instance_is_not_found() -> None:
    for name in [(*A, 1), A, (*A, 0, 0), (*B, 0), (*C, 2), (*C, 701), (1, 3), (2, 5)]:
        assert VIEW.find(name) is None


def test_an_object_without_that_instance_is_known() -> None:
    assert all(VIEW.missing(name) == ber.NO_SUCH_INSTANCE for name in [(*A, 1), A, (*A, 0, 0), (*B, 4), (*C, 9, 9)])


def test_a_name_outside_all_objects_is_not_known() -> None:
    assert all(
        VIEW.missing(name) == ber.NO_SUCH_OBJECT for name in [(1, 3), (1, 3, 6, 3), (1, 3, 6, 3, 2), (1, 3, 8), (0, 0)]
    )


names = st.lists(st.sampled_from([0, 1, 2, 3, 5, 6, 7, 699, 700, 701, 2**32 - 1]), min_size=1, max_size=7).map(tuple)


@given(names)
def test_the_next_instance_is_the_least_that_is_greater(name: Oid) -> None:
    expected = bisect_right(INSTANCES, name)

    place = VIEW.after(name)

    if expected == len(INSTANCES):
        assert place is None
    else:
        assert place is not None
        assert VIEW.name(place) == INSTANCES[expected]


@given(names, st.integers(min_value=1, max_value=9))
def test_a_run_is_as_many_steps(name: Oid, wanted: int) -> None:
    found, place = VIEW.run(VIEW.after(name), wanted, MOMENT)

    first = bisect_right(INSTANCES, name)
    expected = INSTANCES[first : first + wanted]
    assert [ber.read_oid(one, *ber.enter(one, 0, len(one), ber.SEQUENCE))[0] for one in found] == expected
    rest = INSTANCES[first + wanted :]
    assert (VIEW.name(place) if place else None) == (rest[0] if rest else None)


def test_the_last_instance_is_known() -> None:
    assert VIEW.last == (*D, 2)
    assert View.of({A: Segment()}).last is None


def test_values_are_rendered_at_the_moment_of_the_answer() -> None:
    rendered = Segment(
        (1, 2), (b"\x06\x01a", b"\x06\x01b"), (4.0, 7.0), lambda since, now: bytes([int(now[0] - since)])
    )

    assert rendered.take(0, 9, MOMENT) == [b"\x30\x04\x06\x01a\x06", b"\x30\x04\x06\x01b\x03"]


def test_a_long_variable_binding_has_a_long_length() -> None:
    assert varbind(b"n" * 100, b"v" * 100)[:3] == b"\x30\x81\xc8"


def test_replacing_a_segment_leaves_the_old_view_alone() -> None:
    changed = VIEW.replaced({B: segment(B, 9), (1, 3, 99): segment((1, 3, 99), 1)})

    assert changed.find((*B, 9)) == (1, 0)
    assert changed.segment(B).rows == (9,)
    assert VIEW.find((*B, 9)) is None
    assert changed.prefixes is VIEW.prefixes


def test_counter64_is_left_out_for_version_1() -> None:
    wide = Segment((1,), (ber.encode_varbind((*C, 1), ber.encode_counter64(1)),), counter64=True)
    view = VIEW.replaced({C: wide}).without_counter64

    assert view.prefixes == (A, B, D)
    assert view.find((*C, 1)) is None
    assert view.missing((*C, 1)) == ber.NO_SUCH_OBJECT
