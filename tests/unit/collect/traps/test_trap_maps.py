"""From a trap to what it says of an alarm, and text that is fit to be shown."""

from __future__ import annotations

import pytest

from hsm_agent.collect.traps.trap_maps import (
    MAX_NOTE_OCTETS,
    AlarmChange,
    AlarmLevel,
    ParsedText,
    TrapEntry,
    TrapTable,
    clean,
    cut,
    damage,
    shown,
)
from hsm_agent.settings.regex import compile_pattern
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.pdu import Version
from hsm_agent.wire.snmp.trap_receiver import Trap
from tests.fakes.traps import trap

OWN = (1, 3, 6, 1, 4, 1, 32473, 7)
TRAP = (*OWN, 0, 1)


def test_an_entry_says_which_alarm_of_which_component_in_which_words() -> None:
    entry = TrapEntry(
        trap=TRAP, alarm="psu", level=AlarmLevel.CRITICAL, component=((*OWN, 1), (*OWN, 2)), note=(*OWN, 3)
    )

    changes = TrapTable([entry]).read(trap(TRAP, o1_3_6_1_4_1_32473_7_1_4="PSU", o1_3_6_1_4_1_32473_7_2_0=2, o1_3_6_1_4_1_32473_7_3_0="failed\n"))  # fmt: skip

    assert changes == (AlarmChange(alarm="psu", component="PSU 2", level=AlarmLevel.CRITICAL, note="failed"),)


def test_what_a_trap_does_not_bring_is_left_out() -> None:
    entry = TrapEntry(trap=TRAP, alarm="psu", level=AlarmLevel.WARNING, component=((*OWN, 1),), note=(*OWN, 3))

    assert TrapTable([entry]).read(trap(TRAP)) == (
        AlarmChange(alarm="psu", component="", level=AlarmLevel.WARNING, note=""),
    )


def test_the_objects_of_an_entry_are_shown_by_name() -> None:
    entry = TrapEntry(
        trap=TRAP,
        alarm="load",
        level=AlarmLevel.WARNING,
        objects={(*OWN, 1): "load", (*OWN, 2): "limit", (*OWN, 9): "mode"},
    )

    (change,) = TrapTable([entry]).read(trap(TRAP, o1_3_6_1_4_1_32473_7_1=97, o1_3_6_1_4_1_32473_7_2=(1, 3)))

    assert change.note == "load 97, limit 1.3"


def test_every_entry_that_applies_speaks_and_a_pattern_must_be_found() -> None:
    entries = [
        TrapEntry(trap=TRAP, alarm="psu", level=AlarmLevel.WARNING, note=(*OWN, 3), pattern=compile_pattern("fail")),
        TrapEntry(trap=TRAP, alarm="psu", level=AlarmLevel.CLEARED, note=(*OWN, 3), pattern=compile_pattern("^ok")),
        TrapEntry(trap=TRAP, alarm="seen", level=AlarmLevel.WARNING),
    ]

    def read(text: str) -> list[tuple[str, AlarmLevel]]:
        return [(one.alarm, one.level) for one in TrapTable(entries).read(trap(TRAP, o1_3_6_1_4_1_32473_7_3=text))]

    assert read("it failed") == [("psu", AlarmLevel.WARNING), ("seen", AlarmLevel.WARNING)]
    assert read("ok again") == [("psu", AlarmLevel.CLEARED), ("seen", AlarmLevel.WARNING)]


def test_a_trap_that_no_entry_knows_says_nothing() -> None:
    assert TrapTable([]).read(trap(TRAP)) == ()


def test_a_v1_trap_finds_the_entry_by_the_oid_without_the_zero() -> None:
    entry = TrapEntry(trap=(*OWN, 1), alarm="fan", level=AlarmLevel.WARNING)
    v1 = Trap((*OWN, 0, 1), (*OWN, 1), (), Version.V1, False)

    assert [one.alarm for one in TrapTable([entry]).read(v1)] == ["fan"]


@pytest.mark.parametrize(
    ("over", "clears_itself", "level", "ends"),
    [(True, True, AlarmLevel.CLEARED, False), (False, True, AlarmLevel.WARNING, False), (None, True, AlarmLevel.WARNING, True),
     (False, False, AlarmLevel.WARNING, True), (True, False, AlarmLevel.CLEARED, False)],
)  # fmt: skip
def test_a_text_may_say_that_it_is_over_and_what_says_nothing_of_an_end_has_to_be_ended(
    over: bool | None, clears_itself: bool, level: AlarmLevel, ends: bool
) -> None:
    entry = TrapEntry(
        trap=TRAP,
        alarm="fan",
        level=AlarmLevel.WARNING,
        reads=lambda text: ParsedText(over=over, note=f"read {text}"),
        clears_itself=clears_itself,
        clear_after_seconds=60.0,
    )

    assert TrapTable([entry]).read(trap(TRAP)) == (
        AlarmChange(alarm="fan", component="", level=level, note="read ", ends=ends, clear_after_seconds=60.0),
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"Fan 1A\r\n\x1b[2J  low", "Fan 1A [2J low", id="controls"),
        pytest.param(
            "L\u00fcfter \u202eab\u200b".encode(), "Lüfter \ufffdab\ufffd", id="directions and what has no width"
        ),
        pytest.param(b"\xff\xfe", "��", id="no UTF-8"),
        pytest.param(-7, "-7", id="a number"),
        pytest.param((1, 3, 6), "1.3.6", id="an OID"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_a_value_is_one_line_of_plain_text(value: bytes | int | tuple[int, ...] | None, expected: str) -> None:
    assert shown(ber.VarBind((1, 3), ber.OCTET_STRING, value), 64) == expected


def test_text_is_cut_between_letters_and_says_so() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("ü" * 10, 9) == "üüü…"
    assert len(clean("x" * 1_000_000, MAX_NOTE_OCTETS).encode()) == MAX_NOTE_OCTETS


def test_a_note_is_cut_whatever_a_sender_writes() -> None:
    entry = TrapEntry(trap=TRAP, alarm="psu", level=AlarmLevel.WARNING, component=((*OWN, 1),), note=(*OWN, 1))

    (change,) = TrapTable([entry]).read(trap(TRAP, o1_3_6_1_4_1_32473_7_1="ü" * 5000))

    assert len(change.note.encode()) <= MAX_NOTE_OCTETS
    assert len(change.component.encode()) <= 64


BROKEN = ber.Undecodable("INTEGER of 9 octets: 010203040506070809")


def damaged(*varbinds: ber.VarBind) -> Trap:
    return Trap(TRAP, TRAP, varbinds, Version.V2C, False)


def test_a_damaged_value_leaves_the_others_as_they_are() -> None:
    entry = TrapEntry(trap=TRAP, alarm="psu", level=AlarmLevel.WARNING, component=((*OWN, 1),), note=(*OWN, 3))
    one = damaged(
        ber.VarBind((*OWN, 2), ber.INTEGER, BROKEN),
        ber.VarBind((*OWN, 1), ber.INTEGER, 7),
        ber.VarBind((*OWN, 3), ber.OCTET_STRING, b"failed"),
    )

    assert TrapTable([entry]).read(one) == (
        AlarmChange(alarm="psu", component="7", level=AlarmLevel.WARNING, note="failed"),
    )
    assert damage(one) == BROKEN.reason
    assert damage(trap(TRAP)) == ""


def test_a_clear_that_does_not_surely_name_what_it_ends_ends_nothing() -> None:
    entry = TrapEntry(trap=TRAP, alarm="psu", level=AlarmLevel.CLEARED, component=((*OWN, 1), (*OWN, 2)))
    device = ber.VarBind((*OWN, 1), ber.INTEGER, 7)

    assert TrapTable([entry]).read(damaged(device, ber.VarBind((*OWN, 2), ber.INTEGER, BROKEN))) == ()
    assert TrapTable([entry]).read(damaged(device, ber.VarBind((), ber.INTEGER, BROKEN))) == ()
    assert TrapTable([entry]).read(damaged(device)) == (
        AlarmChange(alarm="psu", component="7", level=AlarmLevel.CLEARED, note=""),
    )


def test_a_raise_of_something_that_was_not_understood_is_told_and_ends_by_time() -> None:
    entry = TrapEntry(trap=TRAP, alarm="psu", level=AlarmLevel.CRITICAL, component=((*OWN, 1),))

    (change,) = TrapTable([entry]).read(damaged(ber.VarBind((*OWN, 1), ber.INTEGER, BROKEN)))

    assert change == AlarmChange(alarm="psu", component="", level=AlarmLevel.CRITICAL, note="", ends=True)


def test_a_pattern_is_found_in_no_damaged_text() -> None:
    entry = TrapEntry(
        trap=TRAP, alarm="psu", level=AlarmLevel.WARNING, note=(*OWN, 3), pattern=compile_pattern("decoded|octets")
    )

    assert TrapTable([entry]).read(damaged(ber.VarBind((*OWN, 3), ber.OCTET_STRING, BROKEN))) == ()
