"""The condition `falls`: lower than before, until it is back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.evaluate.conditions import evaluate
from hsm_agent.evaluate.rules import Falls, Rule
from hsm_agent.evaluate.state import NO_MEMORY, ConditionMemory
from hsm_agent.model import Severity
from tests.unit.evaluate.judging import START, reading

ATTEMPTS = "token_login_attempts_left"
CLEARED, WARNING = Severity.CLEARED, Severity.WARNING


class NoPast:
    """`falls` needs no history."""

    def windows(self, length: float) -> None:
        raise AssertionError(length)

    def points(self, spacing: float) -> None:
        raise AssertionError(spacing)


def falls(values: list[float], memory: ConditionMemory = NO_MEMORY) -> list[tuple[Severity, bool, str]]:
    rule = Rule(name="r", metrics=(ATTEMPTS,), condition=Falls())
    found = []
    for at, value in enumerate(values):
        result, memory = evaluate(rule, reading(at, value, ATTEMPTS), CLEARED, memory, NoPast())
        found.append((result.severity, result.again, result.note))
    return found


def test_a_fall_lasts_until_the_value_is_back_and_a_further_one_is_told_again() -> None:
    assert falls([10, 9, 9, 8, 9, 8, 10, 10]) == [
        (CLEARED, False, ""),
        (WARNING, False, "10 -> 9"),
        (WARNING, False, "10 -> 9"),
        (WARNING, True, "10 -> 8"),
        (WARNING, False, "10 -> 9"),
        (WARNING, True, "10 -> 8"),
        (CLEARED, False, ""),
        (CLEARED, False, ""),
    ]


def test_a_fall_that_time_has_ended_is_the_measure_of_the_next_one() -> None:
    lapsed = ConditionMemory(last=8, before=8)

    assert [severity for severity, _, _ in falls([8, 7], lapsed)] == [CLEARED, WARNING]
    assert falls([8, 7], lapsed)[1][2] == "8 -> 7"


@pytest.mark.parametrize(
    "memory", [ConditionMemory(seen="[10,[]]", clock=START), ConditionMemory(clock=START, last=10)]
)
def test_a_fall_is_not_judged_by_the_memory_of_another_condition(memory: ConditionMemory) -> None:
    assert falls([9], memory) == [(CLEARED, False, "")]


@given(st.lists(st.integers(0, 10).map(float), min_size=2, max_size=30))
def test_a_fall_is_raised_exactly_while_the_value_is_below_the_highest_since_it_was_well(values: list[float]) -> None:
    high = values[0]
    for value, (severity, _, _) in zip(values, falls(values), strict=True):
        high = max(high, value)
        assert (severity is WARNING) == (value < high)


@given(st.lists(st.integers(0, 10).map(float), min_size=2, max_size=30))
def test_every_step_down_below_a_raised_fall_is_told(values: list[float]) -> None:
    found = falls(values)

    for index in range(1, len(values)):
        raised_before = found[index - 1][0] is WARNING
        assert found[index][1] == (raised_before and values[index] < values[index - 1])
