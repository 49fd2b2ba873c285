"""The identity of the agent's SNMP engine (RFC 3411 section 5, RFC 3414 section 2.2)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from itertools import count

MAX_BOOTS = 2**31 - 1
"""Boots that have reached this stay there, and the engine refuses authenticated messages (RFC 3414 section 2.2.2)."""
_MAX_TIME = 2**31 - 1


class Salts:
    """Privacy salts that are never used twice: a 64-bit counter from a random start (RFC 3826 section 3.1.2.1)."""

    def __init__(self, start: int | None = None) -> None:
        self._numbers = count(secrets.randbits(64) if start is None else start)

    def draw(self) -> bytes:
        """The next salt, eight octets."""
        return (next(self._numbers) & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Engine ID, boots, and the start of the engine on the monotonic clock.

    `engine_id` is 5 to 32 octets and kept for ever; `boots` was raised and stored before the first packet. 0 boots:
    that could not be done yet, and nothing of SNMPv3 may be said or heard in the name of this engine.
    The salts belong here because responder and notifications encrypt with the same keys.
    """

    engine_id: bytes
    boots: int
    started: float
    salts: Salts = field(default_factory=Salts, repr=False, compare=False)

    @property
    def is_held(self) -> bool:
        """Whether its boots are not stored yet, so that it must not speak SNMPv3 (RFC 3414 section 2.2)."""
        return self.boots == 0

    def time(self, now: float) -> int:
        """snmpEngineTime: whole seconds since the engine started; `now` is on the same clock as `started`."""
        return min(max(int(now - self.started), 0), _MAX_TIME)
