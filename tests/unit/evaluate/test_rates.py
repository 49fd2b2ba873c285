"""Rates now and then."""

from __future__ import annotations

from array import array
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.evaluate.trends import Comparison, Points, compare_counter, compare_gauge, increase


def points(*pairs: tuple[float, float]) -> Points:
    return Points(array("d", [time for time, _ in pairs]), array("d", [value for _, value in pairs]))


def history(until: float, per_second: float, every: float = 300.0) -> list[tuple[float, float]]:
    return [(i * every, i * every * per_second) for i in range(int(until / every) + 1)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([7], 0, id="a single value"),
        pytest.param([5, 8, 8, 20], 15, id="rising"),
        pytest.param([100, 120, 7, 10], 30, id="reset: what it shows is what it counted since"),
        pytest.param([100, 0], 0, id="reset to nothing"),
    ],
)
def test_increase_of_a_counter(values: list[float], expected: float) -> None:
    assert increase(values) == expected


@given(st.lists(st.integers(min_value=0, max_value=10**12), max_size=30))
def test_a_counter_never_increases_by_less_than_nothing(values: list[int]) -> None:
    assert increase(values) >= 0


@pytest.mark.parametrize(
    ("now", "then", "percent"),
    [
        pytest.param(20.0, 100.0, 80.0, id="a fall"),
        pytest.param(150.0, 100.0, 50.0, id="a rise"),
        pytest.param(5.0, 0.0, inf, id="from nothing"),
        pytest.param(0.0, 0.0, 0.0, id="nothing either way"),
    ],
)
def test_percent_of_a_change(now: float, then: float, percent: float) -> None:
    assert Comparison(now=now, then=then).percent == percent


def test_counter_rate_now_against_an_hour_ago() -> None:
    known = history(3600, 100.0)

    found = compare_counter(points(*known), known[-1][1] + 60 * 100, time=3660, against=3600)
    assert found is None  # the interval that ended an hour ago has no beginning yet

    known = history(7200, 100.0)
    found = compare_counter(points(*known), known[-1][1] + 60 * 100, time=7260, against=3600)
    assert found == Comparison(now=100.0, then=100.0)


def test_a_reset_counter_gives_a_rate_and_not_a_negative_one() -> None:
    known = [*history(6900, 10.0), (7200.0, 1500.0)]

    found = compare_counter(points(*known), 2100.0, time=7260.0, against=3600)

    assert found is not None
    assert found.now == pytest.approx(2100 / 360)
    assert found.then == 10.0


@pytest.mark.parametrize(
    "known",
    [
        pytest.param([], id="nothing"),
        pytest.param([(0.0, 0.0)], id="a single point"),
        pytest.param([(0.0, 0.0), (300.0, 9.0), (600.0, 9.0)], id="no point recent enough"),
        pytest.param([(6600.0, 1.0), (6900.0, 2.0), (7200.0, 3.0)], id="no point old enough"),
        pytest.param([(0.0, 0.0), (3600.0, 1.0), (6900.0, 2.0)], id="a hole before the point of then"),
        pytest.param([(0.0, 0.0), (300.0, 1.0), (6900.0, 2.0)], id="a hole at the time of then"),
    ],
)
def test_a_history_with_holes_gives_no_rate(known: list[tuple[float, float]]) -> None:
    assert compare_counter(points(*known), 4.0, time=7260.0, against=3600) is None


def test_no_history_at_all_gives_no_rate() -> None:
    assert compare_counter(None, 4.0, time=7260.0, against=3600) is None
    assert compare_gauge(None, 4.0, time=7260.0, against=3600) is None


def test_a_gauge_is_compared_as_it_is() -> None:
    known = points((3600.0, 80.0), (3900.0, 70.0))

    assert compare_gauge(known, 20.0, time=7260.0, against=3600) == Comparison(now=20.0, then=80.0)
    assert compare_gauge(known, 20.0, time=7100.0, against=3600) is None
