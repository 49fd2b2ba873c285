"""What one SNMP peer answers, waited for: from its own address, and from another one of its addresses."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsm_agent.net.udp_client import Link
    from hsm_agent.wire.snmp.client_engine import Complaint, Learned, SnmpClientEngine

log = logging.getLogger(__name__)

_MOST_PLACES = 8
_Answer = TypeVar("_Answer")


class Elsewhere:
    """Where else the answers of one peer come from: each place is logged once."""

    def __init__(self, peer: str, *, believed: bool) -> None:
        """`believed`: answers from anywhere are taken."""
        self.believed = believed
        self._peer = peer
        self._places: set[str] = set()

    def note(self, place: str) -> None:
        """An answer came from there."""
        if place in self._places or len(self._places) >= _MOST_PLACES:
            return
        self._places.add(place)
        taken = "and is taken" if self.believed else "and is not taken: `answers_from: any` would take it"
        log.warning("%s: an answer comes from %s %s", self._peer, place, taken)


class Answers(Generic[_Answer]):
    """The answers to one dialogue over one link."""

    def __init__(
        self, link: Link, dialogue: SnmpClientEngine[_Answer], elsewhere: Elsewhere, clock: Callable[[], float]
    ) -> None:
        """`clock` is what the peer's time is reckoned by."""
        self._link = link
        self._clock = clock
        self._dialogue = dialogue
        self._elsewhere = elsewhere
        self.oddity = ""
        """What came last and was of no use, for people; empty if nothing did."""

    async def next(self, due: float) -> _Answer | Learned | Complaint | None:
        """What is said next that is of use; None if nothing is until `due` on the loop's clock. Raises LinkError."""
        try:
            async with asyncio.timeout_at(due):
                while True:
                    datagram, place = await self._link.receive_from()
                    outcome = self._understood(datagram, place)
                    if outcome is not None:
                        return outcome
        except TimeoutError:
            return None

    def _understood(self, datagram: bytes, place: str) -> _Answer | Learned | Complaint | None:
        outcome = self._dialogue.receive(datagram, self._clock())
        if outcome is None:
            self.oddity = self._dialogue.ignored + (f" from {place}" if place else "")
            return None
        if place:
            self._elsewhere.note(place)
            if not self._elsewhere.believed:
                self.oddity = f"an answer from {place}, another address: `answers_from: any` would take it"
                return None
        return outcome
