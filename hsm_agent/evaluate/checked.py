"""What stands in a stored row, held against what it must be: a row that is damaged is none, and never half of one.

Everything raises ValueError.
"""

from __future__ import annotations

import json
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_MOST = 2**63


def parse(text: str) -> Any:
    """The JSON value of a row."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def members(value: object, *known: str) -> dict[str, Any]:
    """A JSON object without any members but these."""
    if not isinstance(value, dict) or not value.keys() <= set(known):
        raise ValueError("not the members of such a row")
    return value


def text(value: object) -> str:
    """Text."""
    if not isinstance(value, str):
        raise ValueError(f"no text: {value!r}")  # noqa: TRY004 - what is stored is wrong, not what was passed
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"neither true nor false: {value!r}")  # noqa: TRY004 - as above
    return value


def number(value: object) -> float | int:
    """A number as readings have them, infinity included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or _is_huge(value) or isnan(value):
        raise ValueError(f"no number: {value!r:.40}")
    return value


def whole(value: object) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or _is_huge(value):
        raise ValueError(f"no whole number: {value!r:.40}")
    return value


def moment(value: object) -> float | int:
    """A time, or a span of it."""
    found = number(value)
    if not isfinite(found):
        raise ValueError(f"no time: {value!r}")
    return found


def span(value: object) -> float | int:
    """A span of time that can be divided by."""
    found = moment(value)
    if found <= 0:
        raise ValueError(f"no span of time: {value!r}")
    return found


def optional(check: Callable[[object], T], value: object) -> T | None:
    """The value, or None."""
    return None if value is None else check(value)


def _is_huge(value: float) -> bool:
    return isinstance(value, int) and abs(value) >= _MOST
