"""plain: text from outside, fit to be shown."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.plain import harmless, one_line

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
