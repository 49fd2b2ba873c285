"""How many examples the slower unit tests try: few, or all of them where THOROUGH is set, as `scripts/test` sets it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

THOROUGH = bool(os.environ.get("HSM_AGENT_THOROUGH"))


def examples(most: int, few: int) -> int:
    return most if THOROUGH else few


def chosen(cases: Sequence[T], step: int) -> Sequence[T]:
    """All cases, or every so many of them where THOROUGH is not set."""
    return cases[:: examples(1, step)]
