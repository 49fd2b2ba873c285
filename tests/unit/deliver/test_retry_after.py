"""How long a receiver that speaks HTTP asks to be left alone."""

from __future__ import annotations

import pytest

from hsm_agent.deliver.http import asked_seconds
from hsm_agent.net.http_answer import HttpAnswer

NOW = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 GMT."""
LATER = "Tue, 14 Nov 2023 22:13:50 GMT"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        (" 7 ", 7),
        (LATER, 30),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0),
        ("9" * 5000, 999_999_999),
        ("", 0),
        ("-1", 0),
        ("1.5", 0),
        ("\u0663", 0),
        ("soon", 0),
        ("Tue, 99 Nov 2023 22:13:50 GMT", 0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_it_may_say_a_number_or_a_date(text: str, seconds: float, status: int) -> None:
    answer = HttpAnswer(status=status, headers=(("retry-after", text),), body=b"")

    assert asked_seconds(answer, NOW) == seconds


def test_a_date_is_of_its_own_clock() -> None:
    headers = (("date", "Tue, 14 Nov 2023 22:13:45 GMT"), ("retry-after", LATER))

    assert asked_seconds(HttpAnswer(status=503, headers=headers, body=b""), NOW - 3600) == 5


@pytest.mark.parametrize("status", [500, 502, 408, 413])
def test_another_answer_asks_for_nothing(status: int) -> None:
    assert asked_seconds(HttpAnswer(status=status, headers=(("retry-after", "120"),), body=b""), NOW) == 0
