"""Levels, hysteresis and hold."""

from __future__ import annotations

import doctest
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.evaluate import levels
from hsm_agent.evaluate.levels import AT_REST, Waiting, judge, judge_below, settle
from hsm_agent.model import Severity

CLEARED, WARNING, MAJOR, CRITICAL = Severity.CLEARED, Severity.WARNING, Severity.MAJOR, Severity.CRITICAL
SEVERITIES = (CLEARED, WARNING, CRITICAL)
numbers = st.floats(min_value=-1e9, max_value=1e9)
maybe = st.none() | numbers


def test_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(levels).failed == 0


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
    assert judge(value, warning=75, critical=90, hysteresis=5, current=current) is expected


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
    assert judge_below(value, warning=86400, critical=3600, hysteresis=600, current=current) is expected


def test_either_level_may_be_missing() -> None:
    assert judge(99, warning=75, critical=None, hysteresis=0, current=CLEARED) is WARNING
    assert judge(80, warning=None, critical=90, hysteresis=0, current=CLEARED) is CLEARED
    assert judge_below(0, warning=0, critical=None, hysteresis=0, current=CLEARED) is WARNING
    assert judge_below(1, warning=None, critical=0, hysteresis=0, current=CLEARED) is CLEARED


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
        return judge(value, warning=warning, critical=critical, hysteresis=hysteresis, current=current).rank

    def rank_below(value: float) -> int:
        return judge_below(value, warning=warning, critical=critical, hysteresis=hysteresis, current=current).rank

    for lower, higher in pairwise(sorted(values)):
        assert rank(lower) <= rank(higher)
        assert rank_below(lower) >= rank_below(higher)


@given(value=numbers, warning=maybe, critical=maybe, hysteresis=st.floats(min_value=0, max_value=1e6))
def test_judging_again_what_was_judged_changes_nothing(
    value: float, warning: float | None, critical: float | None, hysteresis: float
) -> None:
    once = judge(value, warning=warning, critical=critical, hysteresis=hysteresis, current=CLEARED)

    assert judge(value, warning=warning, critical=critical, hysteresis=hysteresis, current=once) is once


def test_without_hold_everything_counts_at_once() -> None:
    assert settle(CLEARED, CRITICAL, AT_REST, hold=0, time=5) == (CRITICAL, AT_REST)


def test_a_rise_counts_after_its_hold() -> None:
    level, waiting = settle(CLEARED, WARNING, AT_REST, hold=300, time=1000)
    assert (level, waiting) == (CLEARED, Waiting(warning=1000))

    assert settle(CLEARED, WARNING, waiting, hold=300, time=1299) == (CLEARED, waiting)
    assert settle(CLEARED, WARNING, waiting, hold=300, time=1300) == (WARNING, AT_REST)


def test_each_level_has_its_own_clock() -> None:
    _, waiting = settle(CLEARED, WARNING, AT_REST, hold=300, time=1000)
    level, waiting = settle(CLEARED, CRITICAL, waiting, hold=300, time=1200)
    assert (level, waiting) == (CLEARED, Waiting(warning=1000, critical=1200))

    level, waiting = settle(level, CRITICAL, waiting, hold=300, time=1300)
    assert (level, waiting) == (WARNING, Waiting(critical=1200))

    assert settle(level, CRITICAL, waiting, hold=300, time=1500) == (CRITICAL, AT_REST)


def test_a_break_starts_the_clock_anew_and_a_fall_does_not_wait() -> None:
    _, waiting = settle(CLEARED, WARNING, AT_REST, hold=300, time=1000)

    assert settle(CLEARED, CLEARED, waiting, hold=300, time=1100) == (CLEARED, AT_REST)
    assert settle(CRITICAL, WARNING, AT_REST, hold=300, time=1100) == (WARNING, AT_REST)


def test_a_break_of_critical_alone_keeps_the_warning_waiting() -> None:
    waiting = Waiting(warning=1000, critical=1100)

    assert settle(CLEARED, WARNING, waiting, hold=300, time=1200) == (CLEARED, Waiting(warning=1000))


def test_a_clock_that_was_set_back_starts_the_hold_anew() -> None:
    assert settle(CLEARED, WARNING, Waiting(warning=9000), hold=300, time=1000) == (CLEARED, Waiting(warning=1000))


def test_severities_between_warning_and_critical_hold_as_well() -> None:
    level, waiting = settle(CLEARED, MAJOR, AT_REST, hold=300, time=0)
    assert level is CLEARED

    assert settle(CLEARED, MAJOR, waiting, hold=300, time=300) == (MAJOR, AT_REST)
