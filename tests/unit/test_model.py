from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.model import Event, EventKind, Severity, number_text
from tests.fakes.present import make_alarm, make_reading


@pytest.mark.parametrize(
    ("severity", "number"),
    [
        (Severity.CLEARED, 1),
        (Severity.INDETERMINATE, 2),
        (Severity.CRITICAL, 3),
        (Severity.MAJOR, 4),
        (Severity.MINOR, 5),
        (Severity.WARNING, 6),
    ],
)
def test_severities_have_the_numbers_of_rfc_3877(severity: Severity, number: int) -> None:
    assert severity.number == number


def test_severities_are_ranked_by_urgency() -> None:
    assert sorted(Severity, key=lambda severity: severity.rank) == [
        Severity.CLEARED,
        Severity.INDETERMINATE,
        Severity.WARNING,
        Severity.MINOR,
        Severity.MAJOR,
        Severity.CRITICAL,
    ]


def test_severities_can_not_be_compared_by_accident() -> None:
    with pytest.raises(TypeError):
        _ = Severity.CRITICAL < Severity.WARNING  # type: ignore[operator]  # that is the point


def test_the_kinds_of_events_are_the_msgids() -> None:
    assert {kind.value for kind in EventKind} == {
        "ALARM_RAISED",
        "ALARM_CHANGED",
        "ALARM_CLEARED",
        "TEST",
        "HEARTBEAT",
        "NOTICE",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0, "0"),
        (-0.0, "0"),
        (75.0, "75"),
        (75.1, "75.1"),
        (0.1 + 0.2, "0.3"),
        (-2.5, "-2.5"),
        (999_999.7, "1000000"),
        (1_234_567.891, "1234567.891"),
        (0.000_012_345_678, "0.0000123457"),
        (2**64, "18446744073709551616"),
        (1e22, "10000000000000000000000"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (True, "1"),
    ],
)
def test_numbers_are_written_in_decimal(value: float | None, text: str) -> None:
    assert number_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_a_number_is_told_without_an_exponent_and_close_to_what_it_is(value: float) -> None:
    text = number_text(value)

    assert set(text) <= set("0123456789.-")
    assert math.isclose(float(text), value, rel_tol=1e-5)


@given(st.integers())
def test_a_whole_number_is_told_exactly(value: int) -> None:
    assert int(number_text(value)) == value


def test_labels_tell_series_apart() -> None:
    one = make_reading("token_login_attempts_left", 3, labels=(("role", "user"),))
    two = make_reading("token_login_attempts_left", 3, labels=(("role", "so"),))

    assert one.series == ("luna-a", "payments", "token_login_attempts_left", (("role", "user"),))
    assert one.series != two.series


def test_the_labels_of_an_info_are_its_content_and_not_its_identity() -> None:
    one = make_reading("hsm_firmware_info", 1, labels=(("version", "7.7.0"),))
    two = make_reading("hsm_firmware_info", 1, labels=(("version", "7.8.4"),))

    assert one.series == two.series
    assert one != two


def test_records_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        make_reading("token_sessions", 1).value = 2  # type: ignore[misc]  # that is the point
    with pytest.raises(FrozenInstanceError):
        make_alarm().silenced = True  # type: ignore[misc]  # that is the point


def test_an_event_without_an_alarm_leaves_its_parts_empty() -> None:
    event = Event(event_id="e", kind=EventKind.TEST, severity=Severity.CLEARED, time=0.0, text="t", agent="a")

    assert (event.alarm_id, event.metric, event.threshold, event.labels) == ("", "", "", ())
