"""A lock that serves clients fairly: round robin over their networks and, within one network, over its flows.

However often one network asks, another waits for one holder of it at most. The number of waiters is bounded, for each
network and in all; where there are too many, one of the network that has most is refused. It knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

_IPV6_CLIENT_BITS = 64


class TooManyWaitersError(Exception):
    """There is no room to wait."""


def network_of(address: str | None) -> str:
    """What counts as one client: a host of IPv4, a network of 64 bits of IPv6, as one host can use all of its own."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((found, _IPV6_CLIENT_BITS), strict=False))


@dataclass(slots=True, eq=False)
class _Waiter:
    network: str
    flow: Hashable
    is_urgent: bool
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FairLock:
    """One holder at a time. Within a flow, urgent waiters come before the others."""

    def __init__(self, *, max_waiters: int, max_waiters_each: int) -> None:
        self._max_waiters = max_waiters
        self._max_waiters_each = max_waiters_each
        self._waiters: list[_Waiter] = []
        # Round robin: the network that held the lock last is last, and so is the flow within its network.
        self._networks: OrderedDict[str, None] = OrderedDict()
        self._flows: OrderedDict[tuple[str, Hashable], None] = OrderedDict()
        self._is_held = False

    @asynccontextmanager
    async def hold(self, network: str, flow: Hashable = None, *, urgent: bool = False) -> AsyncIterator[None]:
        """Hold the lock for the block. Raises TooManyWaitersError, also after some waiting."""
        if self._is_held:
            waiter = _Waiter(network, flow, urgent)
            self._enqueue(waiter)
            try:
                await waiter.granted
            except BaseException:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                elif waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
                    # Cancelled between the grant and this line: the lock would be held by a task that has ended.
                    self._grant_next()
                raise
        self._is_held = True
        try:
            yield
        finally:
            self._grant_next()

    def _enqueue(self, waiter: _Waiter) -> None:
        own = [each for each in self._waiters if each.network == waiter.network]
        if len(own) >= self._max_waiters_each:
            self._refuse_one_of_own(own, waiter)
        elif len(self._waiters) >= self._max_waiters:
            network, count = Counter(each.network for each in self._waiters).most_common(1)[0]
            if count <= len(own) + 1:
                raise TooManyWaitersError
            self._refuse([each for each in self._waiters if each.network == network][-1])
        self._waiters.append(waiter)
        self._networks.setdefault(waiter.network)
        self._flows.setdefault((waiter.network, waiter.flow))

    def _refuse_one_of_own(self, own: list[_Waiter], newcomer: _Waiter) -> None:
        """Refuse the last waiter of the network with a weaker claim than the newcomer. Raises TooManyWaitersError."""
        count = Counter(each.flow for each in own)
        longest, length = count.most_common(1)[0]
        if length > count[newcomer.flow] + 1:  # the newcomer's flow has less than its share of the network's room
            weaker = [each for each in own if each.flow == longest and not each.is_urgent]
        else:
            weaker = [each for each in own if newcomer.is_urgent and not each.is_urgent]
        if not weaker:
            raise TooManyWaitersError
        self._refuse(weaker[-1])

    def _refuse(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        if not waiter.granted.done():
            waiter.granted.set_exception(TooManyWaitersError())

    def _grant_next(self) -> None:
        self._is_held = False
        self._waiters = [each for each in self._waiters if not each.granted.done()]
        if not self._waiters:
            self._networks.clear()
            self._flows.clear()
            return
        waiting = {(each.network, each.flow) for each in self._waiters}
        network = next(each for each in self._networks if any(key[0] == each for key in waiting))
        key = next(each for each in self._flows if each[0] == network and each in waiting)
        # min() takes the first of several: the oldest urgent one, else the oldest.
        queue = [each for each in self._waiters if (each.network, each.flow) == key]
        waiter = min(queue, key=lambda each: not each.is_urgent)
        self._waiters.remove(waiter)
        self._networks.move_to_end(network)
        self._flows.move_to_end(key)
        self._forget_absent_networks()
        self._is_held = True
        waiter.granted.set_result(None)

    def _forget_absent_networks(self) -> None:
        """But for the one that was served last: it keeps its place behind those that still wait."""
        kept = {each.network for each in self._waiters} | {next(reversed(self._networks))}
        for network in self._networks.keys() - kept:
            del self._networks[network]
        for key in [key for key in self._flows if key[0] not in kept]:
            del self._flows[key]
