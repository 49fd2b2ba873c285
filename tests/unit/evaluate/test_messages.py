"""What people read."""

from __future__ import annotations

from math import inf

import pytest

from hsm_agent.evaluate.messages import amount, cleared_text, duration_text, render, unknown_text, where


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (59.6, "1m"),
        (45, "45s"),
        (90, "1m 30s"),
        (5400, "1h 30m"),
        (3605, "1h"),
        (90 * 86400, "90d"),
        (86400 + 3600, "1d 1h"),
        (-40, "-40s"),
        (inf, "never"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration_text(seconds) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "percent", "no value"),
        (76.923, "percent", "76.9 %"),
        (75.0, "percent", "75 %"),
        (7200, "seconds", "2h"),
        (512, "bytes", "512 bytes"),
        (2 * 1024**2, "bytes", "2.0 MiB"),
        (3 * 1024**4, "bytes", "3.0 TiB"),
        (2048, "sessions", "2048 sessions"),
        (1, "sessions", "1 session"),
        (1, "entries", "1 entry"),
        (1.0, "records", "1 record"),
        (0, "records", "0 records"),
        (1, "bytes", "1 byte"),
        (1, "celsius", "1 celsius"),
        (20.104, "per second", "20.1 per second"),
        (3, "", "3"),
        (inf, "", "inf"),
    ],
)
def test_amounts(value: float | None, unit: str, expected: str) -> None:
    assert amount(value, unit) == expected


def test_a_template_is_filled_in_and_unknown_fields_stay() -> None:
    fields = {"where": "luna/keys", "value": "75"}

    text = render("{where} {value} {site} {nobody} {0} {where.__class__}", fields, (("site", "a"), ("value", "label")))

    assert text == "luna/keys 75 a {nobody} {0} {where.__class__}"


def test_the_place_of_a_source_is_its_name() -> None:
    assert where(("luna", "", "source_up", ())) == "luna"
    assert where(("luna", "keys", "token_present", ())) == "luna/keys"


def test_ends_and_unknowns_say_which_rule_and_why() -> None:
    series = ("luna", "keys", "token_present", ())

    assert cleared_text("token-missing", series, "token_present is 1") == (
        "Cleared: token-missing on luna/keys: token_present is 1"
    )
    assert unknown_text("token-missing", series, "slot vanished").startswith(
        "Unknown: token-missing on luna/keys: token_present has no value any more (slot vanished). "
    )
    assert "any more. That" in unknown_text("token-missing", series, "")
