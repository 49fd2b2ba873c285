"""HTTP basic authentication (RFC 7617): bcrypt off the event loop, and no password kept in memory.

A right password costs bcrypt once; afterwards its keyed digest is known. A wrong one costs bcrypt when it is first
given, and so does an unknown user: the time it takes does not show which of the two was wrong.

One thread does the hashing, so that guesses can't take all of the host's CPUs. Clients get it in turn by `FairLock`:
round robin over their networks and, within one network, over its users, so that guesses hold up no other client. The
number of waiters is bounded, for each network and in all; where there are too many, one of the network that has most is
refused. A password that was refused unchecked goes first when it is given again: a scraper repeats its password, a
guesser does not.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import Counter, OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING

import bcrypt

from hsm_agent.text import ip_of
from hsm_agent.threads import Lane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Mapping

_IPV6_CLIENT_BITS = 64


class TooManyWaitersError(Exception):
    """There is no room to wait."""


def network_of(address: str | None) -> str:
    """What counts as one client: a host of IPv4, a network of 64 bits of IPv6, as one host can use all of its own."""
    found = ip_of(address or "")
    if isinstance(found, IPv6Address):
        return str(ip_network((found, _IPV6_CLIENT_BITS), strict=False))
    return str(found or "")


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


MAX_PASSWORD_BYTES = 72  # bcrypt reads no further; nor do the implementations that made the hash
MAX_WAITERS = 32  # half of the connections there may be: the other half serves clients that need no check
MAX_WAITERS_EACH = 8  # of one network
CHECK_SECONDS = 10.0  # the deadline of an answer
MAX_VERIFIED = 64
MAX_WRONG = 1024


class TooManyChecksError(Exception):
    """More passwords wait than can be checked within the deadline of an answer."""


class _Digests(OrderedDict[bytes, None]):
    """Keyed digests of credentials; the oldest are forgotten."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def add(self, digest: bytes) -> None:
        """Remember it as the newest."""
        self[digest] = None
        self.move_to_end(digest)
        if len(self) > self._most:
            self.popitem(last=False)


class BasicAuth:
    """Checks the Authorization header of requests against users and their bcrypt hashes."""

    def __init__(self, check: Callable[[bytes, bytes], bool] = bcrypt.checkpw) -> None:
        self._check = check
        self._key = secrets.token_bytes(32)
        self._verified = _Digests(MAX_VERIFIED)
        self._wrong = _Digests(MAX_WRONG)
        self._refused_unchecked = _Digests(MAX_WRONG)
        self._thread = Lane("checking passwords")
        self._lock = FairLock(max_waiters=MAX_WAITERS, max_waiters_each=MAX_WAITERS_EACH)

    async def allows(self, users: Mapping[str, str], authorization: str, address: str | None = None) -> bool:
        """Whether the header names one of the users (name to bcrypt hash). Raises TooManyChecksError, StuckError."""
        given = credentials(authorization)
        if given is None:
            return False
        user, password = given
        hashes = {name.encode(): value.encode() for name, value in users.items()}
        known = hashes.get(user)
        digest = self._digest(user, known or b"", password)
        if known is not None and digest in self._verified:
            return True
        if digest in self._wrong:
            return False
        # All unknown users are one flow: names are free to invent.
        flow = user if known is not None else None
        try:
            async with self._lock.hold(network_of(address), flow, urgent=digest in self._refused_unchecked):
                check = partial(self._check, password[:MAX_PASSWORD_BYTES], known or _decoy(hashes))
                allowed = await self._thread.call(check, seconds=CHECK_SECONDS) and known is not None
        except TooManyWaitersError as error:
            self._refused_unchecked.add(digest)
            raise TooManyChecksError from error
        self._refused_unchecked.pop(digest, None)
        (self._verified if allowed else self._wrong).add(digest)
        return allowed

    def _digest(self, user: bytes, bcrypt_hash: bytes, password: bytes) -> bytes:
        # With the hash, so that a password that was right is not right for a user's new one; each with its length, so
        # that no two triples make one text.
        framed = b"".join(len(each).to_bytes(8, "big") + each for each in (user, bcrypt_hash, password))
        return hmac.new(self._key, framed, hashlib.sha256).digest()


def credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """User and password of a Basic header; None for anything else."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password) if colon else None


def _decoy(hashes: Mapping[bytes, bytes]) -> bytes:
    """A hash that no password matches, as costly to check as the costliest of the users' own."""
    cost = max(hashes.values(), key=lambda each: each[4:6])[4:6]
    return b"$2b$" + cost + b"$" + b"." * 53
