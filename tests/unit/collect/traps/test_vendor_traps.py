"""Luna's references in every form that was seen, and Utimaco's pairs."""

from __future__ import annotations

import pytest

from hsm_agent.collect.traps.trap_maps import (
    LUNA,
    UTIMACO,
    VENDORS,
    AlarmChange,
    AlarmLevel,
    ParsedText,
    TrapTable,
    read_luna_reference,
)
from tests.fakes.traps import ASSERTED, DEASSERTED, FAN, trap
from tests.fakes.traps import LUNA as LUNA_TRAPS
from tests.fakes.traps import UTIMACO as UTIMACO_TRAPS

NOTE = "ipmievd[812] in messages of luna-a:172.20.11.40, 2014 Apr 3 15:47:30"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ASSERTED, id="logfile first"),
        pytest.param("[luna-a:172.20.11.40 / 2014 Apr  3 15:47:30 / messages / ipmievd[812] / 1]", id="date first"),
        pytest.param("luna-a:172.20.11.40 / 2014 Apr  3 15:47:30 / messages / ipmievd[812] / 1", id="no brackets"),
        pytest.param("[luna-a:172.20.11.40 / messages / 2014 Apr 3 15:47:30 / ipmievd[812] / 1]", id="squeezed"),
        pytest.param(" [ luna-a:172.20.11.40/ messages /2014  Apr 3 15:47:30 / ipmievd[812] /1 ] ", id="spread"),
    ],
)
def test_a_reference_is_read_in_every_form(text: str) -> None:
    assert read_luna_reference(text) == ParsedText(over=False, note=NOTE)


def test_the_last_field_says_that_it_is_over() -> None:
    assert read_luna_reference(DEASSERTED).over is True
    assert read_luna_reference("[h:1 / messages / 2012 Feb 29 12:05:01 / ipmievd / 0]").over is True


@pytest.mark.parametrize(
    "text", ["", "1", "[a / b / c / d / 2]", "[a / b / c / 1]", "[a / b / c / d / e / 1]", "***TEST"]
)
def test_what_has_another_form_is_shown_as_it_is_and_says_nothing_of_an_end(text: str) -> None:
    assert read_luna_reference(text) == ParsedText(over=None, note=text)


def luna(number: int, text: str) -> AlarmChange:
    (change,) = TrapTable(LUNA).read(trap((*LUNA_TRAPS, number), o1_3_6_1_4_1_23629_1_5_2_2_1_0=text))
    return change


@pytest.mark.parametrize(
    ("number", "alarm", "level", "ends"),
    [
        (2, "fan", AlarmLevel.WARNING, False),
        (3, "power-supply", AlarmLevel.WARNING, False),
        (4, "motherboard", AlarmLevel.CRITICAL, False),
        (5, "disk", AlarmLevel.CRITICAL, True),
        (6, "ntls", AlarmLevel.WARNING, True),
        (7, "crypto", AlarmLevel.CRITICAL, True),
    ],
)
def test_lunas_notifications(number: int, alarm: str, level: AlarmLevel, ends: bool) -> None:
    assert luna(number, ASSERTED) == AlarmChange(alarm=alarm, component="", level=level, note=NOTE, ends=ends)


def test_a_deasserted_luna_trap_clears() -> None:
    assert luna(2, DEASSERTED).level is AlarmLevel.CLEARED


def test_a_luna_trap_that_cannot_be_read_is_raised_and_ends_by_itself() -> None:
    change = luna(2, "something new")

    assert (change.level, change.note, change.ends) == (AlarmLevel.WARNING, "something new", True)


def utimaco(number: int, **values: object) -> tuple[AlarmChange, ...]:
    return TrapTable(UTIMACO).read(trap((*UTIMACO_TRAPS, 0, number), **values))


@pytest.mark.parametrize(
    ("raises", "clears", "alarm"),
    [
        (12, 13, "temperature-high"),
        (14, 15, "temperature-low"),
        (18, 19, "load-high"),
        (20, 21, "clients-high"),
        (24, 25, "fan-speed-low"),
    ],
)
def test_utimacos_pairs_raise_and_clear_the_same_alarm(raises: int, clears: int, alarm: str) -> None:
    fan = {"o1_3_6_1_4_1_3159_1_3_1_9_0": 2}
    (begin,), (end,) = utimaco(raises, **fan), utimaco(clears, **fan)

    assert (begin.alarm, begin.component, begin.ends) == (alarm, "2", False)
    assert begin.level is AlarmLevel.WARNING
    assert (end.alarm, end.component, end.level) == (alarm, "2", AlarmLevel.CLEARED)


def test_utimacos_objects_are_told() -> None:
    (change,) = utimaco(18, o1_3_6_1_4_1_3159_1_3_1_7_0=96, o1_3_6_1_4_1_3159_1_3_1_8_0=12)

    assert change.note == "load 96, clients 12"


def test_a_boot_is_told_and_ends_the_shut_down() -> None:
    (down,) = utimaco(23)

    assert (down.alarm, down.level, down.ends) == ("shut-down", AlarmLevel.CRITICAL, False)
    assert {(one.alarm, one.level, one.ends) for one in utimaco(22)} == {
        ("boot", AlarmLevel.WARNING, True),
        ("shut-down", AlarmLevel.CLEARED, False),
    }


def test_each_of_utimacos_26_notifications_means_something_and_what_has_no_end_is_ended() -> None:
    assert {entry.trap for entry in UTIMACO} == {(*UTIMACO_TRAPS, 0, number) for number in range(1, 27)}
    cleared = {entry.alarm for entry in UTIMACO if entry.level is AlarmLevel.CLEARED}
    assert {entry.alarm for entry in UTIMACO if entry.clears_itself} == cleared


def test_vendors_do_not_speak_of_each_others_traps() -> None:
    traps = [{entry.trap for entry in entries} for entries in VENDORS.values()]

    assert not set.intersection(*traps)
    assert FAN in traps[0]
