"""What is known of another engine's boots and time, and which of its messages are too old to be believed."""

from __future__ import annotations

from dataclasses import dataclass

from hsm_agent.wire.snmp.engine import MAX_BOOTS

TIME_WINDOW_SECONDS = 150  # RFC 3414 section 2.2.3
_MAX_TIME = 2**31 - 1


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
