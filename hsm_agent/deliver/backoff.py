"""How long to leave a failing receiver alone. Pure: chance is an argument."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_SECONDS = 0.5
LAST_SECONDS = 60.0


class Backoff:
    """Pauses from half a second up to a ceiling that doubles to a minute, at random in between.

    At random, so that agents which lost one receiver together do not come back together.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance` gives numbers from 0 to 1."""
        self._chance = chance
        self._failures = 0

    def next(self) -> float:
        """Seconds to pause after one more failure."""
        self._failures = min(self._failures + 1, 10)  # the ceiling is reached long before
        ceiling = min(LAST_SECONDS, FIRST_SECONDS * 2.0**self._failures)
        return FIRST_SECONDS + self._chance() * (ceiling - FIRST_SECONDS)

    def reset(self) -> None:
        """The receiver acknowledged something."""
        self._failures = 0
