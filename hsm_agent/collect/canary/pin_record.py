"""Records on disk whether a PIN was refused, so that a wrong PIN is tried once, whatever restarts in between.

The record holds a salted scrypt hash over module, token, key and PIN, never the PIN. It blocks: call it on a thread.
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


class PinRecordStatus(Enum):
    """What is known of a PIN. The values stand in the file."""

    NEW = "new"
    TRYING = "trying"
    """Recorded before the first try. If it is still there afterwards, the result of that try is unknown."""
    GOOD = "good"
    REFUSED = "refused"


class PinRecordError(Exception):
    """The record can't be read or written. The text is one line that says what to check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRecord:
    """A PIN's status, since when (UTC seconds), and the return value for which it was refused."""

    status: PinRecordStatus
    at: float = 0.0
    why: str = ""


class PinRecordFile:
    """The record of one source, for one configuration of it at a time."""

    def __init__(self, directory: Path, source: str, identity: Sequence[str], pin: str) -> None:
        """`identity` is module, token and key: a record holds for these and this PIN only."""
        self._path = directory / f"canary-{quote(source, safe='')}.json"
        # With lengths, so that two different identities never join into the same text.
        self._secret = "".join(f"{len(part)}:{part}" for part in (*identity, pin)).encode()

    def look(self) -> PinRecord:
        """The record of this PIN; NEW where there is none, or one of another PIN."""
        try:
            found = state_file.read_json(self._path)
            if found is None:
                return PinRecord(status=PinRecordStatus.NEW)
            digest = self._digest(bytes.fromhex(found["salt"]))
            if not hmac.compare_digest(digest, str(found["digest"])):
                return PinRecord(status=PinRecordStatus.NEW)
            return PinRecord(status=PinRecordStatus(found["standing"]), at=float(found["at"]), why=str(found["why"]))
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            reason = getattr(error, "strerror", None) or "not a note of the canary's"
            raise PinRecordError(f"{self._path}: {reason}: whether the PIN was refused before is not known") from error

    def keep(self, status: PinRecordStatus, why: str = "") -> PinRecord:
        """Write the record; it is on disk when this returns."""
        salt, record = os.urandom(_SALT_BYTES), PinRecord(status=status, at=time.time(), why=why)
        content = {
            "salt": salt.hex(),
            "digest": self._digest(salt),
            "standing": status.value,
            "at": record.at,
            "why": why,
        }
        try:
            state_file.write_json(self._path, content)
        except OSError as error:
            raise PinRecordError(f"{self._path} cannot be written: {error.strerror}: check the disk") from error
        return record

    def forget(self) -> None:
        """Remove the record, so that the PIN may be tried again."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise PinRecordError(f"{self._path} cannot be removed: {error.strerror}") from error

    def _digest(self, salt: bytes) -> str:
        return hashlib.scrypt(self._secret, salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, dklen=32).hex()
