"""SNMP engines (RFC 3411 section 5): the identity of our own, what it counts, and the clocks of the others."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

MAX_BOOTS = 2**31 - 1
"""Boots that have reached this stay there, and the engine refuses authenticated messages (RFC 3414 section 2.2.2)."""
TIME_WINDOW_SECONDS = 150  # RFC 3414 section 2.2.3
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
    that could not be done yet, and no SNMPv3 message may be sent or accepted in the name of this engine.
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


_SNMP = (1, 3, 6, 1, 2, 1, 11)
_MPD_STATS = (1, 3, 6, 1, 6, 3, 11, 2, 1)
_TARGET_OBJECTS = (1, 3, 6, 1, 6, 3, 12, 1)
_USM_STATS = (1, 3, 6, 1, 6, 3, 15, 1, 1)


class Count(Enum):
    """A Counter32 of RFC 3418, RFC 3412, RFC 3413 or RFC 3414; the value is the OID of its instance."""

    IN_PKTS = (*_SNMP, 1, 0)
    IN_BAD_VERSIONS = (*_SNMP, 3, 0)
    IN_BAD_COMMUNITY_NAMES = (*_SNMP, 4, 0)
    IN_BAD_COMMUNITY_USES = (*_SNMP, 5, 0)
    IN_ASN_PARSE_ERRS = (*_SNMP, 6, 0)
    SILENT_DROPS = (*_SNMP, 31, 0)
    PROXY_DROPS = (*_SNMP, 32, 0)
    UNKNOWN_SECURITY_MODELS = (*_MPD_STATS, 1, 0)
    INVALID_MSGS = (*_MPD_STATS, 2, 0)
    UNKNOWN_PDU_HANDLERS = (*_MPD_STATS, 3, 0)
    UNAVAILABLE_CONTEXTS = (*_TARGET_OBJECTS, 4, 0)
    UNKNOWN_CONTEXTS = (*_TARGET_OBJECTS, 5, 0)
    UNSUPPORTED_SEC_LEVELS = (*_USM_STATS, 1, 0)
    NOT_IN_TIME_WINDOWS = (*_USM_STATS, 2, 0)
    UNKNOWN_USER_NAMES = (*_USM_STATS, 3, 0)
    UNKNOWN_ENGINE_IDS = (*_USM_STATS, 4, 0)
    WRONG_DIGESTS = (*_USM_STATS, 5, 0)
    DECRYPTION_ERRORS = (*_USM_STATS, 6, 0)

    def __init__(self, *oid: int) -> None:
        self.oid: Oid = oid


class Counters:
    """The counts since the engine started; kept when the configuration changes."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Count, 0)

    def add(self, cause: Count) -> int:
        """One more; the new count."""
        count = self._counts[cause] + 1
        self._counts[cause] = count
        return count

    def __getitem__(self, cause: Count) -> int:
        """The count now."""
        return self._counts[cause]


@dataclass(slots=True, kw_only=True)
class RemoteClock:
    """Boots and time in the local configuration datastore of RFC 3414 section 2.3, for an engine not our own.

    `learnt` is on our monotonic clock.
    """

    boots: int = 0
    time: int = 0
    latest_received: int = 0
    learnt: float = 0.0
    authentic: bool = False

    def time_at(self, now: float) -> int:
        """The engine's time now, as we reckon it."""
        return min(self.time + int(now - self.learnt), _MAX_TIME)

    def learn(self, boots: int, time: int, now: float) -> bool:
        """Take over boots and time of an authentic message, if they are newer (RFC 3414 section 3.2 (7) b 1)."""
        # Compared with the latest time received, not with the time as reckoned now: else a clock of the peer that runs
        # slow would never be followed. A replayed message is not newer than that, so it sets nothing back.
        if self.authentic and (boots, time) <= (self.boots, self.latest_received):
            return False
        self.boots, self.time, self.latest_received = boots, time, time
        self.learnt = now
        self.authentic = True
        return True

    def is_late(self, boots: int, time: int, now: float) -> bool:
        """Whether a message lies outside the time window (RFC 3414 section 3.2 (7) b 2)."""
        # Only the past is refused: what lies in the future was taken over by `learn` before, and is not late any more.
        if self.boots >= MAX_BOOTS or boots < self.boots:
            return True
        return boots == self.boots and time < self.time_at(now) - TIME_WINDOW_SECONDS
