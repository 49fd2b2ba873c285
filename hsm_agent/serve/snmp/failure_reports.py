"""Tells of senders that could not prove who they are: at most once a minute for each, and of few at a time.

Addresses of UDP datagrams can be forged: without the second bound, whoever forges many would make the agent flood
its own receivers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL_SECONDS = 60.0
MOST_SENDERS = 64


class FailureReports:
    """Passes on what is due, and forgets senders that were quiet for a minute."""

    def __init__(self, tell: Callable[[str], None], monotonic: Callable[[], float]) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._told: dict[str, float] = {}

    def note(self, address: str) -> None:
        """A sender failed."""
        now = self._monotonic()
        if address in self._told and now - self._told[address] < INTERVAL_SECONDS:
            return
        if len(self._told) >= MOST_SENDERS:
            self._told = {one: at for one, at in self._told.items() if now - at < INTERVAL_SECONDS}
        if len(self._told) >= MOST_SENDERS:
            return
        self._told[address] = now
        self._tell(address)
