"""Whose turn it is, where only one can be served at a time: each address in turn, and within it each kind of wish.

One address, however much it wants, makes another one wait for one turn at most. Waiting is bounded, for each address
and in all; who wants most goes without first. It knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

_HOST_BITS_OF_A_SITE = 64


class TooManyWaitError(Exception):
    """There is no room to wait."""


def network_of(address: str | None) -> str:
    """What counts as one address: a host by IPv4, a network of 64 bits by IPv6, of which anybody has plenty."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((found, _HOST_BITS_OF_A_SITE), strict=False))


@dataclass(slots=True, eq=False)
class _Ticket:
    place: str
    lane: Hashable
    urgent: bool
    called: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns:
    """One turn at a time. Places come round robin, in each its lanes; urgent wishes come before others of a lane."""

    def __init__(self, *, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._waiting: list[_Ticket] = []
        self._places: OrderedDict[str, None] = OrderedDict()
        """Those that had a turn last are last; likewise the lanes of each."""
        self._lanes: OrderedDict[tuple[str, Hashable], None] = OrderedDict()
        self._busy = False

    @asynccontextmanager
    async def turn(self, place: str, lane: Hashable = None, *, urgent: bool = False) -> AsyncIterator[None]:
        """Wait for one's turn, and keep it for the block. Raises TooManyWaitError, also while it waits."""
        if self._busy:
            ticket = _Ticket(place, lane, urgent)
            self._enter(ticket)
            try:
                await ticket.called
            except BaseException:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                elif ticket.called.done() and not ticket.called.cancelled() and ticket.called.exception() is None:
                    self._call_next()  # it was called and its owner is gone
                raise
        self._busy = True
        try:
            yield
        finally:
            self._call_next()

    def _enter(self, ticket: _Ticket) -> None:
        own = [one for one in self._waiting if one.place == ticket.place]
        if len(own) >= self._most_each:
            self._turn_away(own, ticket)
        elif len(self._waiting) >= self._most:
            counts: dict[str, int] = {}
            for one in self._waiting:
                counts[one.place] = counts.get(one.place, 0) + 1
            noisiest = max(counts, key=counts.__getitem__)
            if counts[noisiest] <= len(own) + 1:
                raise TooManyWaitError
            self._turn_away([one for one in self._waiting if one.place == noisiest], None)
        self._waiting.append(ticket)
        self._places.setdefault(ticket.place)
        self._lanes.setdefault((ticket.place, ticket.lane))

    def _turn_away(self, found: list[_Ticket], newcomer: _Ticket | None) -> None:
        """Send the last one away that has no better claim than the newcomer; None: whoever is last."""
        lanes = [one.lane for one in found]
        if newcomer is None:
            least = found[-1]
        else:
            # The newcomer's lane may have its share of the place's room; an urgent wish takes that of another one.
            longest = max(lanes, key=lanes.count)
            fair = lanes.count(longest) > lanes.count(newcomer.lane) + 1
            worse = [one for one in found if (one.lane == longest if fair else newcomer.urgent) and not one.urgent]
            if not worse:
                raise TooManyWaitError
            least = worse[-1]
        self._waiting.remove(least)
        if not least.called.done():
            least.called.set_exception(TooManyWaitError())

    def _call_next(self) -> None:
        self._busy = False
        waiting = [one for one in self._waiting if not one.called.done()]
        self._waiting = waiting
        if not waiting:
            self._places.clear()
            self._lanes.clear()
            return
        place = next(one for one in self._places if any(ticket.place == one for ticket in waiting))
        here = [one for one in waiting if one.place == place]
        lane = next(name for at, name in self._lanes if at == place and any(one.lane == name for one in here))
        ticket = min((one for one in here if one.lane == lane), key=lambda one: not one.urgent)
        self._waiting.remove(ticket)
        self._places.move_to_end(place)
        self._lanes.move_to_end((place, lane))
        self._forget_who_left()
        self._busy = True
        ticket.called.set_result(None)

    def _forget_who_left(self) -> None:
        """A place whose turn was just now keeps its rank while others wait."""
        kept = {one.place for one in self._waiting}
        last = next(reversed(self._places))
        for place in [one for one in self._places if one not in kept and one != last]:
            del self._places[place]
        for key in [key for key in self._lanes if key[0] not in self._places]:
            del self._lanes[key]
