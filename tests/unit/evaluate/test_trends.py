"""Minima of windows, points and lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.evaluate.rules import DAY, HOUR
from hsm_agent.evaluate.trends import Line, Points, Windows, grows, newest_low, observe
from tests.unit.evaluate import recorded
from tests.unit.evaluate.judging import START


def windows(*lows: float | None, low: float = 1e9) -> Windows:
    return Windows(number=100, low=low, lows=lows)


def test_windows_keep_the_minimum_of_each_and_the_last_six() -> None:
    found: Windows | None = None
    for minute in range(0, 8 * 30, 5):
        found = observe(found, 100 + minute, time=minute * 60, length=1800)

    assert found == Windows(number=7, low=310, lows=(130, 160, 190, 220, 250, 280))


def test_a_lower_value_moves_the_running_minimum_only() -> None:
    begun = observe(observe(None, 50, time=0, length=10), 60, time=10, length=10)

    assert observe(begun, 55, time=12, length=10) == Windows(number=1, low=55, lows=(50,))
    assert observe(begun, 65, time=12, length=10) is begun


def test_windows_without_a_value_are_missing_not_well() -> None:
    begun = observe(None, 50, time=5, length=10)

    assert observe(begun, 51, time=35, length=10) == Windows(number=3, low=51, lows=(50, None, None))
    assert observe(begun, 51, time=9995, length=10).lows == (None,) * 6


def test_a_clock_set_back_a_little_goes_on_and_far_starts_anew() -> None:
    begun = Windows(number=10, low=5, lows=(1, 2))

    assert observe(begun, 4, time=95, length=10) == Windows(number=10, low=4, lows=(1, 2))
    assert observe(begun, 4, time=30, length=10) == Windows(number=3, low=4)


@pytest.mark.parametrize(
    ("found", "raised", "expected"),
    [
        pytest.param(None, False, None, id="no history"),
        pytest.param(windows(1, 2, 3, 4, 5), False, None, id="too short"),
        pytest.param(windows(1, 2, None, 4, 5, 6), False, None, id="a window without a value"),
        pytest.param(windows(1, 2, 3, 4, 5, 6), False, True, id="strictly rising"),
        pytest.param(windows(1, 2, 3, 4, 5, 5.5), False, False, id="not by enough in all"),
        pytest.param(windows(1, 2, 3, 3, 5, 9), False, False, id="not strictly"),
        pytest.param(windows(0, 1, 11, 30, 40, 50), False, True, id="unevenly, but every rise is one"),
        pytest.param(windows(0, 20, 40, 48, 49, 49.9), False, False, id="great rises, and noise after them"),
        pytest.param(windows(1, 2, 3, 4, 5, 6, low=1), False, False, id="back at the beginning already"),
        pytest.param(windows(1, 9, 3, 3, 5, 2), True, True, id="raised and not yet back"),
        pytest.param(windows(5, 9, 8, 7, 6, 5), True, False, id="raised and back"),
        pytest.param(windows(5, 6, 7, 8, 9, 10, low=5), True, False, id="raised and back in the running window"),
        pytest.param(windows(5, 6, None, 8, 9, 10), True, None, id="raised and torn"),
    ],
)
def test_growth(found: Windows | None, raised: bool, expected: bool | None) -> None:
    assert grows(found, at_least=5, raised=raised) is expected


def keep(known: Points, pairs: list[tuple[float, float]], *, spacing: float = 10, kept: float = 100) -> Points:
    for time, value in pairs:
        known = known.add(value, time=time, spacing=spacing, keep=kept, phase=0.0)
    return known


def test_the_first_value_of_each_interval_is_kept() -> None:
    known = keep(Points(), [(0, 1), (4, 2), (9.9, 3), (10, 4), (31, 5)])

    assert list(known.times) == [0, 10, 31]
    assert list(known.values) == [1, 4, 5]
    assert known.add(7, time=32, spacing=10, keep=100, phase=0.0) is known


def test_the_phase_moves_the_intervals() -> None:
    known = keep(Points(), [(12, 1)])

    assert known.add(2, time=16, spacing=10, keep=100, phase=0.5) is not known


def test_what_is_older_than_is_kept_goes() -> None:
    known = keep(Points(), [(time, 1) for time in range(0, 300, 10)])

    assert list(known.times) == list(range(190, 300, 10))


def test_points_of_a_clock_that_was_wrong_go() -> None:
    known = keep(Points(), [(0, 1), (10, 2), (5000, 9)], kept=9999)

    assert list(keep(known, [(20, 3)]).times) == [0, 10, 20]
    assert list(keep(known, [(12, 3)]).times) == [0, 10]


@given(
    st.floats(min_value=-5, max_value=5),
    st.floats(min_value=-1000, max_value=1000),
    st.integers(min_value=32, max_value=120),
)
def test_the_line_through_a_line_is_that_line(slope: float, start: float, count: int) -> None:
    known = keep(Points(), [(1e9 + i * 10, start + slope * i) for i in range(count)], kept=2000)

    line = known.line(1200)

    assert line is not None
    assert line.slope * 10 == pytest.approx(slope, abs=1e-6)
    assert line.at(1e9) == pytest.approx(start, abs=1e-4)


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([], id="none"),
        pytest.param([(i * 10, 1) for i in range(11)], id="too few points"),
        pytest.param([(i * 10, 1) for i in range(29)], id="less than a quarter of the time"),
        pytest.param([(0, 1), (800, 2)], id="two points far apart"),
    ],
)
def test_too_short_a_history_gives_no_line(pairs: list[tuple[float, float]]) -> None:
    assert keep(Points(), pairs, kept=2000).line(1200) is None


def test_a_line_is_drawn_once() -> None:
    known = keep(Points(), [(i * 10, i) for i in range(40)], kept=2000)

    assert known.line(1200) is known.line(1200)


def test_the_recorded_store_is_full_in_87_days() -> None:
    found = next(series for series in recorded.ALL if series.name == "store_full_in_87_days")
    known = Points()
    for hour, value in enumerate(found.values[: 30 * 24 + 1]):
        assert value is not None
        known = known.add(value, time=START + hour * HOUR, spacing=HOUR, keep=35 * DAY, phase=0.0)

    line = known.line(30 * DAY)

    assert line is not None
    assert (95 - line.at(line.origin)) / line.slope / DAY == pytest.approx(87, abs=0.2)


def test_a_line_knows_its_value_at_any_time() -> None:
    assert Line(origin=100, value=50, slope=0.5).at(120) == 60


@pytest.mark.parametrize(
    ("lows", "found"),
    [((), None), ((None, None), None), ((3.0, 4.0), (4.0, 100.0)), ((3.0, None, None), (3.0, 80.0))],
    ids=["none yet", "all without", "the last", "an older one"],
)
def test_the_newest_minimum_is_that_of_the_last_window_with_a_value(
    lows: tuple[float | None, ...], found: tuple[float, float] | None
) -> None:
    assert newest_low(Windows(number=10, low=1.0, lows=lows), 10.0) == found


def test_without_windows_there_is_no_minimum() -> None:
    assert newest_low(None, 10.0) is None
