"""Finds the event that ends every session it is sent on. Pure: no I/O, no clock.

A receiver that is down, or that ends sessions whatever it is sent, must never cost an event. So an event is guilty
only if five sessions in a row ended while it alone was on its way, and the receiver then takes another message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SESSIONS = 5


class Suspicion:
    """What is known against the first event in the queue, and how many may be sent at once."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._suspect: int | None = None
        self._sessions = 0
        self.limit = window
        """How many events the next batch may hold: one after a failure, twice as many after each success."""

    @property
    def suspect(self) -> int | None:
        """The event (by its sequence number) that is given up as soon as the receiver takes another message."""
        return self._suspect if self._sessions >= SESSIONS else None

    def failed(self, batch: Sequence[int], *, sent: bool) -> None:
        """These were not accepted. `sent`: the session was up, and ended when the first of them had been sent."""
        self.limit = 1
        if not sent or len(batch) != 1:
            return
        if batch[0] != self._suspect:
            self._suspect, self._sessions = batch[0], 0
        self._sessions += 1

    def accepted(self) -> None:
        """The receiver accepted an event, or what was suspected is out of the way."""
        self._suspect, self._sessions = None, 0
        self.limit = min(self._window, self.limit * 2)
