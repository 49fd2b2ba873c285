"""collect.snmp.values: what an SNMP value means."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from hsm_agent.collect.snmp.profile import ProfileValue
from hsm_agent.collect.snmp.values import RawValue, Unreadable, text_of, understood

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC).timestamp()
DAY = 86400.0


def meaning(raw: RawValue, **keys: Any) -> object:
    return understood(ProfileValue.model_validate({"oid": "1.3", "name": "it", **keys}), raw, NOW)


@pytest.mark.parametrize(
    ("raw", "keys", "means"),
    [
        pytest.param(42, {}, 42, id="a number"),
        pytest.param(42, {"scale": 0.1}, 4.2, id="a number with a scale"),
        pytest.param(b"42", {}, 42, id="a number in a text"),
        pytest.param(b"3.10 V", {}, 3.1, id="a number with its unit"),
        pytest.param("48 °C".encode("latin-1"), {}, 48, id="a number with a sign of Latin-1"),
        pytest.param(b"-7", {}, -7, id="a number below zero"),
        pytest.param(2**32 - 2500, {"read": "signed", "scale": 0.001}, -2.5, id="a wrapped number below zero"),
        pytest.param(2500, {"read": "signed"}, 2500, id="a signed number above zero"),
        pytest.param(-2, {"read": "unsigned", "scale": 1024}, (2**32 - 2) * 1024, id="a size beyond 2^31"),
        pytest.param(2500, {"read": "unsigned"}, 2500, id="a size"),
        pytest.param(7, {"read": "flag"}, 1, id="a flag"),
        pytest.param(0, {"read": "flag"}, 0, id="a flag that is down"),
        pytest.param(b"OK", {"states": {"ok": 1, "failed": 0}}, 1, id="a state in other letters"),
        pytest.param(2, {"states": {1: 1, 2: 0.5}}, 0.5, id="a state by number"),
        pytest.param(b"absence", {"states": {"absence": None}, "read": "number"}, None, id="nothing there"),
        pytest.param(b"3", {"states": {"absence": None}, "read": "number"}, 3, id="a number beside states"),
        pytest.param(b"", {}, None, id="an empty text"),
        pytest.param(b" a\x00b \r\n\x00", {"read": "text"}, "a\ufffdb", id="a text"),
        pytest.param(3, {"read": "text", "states": {3: "three"}}, "three", id="a text for a number"),
        pytest.param(4, {"read": "text", "states": {3: "three"}}, "4", id="a text without a state"),
        pytest.param((1, 3, 6), {"read": "text"}, "1.3.6", id="an OID"),
    ],
)
def test_a_value_means(raw: RawValue, keys: dict[str, Any], means: object) -> None:
    assert meaning(raw, **keys) == means


@pytest.mark.parametrize(
    ("raw", "keys", "said"),
    [
        (b"many", {}, "'many', which is not a number"),
        ((1, 3), {}, "'1.3', which is not a number"),
        (b"3 V 4", {}, "'3 V 4', which is not a number"),
        (9, {"states": {1: 1}}, "'9', which is not a state"),
        (b"soon", {"read": "date"}, "'soon', which is not a date"),
        (b"-5", {"read": "unsigned"}, "'-5', which is not a size"),
        (-(2**31) - 1, {"read": "unsigned"}, "'-2147483649', which is not a size"),
        ((1, 3), {"read": "date"}, "'1.3', which is not a date"),
        (b"x" * 100, {}, f"'{'x' * 59}…', which is not a number"),
    ],
)
def test_what_has_no_meaning_is_told_with_its_text(raw: RawValue, keys: dict[str, Any], said: str) -> None:
    assert meaning(raw, **keys) == Unreadable(f"the appliance says {said} that is known here")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22",
        "2026-11-22 00:00:00",
        "2026-11-22T00:00:00Z",
        "2026-11-22T02:00:00+02:00",
        "2026/11/22 00:00:00",
        "22.11.2026",
        "22.11.2026 00:00:00",
        "Nov 22 00:00:00 2026 GMT",
        "Nov 22 2026",
        "Sun Nov 22 00:00:00 2026",
        "Sun Nov 22 00:00:00 UTC 2026",
        "Nov  22 00:00:00 2026",
    ],
)
def test_dates_are_read_as_they_are_written(text: str) -> None:
    assert meaning(text.encode(), read="date") == DAY


@pytest.mark.parametrize(
    ("octets", "seconds"),
    [
        ("07ea0b1600000000", DAY),
        ("07ea0b16000000002b0200", DAY - 7200),
        ("07ea0b16000000052d011e", DAY + 5400.5),
        ("07ea0b16003b3c00", DAY + 59 * 60 + 59),
    ],
    ids=["eight octets", "east", "west, and tenths", "a leap second"],
)
def test_date_and_time_of_rfc_2579_is_read(octets: str, seconds: float) -> None:
    assert meaning(bytes.fromhex(octets), read="date") == seconds


@pytest.mark.parametrize("octets", ["07ea0d1600000000", "07ea0b1600000000200200"], ids=["month", "direction"])
def test_a_malformed_date_and_time_is_none(octets: str) -> None:
    assert isinstance(meaning(bytes.fromhex(octets), read="date"), Unreadable)


def test_a_number_as_a_date_counts_from_the_epoch() -> None:
    assert meaning(int(NOW) - 60, read="date") == -60


def test_octets_that_are_no_utf8_are_latin_1() -> None:
    assert text_of(b"\xb0C") == "°C"


def test_no_name_or_label_is_longer_than_a_display_string() -> None:
    assert text_of(b"x" * 60_000) == "x" * 255
