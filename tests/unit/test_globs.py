"""globs: names as the shell matches them, in bounded time and memory."""

from __future__ import annotations

import time

import pytest

from hsm_agent.globs import LONGEST_GLOB, _compiled, checked_glob, glob_matches


@pytest.mark.parametrize(
    ("name", "glob", "expected"),
    [
        ("payments", "*", True),
        ("", "*", True),
        ("payments", "payments", True),
        ("payments", "Payments", False),
        ("payments", "pay*", True),
        ("payments", "*ment?", True),
        ("payments", "ment*", False),
        ("hsm-3", "hsm-[0-4]", True),
        ("hsm-3", "hsm-[!0-4]", False),
        ("a\nb", "a*b", True),
        ("", "", True),
        ("a", "", False),
    ],
)
def test_a_glob_is_matched_as_a_whole_and_by_letter(name: str, glob: str, expected: bool) -> None:
    assert glob_matches(name, glob) is expected


@pytest.mark.parametrize("glob", ["*a" * 127 + "b", "*" * 256, "?" * 256, "[a" * 128, "*[!a]" * 51])
def test_no_glob_that_is_short_enough_takes_long(glob: str) -> None:
    began = time.thread_time()
    for _ in range(10):
        glob_matches("a" * 255, checked_glob(glob))

    assert time.thread_time() - began < 0.5


def test_a_long_glob_is_refused() -> None:
    assert checked_glob("a" * LONGEST_GLOB)
    with pytest.raises(ValueError, match="longer than 256 characters"):
        checked_glob("a" * (LONGEST_GLOB + 1))


def test_only_so_many_are_kept() -> None:
    for number in range(3000):
        glob_matches("name", f"{number}*")

    assert _compiled.cache_info().currsize <= 1024
