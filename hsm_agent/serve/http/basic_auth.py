"""HTTP basic authentication (RFC 7617): bcrypt off the event loop, and no password kept in memory.

A right password costs bcrypt once; afterwards its keyed digest is known. A wrong one costs bcrypt when it is first
given, and so does an unknown user: the time it takes does not show which of the two was wrong.

One thread does the hashing, so that guesses can't take all of the host's CPUs. Clients get it in turn, and within one
network its users do, so that guesses hold up no other client. A password that was refused unchecked goes first when it
is given again: a scraper repeats its password, a guesser does not.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import bcrypt

from hsm_agent.serve.http.fair_lock import FairLock, TooManyWaitersError, network_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PASSWORD_BYTES = 72  # bcrypt reads no further; nor do the implementations that made the hash
MAX_WAITERS = 32  # half of the connections there may be: the other half serves clients that need no check
MAX_WAITERS_EACH = 8  # of one network
MAX_VERIFIED = 64
MAX_WRONG = 1024


class TooManyChecksError(Exception):
    """More passwords wait than can be checked within the deadline of an answer."""


class _Digests:
    """Keyed digests of credentials; the oldest are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, digest: bytes) -> None:
        """Remember it as the newest."""
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)

    def discard(self, digest: bytes) -> None:
        """Forget it."""
        self._digests.pop(digest, None)


class BasicAuth:
    """Checks the Authorization header of requests against users and their bcrypt hashes."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._verified = _Digests(MAX_VERIFIED)
        self._wrong = _Digests(MAX_WRONG)
        self._refused_unchecked = _Digests(MAX_WRONG)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-bcrypt")
        self._lock = FairLock(max_waiters=MAX_WAITERS, max_waiters_each=MAX_WAITERS_EACH)

    async def allows(self, users: Mapping[str, str], authorization: str, address: str | None = None) -> bool:
        """Whether the header names one of the users (name to bcrypt hash). Raises TooManyChecksError."""
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
                allowed = await self._check(password, known or _decoy(hashes)) and known is not None
        except TooManyWaitersError as error:
            self._refused_unchecked.add(digest)
            raise TooManyChecksError from error
        self._refused_unchecked.discard(digest)
        (self._verified if allowed else self._wrong).add(digest)
        return allowed

    def close(self) -> None:
        """Let the thread end after the check it is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _check(self, password: bytes, bcrypt_hash: bytes) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, bcrypt.checkpw, password[:MAX_PASSWORD_BYTES], bcrypt_hash)

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
