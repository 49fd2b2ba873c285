"""Ranges as the plugin guidelines tabulate them."""

from __future__ import annotations

import pytest

from hsm_agent.cli.nagios import Range, RangeError, State, judge, line, perfdata


@pytest.mark.parametrize(
    ("text", "well", "alerting"),
    [
        pytest.param("10", [0, 5, 10], [-0.1, 10.1], id="upper bound only"),
        pytest.param("10:", [10, 1e12], [9.9, -1], id="lower bound only"),
        pytest.param("~:10", [-1e9, 10], [10.1], id="no lower bound"),
        pytest.param("10:20", [10, 15, 20], [9.9, 20.1], id="both bounds"),
        pytest.param("@10:20", [9.9, 20.1], [10, 15, 20], id="alert inside"),
        pytest.param("@10", [10.5, -1], [0, 10], id="alert inside from zero"),
        pytest.param("-5:5", [-5, 5], [-6, 6], id="negative start"),
        pytest.param(":5", [0, 5], [-1, 6], id="empty start is zero"),
    ],
)
def test_range_alerts_outside_its_ends(text: str, well: list[float], alerting: list[float]) -> None:
    found = Range.parse(text)

    assert [found.alerts(value) for value in well] == [False] * len(well)
    assert [found.alerts(value) for value in alerting] == [True] * len(alerting)


@pytest.mark.parametrize("text", ["", "@", "a", "20:10", "10:20:30", "10%", "~", "1..2"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RangeError):
        Range.parse(text)


@pytest.mark.parametrize("text", ["10", "10:", "~:10", "10:20", "@10:20", "0.5:1.5", "@5"])
def test_a_range_reads_back_as_written(text: str) -> None:
    assert str(Range.parse(text)) == text


def test_percent_ranges_become_bytes() -> None:
    assert Range.parse("75").scaled(14286412 / 100) == "10714809"
    assert Range.parse("90").scaled(14286412 / 100) == "12857770"
    assert Range.parse("@10:20").scaled(10) == "@100:200"


def test_75_is_ok_and_75_1_warns() -> None:
    warning, critical = Range.parse("75"), Range.parse("90")

    assert judge(75, warning, critical) is State.OK
    assert judge(75.1, warning, critical) is State.WARNING
    assert judge(90.1, warning, critical) is State.CRITICAL
    assert judge(1e9, None, None) is State.OK


def test_the_line_has_the_shape_of_the_guidelines() -> None:
    data = perfdata("private memory", "43968", "B", "10714809", "12857770", "0", "14286412")

    assert data == "'private memory'=43968B;10714809;12857770;0;14286412"
    assert line(State.OK, "free | fine\nhere", data) == f"OK: free   fine here | {data}"
    assert perfdata("it's=x", "1", "") == "'it''s_x'=1"
    assert line(State.UNKNOWN, "no answer") == "UNKNOWN: no answer"
