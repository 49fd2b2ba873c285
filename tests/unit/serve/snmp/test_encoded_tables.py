"""Rows encoded once, and segments that change only where rows did."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.model import Severity
from hsm_agent.serve.snmp.encoded_table import EncodedRow, EncodedTable, patch
from hsm_agent.serve.snmp.rows import Row, active_row, reading_row, source_row
from hsm_agent.serve.snmp.view import Moment, Segment
from hsm_agent.wire.snmp import mib
from hsm_agent.wire.snmp.mib import BASE, parse_base
from hsm_agent.wire.snmp.pdu import read_varbinds
from tests.fakes.snmp_present import STARTED, alarm, reading, store

VALUE, AGE = 3, 6
"""Positions of two columns in the table of readings."""
MOMENT = Moment(monotonic=5000.0, wall=STARTED + 3600)


def row(value: float | None, time: float = STARTED) -> Row:
    return reading_row(reading("token_sessions", value, time=time), Severity.CLEARED)


def sheet(rows: dict[int, Row] | None = None) -> EncodedTable:
    made = EncodedTable(mib.READING, BASE)
    made.apply({index: made.encode(index, one) for index, one in (rows or {}).items()})
    return made


def test_cells_are_whole_variable_bindings() -> None:
    shown = sheet().encode(300, row(12))

    cell = shown.cells[VALUE]
    assert cell is not None
    (found,) = read_varbinds(cell)
    assert (found.name, found.value) == ((*BASE, 1, 5, 1, 5, 300), b"12")


def test_a_base_may_be_as_long_as_one_can_be_configured() -> None:
    base = parse_base("1.3.6.1.4.1" + ".4294967295" * 58)

    cell = EncodedTable(mib.READING, base).encode(300, row(12)).cells[VALUE]

    assert cell is not None
    (found,) = read_varbinds(cell)
    assert (found.name, found.value) == ((*base, 1, 5, 1, 5, 300), b"12")


def test_absent_cells_are_not_encoded() -> None:
    assert sheet().encode(1, row(None)).cells[VALUE] is None


def test_a_row_that_stayed_is_the_same_object() -> None:
    made = sheet({1: row(12)})

    assert made.encode(1, row(12)) is made.rows[1]


def test_a_row_whose_age_alone_differs_keeps_its_cells() -> None:
    made = sheet({1: row(12)})

    later = made.encode(1, row(12, time=STARTED + 60))

    assert later is not made.rows[1]
    assert later.cells is made.rows[1].cells
    assert later.row.cells[AGE] == STARTED + 60


def test_a_row_that_changed_keeps_its_other_cells() -> None:
    made = sheet({1: row(12)})

    later = made.encode(1, row(13))

    before = made.rows[1].cells
    changed = [number for number, cell in enumerate(later.cells) if cell is not before[number]]
    assert changed == [VALUE]


def test_a_moment_that_appears_is_named() -> None:
    status = store().sources["luna-a"]
    made = EncodedTable(mib.SOURCE, BASE)
    made.apply({1: made.encode(1, source_row(replace(status, last_success=None)))})

    shown = made.encode(1, source_row(status))

    assert made.rows[1].cells[3] is None
    assert shown.cells[3] is not None


def test_ages_are_rendered() -> None:
    made = sheet()
    segment = patch(made.blank()[made.prefixes[AGE]], AGE, {1: made.encode(1, row(12, time=STARTED + 3570))})

    (found,) = read_varbinds(segment.take(0, 1, MOMENT)[0])

    assert (found.name, found.value) == ((*BASE, 1, 5, 1, 8, 1), 30)


def test_a_new_poll_makes_ages_young_again() -> None:
    made = sheet({1: row(12, time=STARTED + 3540), 2: row(13, time=STARTED + 3540)})
    segment = patch(made.blank()[made.prefixes[AGE]], AGE, made.rows)

    later = patch(segment, AGE, {2: made.encode(2, row(13, time=STARTED + 3600))})

    assert [one.value for one in read_varbinds(b"".join(later.take(0, 9, MOMENT)))] == [60, 0]
    assert [one.value for one in read_varbinds(b"".join(segment.take(0, 9, MOMENT)))] == [60, 60]


def test_age_of_a_reading_from_the_future_is_zero() -> None:
    made = sheet()
    segment = patch(made.blank()[made.prefixes[AGE]], AGE, {1: made.encode(1, row(12, time=STARTED + 9999))})

    assert read_varbinds(segment.take(0, 1, MOMENT)[0])[0].value == 0


def test_text_of_an_alarm_is_cut_and_cleaned() -> None:
    raised = alarm()
    long = replace(raised, event=replace(raised.event, text="ü" * 200 + "\n"))
    made = EncodedTable(mib.ACTIVE, BASE)

    cell = made.encode(1, active_row(long)).cells[8]

    assert cell is not None
    assert read_varbinds(cell)[0].value == "ü".encode() * 127


def test_a_segment_without_differences_stays_the_same_object() -> None:
    made = sheet({1: row(12)})
    segment = patch(made.blank()[made.prefixes[VALUE]], VALUE, made.rows)

    assert patch(segment, VALUE, {1: made.encode(1, row(12, time=STARTED + 60)), 9: None}) is segment


@given(
    st.dictionaries(st.integers(1, 9), st.sampled_from([None, 1.0, 2.0])),
    st.lists(st.dictionaries(st.integers(1, 9), st.sampled_from([None, 1.0, 2.0, "gone"])), max_size=4),
)
def test_patching_equals_making_anew(
    first: dict[int, float | str | None], later: list[dict[int, float | str | None]]
) -> None:
    made = EncodedTable(mib.READING, BASE)
    segments = list(made.blank().values())
    for step in (first, *later):
        changes: dict[int, EncodedRow | None] = {}
        for index, value in step.items():
            changes[index] = None if isinstance(value, str) else made.encode(index, row(value, time=STARTED + index))
        segments = [patch(segment, number, changes) for number, segment in enumerate(segments)]
        made.apply(changes)

    anew = [patch(segment, number, made.rows) for number, segment in enumerate(made.blank().values())]

    assert [unwrapped(one) for one in segments] == [unwrapped(one) for one in anew]


def unwrapped(segment: Segment) -> tuple[list[int], list[bytes], list[float]]:
    return list(segment.rows), list(segment.cells), list(segment.numbers)


def test_only_more_than_another_moment_is_newly_encoded() -> None:
    made = sheet({1: row(12), 2: row(13)})
    changes = {
        1: made.encode(1, row(12, time=STARTED + 60)),
        2: made.encode(2, row(14, time=STARTED + 60)),
        3: made.encode(3, row(1)),
        4: None,
    }

    assert sorted(made.newly_encoded(changes)) == [2, 3, 4]
