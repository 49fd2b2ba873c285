"""Events to be delivered and the alarm states that caused them, committed together: memory first, SQLite follows."""

from hsm_agent.spool.entries import DeadLetter, PendingEvent, Registered, SinkQueueStats, SpoolEntry, SpoolStats
from hsm_agent.spool.spool import Spool

__all__ = [
    "DeadLetter",
    "PendingEvent",
    "Registered",
    "SinkQueueStats",
    "Spool",
    "SpoolEntry",
    "SpoolStats",
]
