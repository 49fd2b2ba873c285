"""An operator's own patterns: those that might never end are refused."""

from __future__ import annotations

import pytest

from hsm_agent.collect.patterns import compile_pattern

NEVER_ENDING = [
    "(a+)+",
    "(?:a*)*",
    "([a-z]+ ?)*",
    "(a{2,})+",
    "((a+)b)+",
    "(?:x(?P<q>a+))*",
    "(a+){3}",
    r"(\(a+)+",
    "([)]a+)*",
]
HARMLESS = ["(a+)", "(?:a|b)+", r"(\+)+", "([+*])+", "(a?)+", "a+b*c{2,}", "(a+)?", r"\(a+\)+", "(?P<q>[(a+)]x)*"]


@pytest.mark.parametrize("pattern", NEVER_ENDING)
def test_a_repetition_of_repetitions_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="a repetition inside a repeated group"):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", HARMLESS)
def test_other_repetitions_are_not(pattern: str) -> None:
    assert compile_pattern(pattern).pattern == pattern


def test_what_is_no_pattern_says_why() -> None:
    with pytest.raises(ValueError, match=r"not a pattern: missing \), unterminated subpattern"):
        compile_pattern("(")
