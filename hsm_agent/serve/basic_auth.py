"""Passwords of the HTTP side: bcrypt off the event loop, and no password kept in memory.

A right password costs bcrypt once; afterwards its keyed digest is known. A wrong one costs bcrypt every time, and
so does an unknown user: the time it takes tells nobody which of the two was wrong.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import bcrypt

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_PASSWORD = 72  # bcrypt reads no further; nor do the implementations that made the hash
MOST_WAITING = 8
MOST_REMEMBERED = 64


class TooManyChecksError(Exception):
    """More passwords wait to be checked than can be within an answer's deadline."""


class BasicAuth:
    """Checks the Authorization header of RFC 7617. One thread does the hashing: guessing can't take the whole host."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, None] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-bcrypt")
        self._waiting = 0

    async def allows(self, users: Mapping[str, str], authorization: str) -> bool:
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
        matches = await self._check(password, digest or _stand_in(known))
        if not matches or digest is None:
            return False
        self._remember(seal)
        return True

    def close(self) -> None:
        """Let the thread end when it has checked what it is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _check(self, password: bytes, digest: bytes) -> bool:
        if self._waiting >= MOST_WAITING:
            raise TooManyChecksError
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, bcrypt.checkpw, password[:LONGEST_PASSWORD], digest)
        finally:
            self._waiting -= 1

    def _seal(self, user: bytes, digest: bytes, password: bytes) -> bytes:
        parts = b"".join(len(part).to_bytes(8, "big") + part for part in (user, digest, password))
        return hmac.new(self._key, parts, hashlib.sha256).digest()

    def _remember(self, seal: bytes) -> None:
        if len(self._verified) >= MOST_REMEMBERED:
            del self._verified[next(iter(self._verified))]
        self._verified[seal] = None


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
