from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.declared import declared_fact, first_line_instant, instant

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86400.0
MIDNIGHT_UTC = 1_790_812_800.0  # 2026-10-01T00:00:00Z


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("2026-10-01", MIDNIGHT_UTC - 2 * 3600, id="a plain date is local midnight, in summer"),
        pytest.param("2026-12-01", MIDNIGHT_UTC + 61 * DAY - 3600, id="in winter"),
        pytest.param("2026-10-01T00:00:00", MIDNIGHT_UTC - 2 * 3600, id="a time without a zone is local"),
        pytest.param("2026-10-01T00:00:00Z", MIDNIGHT_UTC, id="UTC"),
        pytest.param("2026-10-01 03:00:00+03:00", MIDNIGHT_UTC, id="another zone, a space between"),
        pytest.param(" 20261001T000000Z\r", MIDNIGHT_UTC, id="the basic format, with blanks"),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_a_date_is_an_instant(text: str, seconds: float) -> None:
    assert instant(text) == seconds


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-02-30", "1.10.2026", "2026", "0001-01-01T00:00:00+23:00x"])
def test_what_is_no_date_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a date: .* \(write 2026-10-01 or "):
        instant(text)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (b"2026-10-01T00:00:00Z\nbackup of luna-a\n", MIDNIGHT_UTC),
        (b"1790812800\n", MIDNIGHT_UTC),
        (b"2026-10-01T00:00:00Z", MIDNIGHT_UTC),
    ],
)
def test_the_first_line_of_a_file_is_a_date_or_seconds(data: bytes, seconds: float) -> None:
    assert first_line_instant(data) == seconds


@pytest.mark.parametrize("data", [b"", b"\n2026-10-01\n", b"\xff\xfe2\x000\x00"])
def test_a_first_line_that_is_no_date_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"first line is empty|not a date"):
        first_line_instant(data)


@pytest.mark.usefixtures("berlin")
def test_both_ways_a_plain_date_errs_on_the_safe_side() -> None:
    """At noon of the day itself an age is half a day already, and nothing is left of an expiry."""
    noon = instant("2026-10-01T12:00:00")

    assert declared_fact("age", instant("2026-10-01"), noon, None).value == 12 * 3600
    assert declared_fact("expiry", instant("2026-10-01"), noon, None).value == -12 * 3600


def test_an_age_brings_its_limit() -> None:
    found = declared_fact("age", 1000.0, 5000.0, 3600.0)

    assert (found.metric, found.value, found.limit) == ("declared_age_seconds", 4000.0, 3600.0)


def test_what_lies_ahead_has_no_age() -> None:
    ahead = declared_fact("age", 10 * DAY, 8.5 * DAY, None)
    skewed = declared_fact("age", 1000.0, 900.0, None)

    assert (ahead.value, ahead.reason) == (None, "the date is ahead of this host's clock, by 2 days or less")
    assert skewed.value == 0
