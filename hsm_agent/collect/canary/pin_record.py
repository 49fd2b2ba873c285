"""Which PIN may be tried. A wrong one is tried once: on disk, so that no restart tries it again.

The note holds a salted scrypt hash over module, token, key and PIN, never the PIN. Blocks: call it on a thread.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import quote

from hsm_agent.state import files as state_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_COST, _BLOCK, _PARALLEL = 2**14, 8, 1  # RFC 7914: 16 MiB and some 50 ms a guess
_SALT_BYTES = 16


class Standing(Enum):
    """What is known of a PIN."""

    NEW = "new"
    TRYING = "trying"
    """Noted before the first try; still there afterwards, it means that nobody saw how that ended."""
    GOOD = "good"
    REFUSED = "refused"


class PinNotKept(Exception):
    """The note can't be read or written. The text is one line that says what to check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is noted of a PIN: its standing, when that was (UTC seconds), and the token's own word for it."""

    standing: Standing
    at: float = 0.0
    why: str = ""


class PinNotes:
    """The note of one source, for one configuration of it at a time."""

    def __init__(self, directory: Path, source: str, identity: Sequence[str], pin: str) -> None:
        """`identity` is module, token and key: with another one the PIN is another."""
        self._path = directory / f"canary-{quote(source, safe='')}.json"
        # Lengths in between: no two identities run together into one.
        self._secret = "".join(f"{len(part)}:{part}" for part in (*identity, pin)).encode()

    def look(self) -> Note:
        """What is known of this PIN. A note about another is no note."""
        try:
            found = state_file.read_json(self._path)
            if found is None:
                return Note(standing=Standing.NEW)
            digest = self._digest(bytes.fromhex(found["salt"]))
            if not hmac.compare_digest(digest, str(found["digest"])):
                return Note(standing=Standing.NEW)
            return Note(standing=Standing(found["standing"]), at=float(found["at"]), why=str(found["why"]))
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            reason = getattr(error, "strerror", None) or "not a note of the canary's"
            raise PinNotKept(f"{self._path}: {reason}: whether the PIN was refused before is not known") from error

    def keep(self, standing: Standing, why: str = "") -> Note:
        """Note it, on disk when this returns."""
        salt, note = os.urandom(_SALT_BYTES), Note(standing=standing, at=time.time(), why=why)
        content = {
            "salt": salt.hex(),
            "digest": self._digest(salt),
            "standing": standing.value,
            "at": note.at,
            "why": why,
        }
        try:
            state_file.write_json(self._path, content)
        except OSError as error:
            raise PinNotKept(f"{self._path} cannot be written: {error.strerror}: check the disk") from error
        return note

    def forget(self) -> None:
        """Let the PIN be tried again."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise PinNotKept(f"{self._path} cannot be removed: {error.strerror}") from error

    def _digest(self, salt: bytes) -> str:
        return hashlib.scrypt(self._secret, salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, dklen=32).hex()
