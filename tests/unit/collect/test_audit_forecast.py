from __future__ import annotations

import math

import pytest

from hsm_agent.collect.series import seconds_to_full

CAPACITY = 100_000


@pytest.mark.parametrize(
    ("records", "seconds"),
    [
        pytest.param([], math.inf, id="no reading"),
        pytest.param([10_000, 20_000], math.inf, id="two readings are no trend"),
        pytest.param([10_000, 20_000, 30_000], 70.0, id="three that rise"),
        pytest.param([1000, 2000, 3000], math.inf, id="under 5 % full"),
        pytest.param([10_000, 20_000, 20_000], math.inf, id="standing still"),
        pytest.param([90_000, 80_000, 70_000], math.inf, id="draining"),
        pytest.param([50_000, 10_000, 20_000, 30_000], 70.0, id="rising since it was drained"),
        pytest.param([0, 1, 2, 50_000, 60_000, 70_000], 30_000 * 40 / 69_999, id="the last five only"),
        pytest.param([10_000, 20_000, 100_000], 0.0, id="full"),
    ],
)
def test_seconds_to_full(records: list[int], seconds: float) -> None:
    points = [(10.0 * position, count) for position, count in enumerate(records)]

    assert seconds_to_full([(at, count) for at, count in points], CAPACITY) == pytest.approx(seconds)


def test_an_audit_store_that_fills_in_three_minutes_is_foreseen_in_the_third_reading() -> None:
    rate = 198_120 / 180
    points = [(5.0 * n, int(rate * 5 * n)) for n in range(1, 5)]

    assert seconds_to_full(points, 198_120) == pytest.approx(160, abs=1)


def test_readings_at_the_same_instant_make_no_slope() -> None:
    assert seconds_to_full([(1.0, 10_000), (1.0, 20_000), (1.0, 30_000)], CAPACITY) == math.inf
