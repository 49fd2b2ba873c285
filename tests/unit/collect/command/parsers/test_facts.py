from __future__ import annotations

import pytest

from hsm_agent.collect.command.parsers.text import (
    FactBuilder,
    Malformed,
    attempts_left,
    fields_of,
    fill,
    number,
    role,
    unlike,
)
from hsm_agent.collect.series import Fact


def builder(*lines: str) -> FactBuilder:
    return FactBuilder(fields_of(list(lines)), "p")


def test_the_first_name_that_is_there_is_taken() -> None:
    made = builder("new: 2", "old: 1")

    assert made.take("token_objects", ["newest", "new", "old"], number) == 2
    assert made.facts == [Fact(metric="token_objects", value=2, resource="p")]
    assert not made.empty


def test_a_field_that_is_missing_is_missed_unless_it_is_optional() -> None:
    made = builder()
    made.take("token_objects", ["count"], number)
    made.take("hsm_partitions", ["partitions"], number, optional=True)

    assert made.facts == [
        Fact(metric="token_objects", value=None, resource="p", reason="the output has no line 'count'")
    ]
    assert made.empty


def test_an_optional_field_that_does_not_fit_is_told() -> None:
    made = builder("partitions: few")
    made.take("hsm_partitions", ["partitions"], number, optional=True)

    assert [fact.reason for fact in made.facts] == ["no number as expected: partitions: few"]


def test_an_identity_is_made_of_what_is_there() -> None:
    made = builder("serial: 7", "label:")
    made.identity("hsm_info", {"label": ("label",), "serial": ("sn", "serial")})
    made.identity("token_info", {"label": ("label",)})

    assert made.facts == [Fact(metric="hsm_info", value=1, resource="p", labels=(("serial", "7"),))]


@pytest.mark.parametrize(
    ("value", "left"), [("3 before HSM zeroization!", 3), ("10", 10), ("None - Owner is Locked Out", 0), ("none", 0)]
)
def test_attempts_left(value: str, left: int) -> None:
    assert attempts_left(value, "") == left


@pytest.mark.parametrize("value", ["", "unknown", "3 of 10", "nonesuch", "-1", "10before"])
def test_no_attempts(value: str) -> None:
    with pytest.raises(Malformed, match="no number of login attempts: the line"):
        attempts_left(value, "the line")


@pytest.mark.parametrize(
    ("name", "slug"),
    [("partition so", "so"), ("crypto officer", "crypto_officer"), ("owner", "partition_owner"), ("a-b c", "a_b_c")],
)
def test_roles(name: str, slug: str) -> None:
    assert role(name) == slug


@pytest.mark.parametrize(
    ("figures", "values"),
    [
        ((100, 25, 75), [100, 25, 75, 25.0]),
        ((100, 25, 70), [100, 25, 70, 25.0]),
        ((100, 50, 75), [None] * 4),
        ((100, None, 75), [100, None, 75, None]),
        ((0, 0, 0), [0, 0, 0, None]),
    ],
)
def test_fill(figures: tuple[float | None, ...], values: list[float | None]) -> None:
    made = builder()
    total, used, free = figures
    fill(made, "token_storage", total, used, free, "why")

    assert [fact.value for fact in made.facts] == values
    assert all(fact.reason for fact in made.facts if fact.value is None)


def test_what_an_unlike_output_begins_with_is_shown() -> None:
    assert str(unlike("x", ["", " oh "])) == "this is not what x prints: it says: oh"
    assert str(unlike("x", [""])) == "this is not what x prints: it is empty"
