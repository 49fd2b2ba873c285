"""What is known of a receiver's engine: its keys, and its boots and time as authentic messages told them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.wire import snmp
from hsm_agent.wire.engine import MAX_BOOTS

if TYPE_CHECKING:
    from hsm_agent.wire.usm import Keys

TIME_WINDOW_SECONDS = 150  # RFC 3414 section 2.2.3
_MAX_TIME = 2**31 - 1


@dataclass(slots=True, kw_only=True)
class Receiver:
    """An entry of the local configuration datastore of RFC 3414 section 2.3, for an engine that is not our own."""

    keys: Keys
    engine_id: bytes
    boots: int = 0
    time: int = 0
    latest_received: int = 0
    learnt: float = 0.0
    authentic: bool = False
    max_size: int = snmp.MIN_MAX_SIZE

    def time_at(self, now: float) -> int:
        """The receiver's time now, as we reckon it."""
        return min(self.time + int(now - self.learnt), _MAX_TIME)

    def learn(self, boots: int, time: int, now: float) -> bool:
        """Take over what an authentic message said, if it is news (RFC 3414 section 3.2 (7) b 1)."""
        if self.authentic and (boots, time) <= (self.boots, self.latest_received):
            return False
        self.boots, self.time, self.latest_received = boots, time, time
        self.learnt = now
        self.authentic = True
        return True

    def is_late(self, boots: int, time: int, now: float) -> bool:
        """Whether a message lies outside the time window (RFC 3414 section 3.2 (7) b 2)."""
        if self.boots >= MAX_BOOTS or boots < self.boots:
            return True
        return boots == self.boots and time < self.time_at(now) - TIME_WINDOW_SECONDS
