"""The identity of the agent's SNMP engine (RFC 3411 section 5, RFC 3414 section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Engine ID, boots, and the start of the engine on the monotonic clock.

    `engine_id` is 5 to 32 octets and kept for ever; `boots` was raised and stored before the first packet.
    """

    engine_id: bytes
    boots: int
    started: float

    def time(self, now: float) -> int:
        """snmpEngineTime: whole seconds since the engine started; `now` is on the same clock as `started`."""
        return int(now - self.started)
