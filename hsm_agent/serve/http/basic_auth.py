"""Passwords of the HTTP side: bcrypt off the event loop, and no password kept in memory.

A right password costs bcrypt once; afterwards its keyed digest is known. A wrong one costs bcrypt when it is first
given, and so does an unknown user: the time it takes tells nobody which of the two was wrong.

One thread does the hashing, so that guessing can't take the whole host. Addresses have it in turn, and at one address
the users: whoever guesses holds up nobody else. A password that was turned away unchecked comes first when it is given
again, as a scraper does and a guesser does not.
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

from hsm_agent.serve.http.turns import TooManyWaitError, Turns, network_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_PASSWORD = 72  # bcrypt reads no further; nor do the implementations that made the hash
MOST_WAITING = 32
"""Half of the connections there may be: whoever needs no check gets through."""
MOST_WAITING_EACH = 8
"""At one address."""
MOST_REMEMBERED = 64
MOST_REMEMBERED_WRONG = 1024


class TooManyChecksError(Exception):
    """More passwords wait to be checked than can be within an answer's deadline."""


class _Seals:
    """Keyed digests of credentials; the oldest are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, seal: bytes) -> bool:
        return seal in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, seal: bytes) -> None:
        """Remember; what is given again is the newest."""
        self._known[seal] = None
        self._known.move_to_end(seal)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def discard(self, seal: bytes) -> None:
        """Forget it."""
        self._known.pop(seal, None)


class BasicAuth:
    """Checks the Authorization header of RFC 7617."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._verified = _Seals(MOST_REMEMBERED)
        self._wrong = _Seals(MOST_REMEMBERED_WRONG)
        self._turned_away = _Seals(MOST_REMEMBERED_WRONG)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-bcrypt")
        self._turns = Turns(most=MOST_WAITING, most_each=MOST_WAITING_EACH)

    async def allows(self, users: Mapping[str, str], authorization: str, address: str | None = None) -> bool:
        """Whether the header names one of the users (name to bcrypt hash). Raises TooManyChecksError."""
        given = credentials(authorization)
        if given is None:
            return False
        user, password = given
        known = {name.encode(): digest.encode() for name, digest in users.items()}
        digest = known.get(user)
        seal = self._seal(user, digest or b"", password)
        if digest is not None and seal in self._verified:
            return True
        if seal in self._wrong:
            return False
        lane = user if digest is not None else None
        try:
            async with self._turns.turn(network_of(address), lane, urgent=seal in self._turned_away):
                allowed = await self._check(password, digest or _stand_in(known)) and digest is not None
        except TooManyWaitError as error:
            self._turned_away.add(seal)
            raise TooManyChecksError from error
        self._turned_away.discard(seal)
        (self._verified if allowed else self._wrong).add(seal)
        return allowed

    def close(self) -> None:
        """Let the thread end when it has checked what it is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _check(self, password: bytes, digest: bytes) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, bcrypt.checkpw, password[:LONGEST_PASSWORD], digest)

    def _seal(self, user: bytes, digest: bytes, password: bytes) -> bytes:
        framed = b"".join(len(each).to_bytes(8, "big") + each for each in (user, digest, password))
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


def _stand_in(known: Mapping[bytes, bytes]) -> bytes:
    """A hash nobody knows the password of, as costly to check as the costliest of the users'."""
    cost = max(known.values(), key=lambda digest: digest[4:6])[4:6]
    return b"$2b$" + cost + b"$" + b"." * 53
