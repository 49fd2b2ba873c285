"""What a client prefers, in which format and whether as gzip, also where it says so badly."""

from __future__ import annotations

import pytest

from hsm_agent.serve.http.exposition import Offer, _wants_openmetrics, offers, wants_gzip

OPENMETRICS = "application/openmetrics-text"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def test_an_element_is_a_name_parameters_and_a_quality() -> None:
    assert offers('Text/Plain ; Version="0.0.4";q=0.25, , */*;Q=0') == [
        Offer("text/plain", {"version": "0.0.4"}, 0.25),
        Offer("*/*", {}, 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "quality"),
    [
        ("1", 1),
        ("1.000", 1),
        ("0", 0),
        ("0.", 0),
        ("0.123", 0.123),
        ("0.1234", 1),
        ("2", 1),
        ("-1", 1),
        ("nan", 1),
        ("", 1),
    ],
)
def test_a_quality_that_is_none_counts_as_not_said(text: str, quality: float) -> None:
    assert offers(f"gzip;q={text}")[0].quality == quality


def test_a_header_is_read_up_to_a_bound() -> None:
    assert len(offers("a," * 100_000)) == 100
    assert len(offers("a" * 100_000)[0].name) == 8190


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param("", False, id="nothing said"),
        pytest.param("*/*", False, id="anything"),
        pytest.param("application/*", True, id="anything of its kind, and no text"),
        pytest.param(OPENMETRICS, True, id="by name"),
        pytest.param(f"{OPENMETRICS};version=1.0.0", True, id="in our version"),
        pytest.param(f"{OPENMETRICS};version=0.0.1", False, id="in another version"),
        pytest.param(f"{OPENMETRICS};q=0", False, id="not wanted"),
        pytest.param(f"{OPENMETRICS};q=0.5, text/plain", False, id="less than text"),
        pytest.param(f"{OPENMETRICS}, text/plain;q=0.5", True, id="more than text"),
        pytest.param(f"text/plain, {OPENMETRICS}", True, id="as much, by name"),
        pytest.param(f"{OPENMETRICS};q=0.5, */*", False, id="less than anything else"),
        pytest.param(f"{OPENMETRICS};version=0.0.1, */*;q=0.1", False, id="another version, anything else"),
        pytest.param("text/plain;q=0.1, */*", True, id="text less than anything else"),
        pytest.param("application/*;q=0.4, text/*;q=0.3", True, id="kinds"),
        pytest.param(
            f"{OPENMETRICS};version=1.0.0;q=0.1, {OPENMETRICS};q=0.9, text/plain;q=0.5", False, id="most exact"
        ),
        pytest.param(f"{OPENMETRICS};q=0.1, {OPENMETRICS};q=0.9, text/plain;q=0.5", True, id="said twice"),
        pytest.param(PROMETHEUS_2, True, id="Prometheus 2"),
        pytest.param(PROMETHEUS_3, True, id="Prometheus 3"),
        pytest.param("image/png", False, id="something else"),
    ],
)
def test_openmetrics_is_for_who_wants_it_more(accept: str, expected: bool) -> None:
    assert _wants_openmetrics(accept) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("x-gzip", True),
        ("GZIP;q=0.001", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*", True),
        ("*;q=0", False),
        ("deflate, br", False),
        ("identity", False),
        ("identity;q=1, gzip;q=0.5", False),
        ("identity;q=0.5, gzip;q=0.5", True),
        ("identity;q=0, *", True),
    ],
)
def test_gzip_is_for_who_takes_it(header: str, expected: bool) -> None:
    assert wants_gzip(header) is expected
