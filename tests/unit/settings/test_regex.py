"""An operator's own patterns: linear in time whatever they are tried on, bounded, and read as Python reads them."""

from __future__ import annotations

import random
import re
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_agent.settings.regex import LONGEST_PATTERN, LONGEST_TEXT, MOST_GROUPS, MOST_INSTRUCTIONS, compile_pattern
from tests.fakes.examples import examples

NEVER_ENDING = [
    r"^(?:\w|\d\d)+: high$",
    r"^(\d|\d\d)*:$",
    r"^(\d+)+:$",
    r"^(?:\d*)*:$",
    r"^(\d{1,20}){1,30}:$",
    r"^(?:\d?){40}\d{40}:$",
    r"^\d*\d*\d*\d*\d*\d*\d*\d*:$",
    r"^((\d+)\w*)+:$",
    r"^(?:(?:1|1){2,})+:$",
    r"^(?P<a>\d+\s?)+:$",
]
"""Each takes Python's own engine minutes to centuries on sixty digits."""

COSTLY = [r"(?:(?:\d?){600})(?:\d){600}$", "(.*)" * 31 + r"(?:\d?){700}1.{9}x?", r".*[01].{200}$", r"(?:.{0,200})x"]
"""Near the bounds: what makes RE2 itself slow, by its program, its groups or a cache too small."""


@pytest.mark.parametrize("pattern", NEVER_ENDING)
@pytest.mark.parametrize("text", ["1" * 60, "1" * 100_000, "1 " * 50_000])
def test_no_text_takes_for_ever(pattern: str, text: str) -> None:
    began = time.process_time()

    assert not compile_pattern(pattern).fits(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("pattern", COSTLY)
def test_a_pattern_near_the_bounds_takes_a_moment_and_says_nothing(
    pattern: str, capfd: pytest.CaptureFixture[str]
) -> None:
    made = compile_pattern(pattern)
    began = time.process_time()
    for seed in range(examples(4, 1)):
        made.fits("".join(random.Random(seed).choices("01", k=LONGEST_TEXT)))

    assert time.process_time() - began < 20
    assert capfd.readouterr() == ("", "")


def test_a_cache_that_is_full_changes_no_answer() -> None:
    text = "".join(random.Random(7).choices("01", k=2000)) + "!"
    made = compile_pattern(r"(?P<custom_a>1.{160,170})(?P<custom_b>[01]{3}!)")
    found = re.search(made.text, text)

    assert found is not None
    assert made.groups(text) == found.groupdict()


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("x" * (LONGEST_PATTERN + 1), "a pattern has 1000 characters at most; this one has 1001"),
        (r"\pL{900}", "it repeats too much"),
        (r"(?:\pL|\d){30}", "it repeats too much"),
        (r"(?:\d{1,100}:){30}", "at most 1000 repetitions, those inside others multiplied"),
        ("()" * (MOST_GROUPS + 1), "a pattern has 32 groups at most; this one has 33: write (?:…)"),
    ],
)
def test_what_is_too_large_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        compile_pattern(pattern)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "missing ): ("),
        (r"a\Z", r"\Z (the end of the text is written \z, or $)"),
        ("(?=a)", "(?= (there is no looking ahead)"),
        ("(?!a)", "(?! (there is no looking ahead)"),
        ("(?<=a)b", "(?<= (there is no looking behind)"),
        ("(?<!a)b", "(?<! (there is no looking behind)"),
        (r"(a)\1", r"\1 (what a group caught cannot be asked for again)"),
        ("()" * 12 + r"\12", r"\1: what a group caught cannot be asked for again"),
        ("(?P<a>x)(?P=a)", "what it caught cannot be asked for again"),
        ("(?P<a>x)(?P<a>y)", "two groups are called 'a'"),
        ("(?x) a", "the flags are i, m, s and U"),
        ("(?a)a", "the flags are i, m, s and U"),
        ("(a)?(?(1)b|c)", "there are no conditions"),
        ("(?>a)", "there are no atomic groups"),
        ("(?#a)", "there are no comments"),
        ("a++", "bad repetition operator: ++"),
        ("a{1001}", "invalid repetition size: {1001} (at most 1000 repetitions"),
        ("a{,3}", "{,3} is not a repetition: write {0,3}"),
        ("a{,}", "{,} is not a repetition: write {0,}"),
        (r"\u0041", r"write the character itself, or \x{…}"),
        (r"\C", r"invalid escape sequence: \C"),
        (r"\Qa\E", r"invalid escape sequence: \Q"),
        ("\ud800", "half a surrogate pair"),
    ],
)
def test_what_is_not_of_the_syntax_is_refused_with_the_reason(
    pattern: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="not a pattern: ") as caught:
        compile_pattern(pattern)

    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "pattern",
    [r"\{,3}", "[{,3}]", "[(?P<a>]x(?P<a>y)", r"\(?P<a>(?P<a>y)", "[]\\12]", r"[[:alpha:]\]]{,", r"\\1", "(?<a>x)"],
)
def test_what_only_looks_like_it_is_not(pattern: str) -> None:
    assert compile_pattern(pattern).text == pattern


def test_named_groups_come_in_their_order() -> None:
    made = compile_pattern(r"(?P<z>\d+)( of )(?:(?P<a>\d+)|(?P<m>x))")

    assert made.names == ("z", "a", "m")
    assert made.groups("queue 17 of 100, 3 of 4") == {"z": "17", "a": "100", "m": None}
    assert made.groups("queue 17") is None


def test_text_that_is_no_text_is_searched_nevertheless() -> None:
    made = compile_pattern("(?P<a>[0-9]+)")

    assert made.groups("\ud800 é\0 42\udfff") == {"a": "42"}
    assert compile_pattern("(?P<a>é+漢)$").groups("-éé漢") == {"a": "éé漢"}


@pytest.mark.parametrize("pattern", ["a=(?P<a>[0-9]+)", "a=(?P<a>[0-9]*?)$", r"a=(?P<a>\d+)\b"])
def test_a_number_that_may_go_on_where_a_long_text_was_cut_is_none(pattern: str) -> None:
    begin = "a=12345"
    made = compile_pattern(pattern)

    assert made.groups(" " * (LONGEST_TEXT - len(begin)) + begin) == {"a": "12345"}
    assert made.groups(" " * (LONGEST_TEXT - len(begin)) + begin + "67") is None
    assert compile_pattern("a=(?P<a>[0-9]+) ").groups(begin + " " * 10 * LONGEST_TEXT) == {"a": "12345"}


_ATOMS = st.sampled_from(["a", "b", "1", ".", r"\d", r"\w", r"\s", "[ab]", "[^a]", r"\b", "^", "$", r"[^\d]", "-"])
_PATTERNS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        inner.map(lambda one: f"({one})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,2}?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=examples(400, 40), deadline=None)
@given(_PATTERNS, st.text("ab1- ", max_size=12))
def test_what_is_caught_is_what_python_catches(pattern: str, text: str) -> None:
    named = f"(?P<before>.*?)(?P<custom_a>{pattern})"
    found = re.search(named, text)

    assert compile_pattern(named).groups(text) == (None if found is None else found.groupdict())


def test_classes_are_of_ascii() -> None:
    assert not compile_pattern(r"\d").fits("٣")
    assert not compile_pattern(r"^\w+$").fits("é")
    assert not compile_pattern(r"\s").fits("\u00a0")
    assert compile_pattern(r"^\pL+$").fits("éß漢")


def test_where_the_engine_is_missing_a_pattern_is_refused_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)

    with pytest.raises(ValueError, match="patterns need the package google-re2, which cannot be loaded here"):
        compile_pattern("a")


def test_the_bound_of_a_program_is_far_above_what_people_write() -> None:
    usual = r"^(?P<resource>\S{1,64}): (?P<custom_backup_age_seconds>[0-9]{1,9}) s old since \d\d\d\d-\d\d-\d\d"

    assert 10 * compile_pattern(usual).instructions < MOST_INSTRUCTIONS * 4
