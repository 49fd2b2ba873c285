"""Text from outside, fit to be shown; names as the shell matches them, in bounded time and memory."""

from __future__ import annotations

import random
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.text import (
    LONGEST_GLOB,
    _compiled,
    checked_glob,
    glob_matches,
    harmless,
    ip_of,
    natural_order,
    one_line,
    suggestion,
)

GONE = "\ufffd"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "payments",
        "Zürich: Schlüssel №7",
        "מפתחות",
        "مفاتيح",
        "می\u200cخواهم",  # noqa: RUF001 - Persian
        "鍵 キー 열쇠",
        "क्\u200dष",
        "👩\u200d🚒 🏳️\u200d🌈 👍🏽",
        "e\u0301",
    ],
)
def test_what_people_write_stays(text: str) -> None:
    assert harmless(text) == one_line(text) == text


@pytest.mark.parametrize(
    "char",
    [
        *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
        *"\u200b\u2060\ufeff\u00ad\u180e\ufff9",
        *"\ue000\U000f0000\U0010fffd",
        *"\ud800\udfff",
        *"\ufdd0\uffff\U0001ffff",
        *"\U000e0001\U000e0041",
        *"\x00\x1b\x7f\x85\u2028\u2029\n\r\t",
    ],
)
def test_what_controls_hides_or_means_nothing_is_replaced(char: str) -> None:
    assert harmless(f"a{char}b") == f"a{GONE}b"
    assert harmless(f"鍵{char}鍵") == f"鍵{GONE}鍵"


@pytest.mark.parametrize(
    "text", ["ke\u200dys", "\u200d鍵", "鍵\u200d", "鍵\u200dy", "y\u200c鍵", "鍵\u200d\u200d鍵", "鍵\u200d\u202e"]
)
def test_a_joiner_that_joins_nothing_is_replaced(text: str) -> None:
    assert "\u200d" not in harmless(text)
    assert "\u200c" not in harmless(text)
    assert len(harmless(text)) == len(text)


def test_other_spaces_become_common_ones() -> None:
    assert harmless("a\u00a0b\u3000c\u2003d") == "a b c d"


def test_several_lines_are_read_on() -> None:
    assert one_line("first\r\n\tsecond\u2028third\u202e") == f"first second third{GONE}"


@given(st.text(st.characters(), max_size=40))
def test_nothing_else_is_left_and_it_has_an_encoding(text: str) -> None:
    for shown in (harmless(text), one_line(text)):
        kinds = {unicodedata.category(char) for char in shown if char not in "\u200c\u200d"}
        assert not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert shown.encode().decode() == shown
        assert harmless(shown) == shown


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


def test_the_known_name_that_is_most_like_it_is_suggested() -> None:
    assert suggestion("tokn_sessions", {"token_sessions", "sink_up"}) == ", did you mean 'token_sessions'?"
    assert suggestion("zzz", ["token_sessions"]) == ""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "None"),
        ("localhost", "None"),
    ],
)
def test_a_peers_address_is_read_without_zone_and_unmapped(address: str, expected: str) -> None:
    assert str(ip_of(address)) == expected


def test_more_letters_than_are_remembered_are_all_read_alike() -> None:
    letters = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 6000))

    assert harmless(letters + "\u202e") == f"{letters}\ufffd"
    assert harmless(letters) == letters


def test_names_sort_as_people_count() -> None:
    shuffled = random.Random(1).sample
    names = ["", "7", "10", "a", "a2", "a10", "a10b", "b-1-9", "b-1-10", "münze2", "münze10", "x" + "9" * 5000]

    assert sorted(shuffled(names, len(names)), key=natural_order) == names


@given(st.lists(st.text(max_size=40), max_size=20))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural_order)) == sorted(names)
