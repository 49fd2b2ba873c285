"""Levels, hysteresis and `for`."""

from __future__ import annotations

import doctest
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.evaluate import conditions
from hsm_agent.evaluate.conditions import apply_for, severity_above, severity_below
from hsm_agent.evaluate.state import NOTHING_PENDING, PendingLevels
from hsm_agent.model import Severity

CLEARED, WARNING, MAJOR, CRITICAL = Severity.CLEARED, Severity.WARNING, Severity.MAJOR, Severity.CRITICAL
SEVERITIES = (CLEARED, WARNING, CRITICAL)
numbers = st.floats(min_value=-1e9, max_value=1e9)
maybe = st.none() | numbers


def test_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(conditions).failed == 0


@pytest.mark.parametrize(
    ("value", "current", "expected"),
    [
        pytest.param(74.9, CLEARED, CLEARED, id="below the level"),
        pytest.param(75, CLEARED, WARNING, id="reached is enough"),
        pytest.param(90, CLEARED, CRITICAL, id="straight to critical"),
        pytest.param(70, WARNING, WARNING, id="the edge of the band still holds"),
        pytest.param(69.9, WARNING, CLEARED, id="left below the band"),
        pytest.param(70, CLEARED, CLEARED, id="the band raises nothing"),
        pytest.param(85, CRITICAL, CRITICAL, id="the edge of the critical band"),
        pytest.param(84.9, CRITICAL, WARNING, id="critical is left on its own"),
        pytest.param(88, WARNING, WARNING, id="the critical band does not escalate"),
        pytest.param(float("inf"), CLEARED, CRITICAL, id="infinity is a value"),
        pytest.param(69.9, CRITICAL, CLEARED, id="all the way down at once"),
    ],
)
def test_rising_levels(value: float, current: Severity, expected: Severity) -> None:
    assert severity_above(value, warning=75, critical=90, hysteresis=5, current=current) is expected


@pytest.mark.parametrize(
    ("value", "current", "expected"),
    [
        pytest.param(86401, CLEARED, CLEARED, id="above the level"),
        pytest.param(86400, CLEARED, WARNING, id="reached is enough"),
        pytest.param(3600, CLEARED, CRITICAL, id="critical"),
        pytest.param(4200, CRITICAL, CRITICAL, id="the edge of the band"),
        pytest.param(4201, CRITICAL, WARNING, id="left above the band"),
        pytest.param(float("inf"), CRITICAL, CLEARED, id="never is well"),
    ],
)
def test_falling_levels(value: float, current: Severity, expected: Severity) -> None:
    assert severity_below(value, warning=86400, critical=3600, hysteresis=600, current=current) is expected


def test_either_level_may_be_missing() -> None:
    assert severity_above(99, warning=75, critical=None, hysteresis=0, current=CLEARED) is WARNING
    assert severity_above(80, warning=None, critical=90, hysteresis=0, current=CLEARED) is CLEARED
    assert severity_below(0, warning=0, critical=None, hysteresis=0, current=CLEARED) is WARNING
    assert severity_below(1, warning=None, critical=0, hysteresis=0, current=CLEARED) is CLEARED


@given(
    values=st.lists(numbers, min_size=2, max_size=20),
    warning=maybe,
    critical=maybe,
    hysteresis=st.floats(min_value=0, max_value=1e6),
    current=st.sampled_from(SEVERITIES),
)
def test_judging_is_monotonic(
    values: list[float], warning: float | None, critical: float | None, hysteresis: float, current: Severity
) -> None:
    def rank(value: float) -> int:
        return severity_above(value, warning=warning, critical=critical, hysteresis=hysteresis, current=current).rank

    def rank_below(value: float) -> int:
        return severity_below(value, warning=warning, critical=critical, hysteresis=hysteresis, current=current).rank

    for lower, higher in pairwise(sorted(values)):
        assert rank(lower) <= rank(higher)
        assert rank_below(lower) >= rank_below(higher)


@given(value=numbers, warning=maybe, critical=maybe, hysteresis=st.floats(min_value=0, max_value=1e6))
def test_judging_again_what_was_judged_changes_nothing(
    value: float, warning: float | None, critical: float | None, hysteresis: float
) -> None:
    once = severity_above(value, warning=warning, critical=critical, hysteresis=hysteresis, current=CLEARED)

    assert severity_above(value, warning=warning, critical=critical, hysteresis=hysteresis, current=once) is once


def test_without_hold_everything_counts_at_once() -> None:
    assert apply_for(CLEARED, CRITICAL, NOTHING_PENDING, for_seconds=0, time=5) == (CRITICAL, NOTHING_PENDING)


def test_a_rise_counts_after_its_hold() -> None:
    level, pending = apply_for(CLEARED, WARNING, NOTHING_PENDING, for_seconds=300, time=1000)
    assert (level, pending) == (CLEARED, PendingLevels(warning=1000))

    assert apply_for(CLEARED, WARNING, pending, for_seconds=300, time=1299) == (CLEARED, pending)
    assert apply_for(CLEARED, WARNING, pending, for_seconds=300, time=1300) == (WARNING, NOTHING_PENDING)


def test_each_level_has_its_own_clock() -> None:
    _, pending = apply_for(CLEARED, WARNING, NOTHING_PENDING, for_seconds=300, time=1000)
    level, pending = apply_for(CLEARED, CRITICAL, pending, for_seconds=300, time=1200)
    assert (level, pending) == (CLEARED, PendingLevels(warning=1000, critical=1200))

    level, pending = apply_for(level, CRITICAL, pending, for_seconds=300, time=1300)
    assert (level, pending) == (WARNING, PendingLevels(critical=1200))

    assert apply_for(level, CRITICAL, pending, for_seconds=300, time=1500) == (CRITICAL, NOTHING_PENDING)


def test_a_break_starts_the_clock_anew_and_a_fall_does_not_wait() -> None:
    _, pending = apply_for(CLEARED, WARNING, NOTHING_PENDING, for_seconds=300, time=1000)

    assert apply_for(CLEARED, CLEARED, pending, for_seconds=300, time=1100) == (CLEARED, NOTHING_PENDING)
    assert apply_for(CRITICAL, WARNING, NOTHING_PENDING, for_seconds=300, time=1100) == (WARNING, NOTHING_PENDING)


def test_a_break_of_critical_alone_keeps_the_warning_waiting() -> None:
    pending = PendingLevels(warning=1000, critical=1100)

    assert apply_for(CLEARED, WARNING, pending, for_seconds=300, time=1200) == (CLEARED, PendingLevels(warning=1000))


def test_a_clock_that_was_set_back_starts_the_hold_anew() -> None:
    assert apply_for(CLEARED, WARNING, PendingLevels(warning=9000), for_seconds=300, time=1000) == (
        CLEARED,
        PendingLevels(warning=1000),
    )


def test_severities_between_warning_and_critical_hold_as_well() -> None:
    level, pending = apply_for(CLEARED, MAJOR, NOTHING_PENDING, for_seconds=300, time=0)
    assert level is CLEARED

    assert apply_for(CLEARED, MAJOR, pending, for_seconds=300, time=300) == (MAJOR, NOTHING_PENDING)
