"""Stored values are what they must be, or ValueError."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.evaluate import checked

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (checked.text, "a"),
        (checked.flag, False),
        (checked.number, float("inf")),
        (checked.number, 3),
        (checked.whole, -3),
        (checked.moment, 1.5),
        (checked.span, 3600),
        (checked.parse, "7"),
    ],
)
def test_what_is_right_is_taken_as_it_is(check: Callable[[object], object], value: object) -> None:
    assert check(value) == (7 if check is checked.parse else value)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (checked.text, 1),
        (checked.flag, 1),
        (checked.number, True),
        (checked.number, "1"),
        (checked.number, float("nan")),
        (checked.number, 2**63),
        (checked.whole, True),
        (checked.whole, 1.0),
        (checked.whole, -(2**70)),
        (checked.moment, float("inf")),
        (checked.span, 0),
        (checked.span, -1.0),
        (checked.members, []),
        (checked.members, {"a": 1}),
        (checked.parse, "["),
        (checked.parse, 99999 * "["),
    ],
)
def test_what_is_wrong_is_no_value(check: Callable[[object], object], value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        check(value)


def test_none_stays_none_where_it_may() -> None:
    assert checked.optional(checked.text, None) is None
    assert checked.optional(checked.text, "a") == "a"
    assert checked.members({"a": 1}, "a", "b") == {"a": 1}
