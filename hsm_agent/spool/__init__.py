"""Events to be delivered and the alarm states that caused them, committed together: memory first, SQLite follows."""

from hsm_agent.spool.records import (
    DeadLetter,
    PendingEvent,
    Registered,
    SinkQueueStats,
    SinkSpec,
    SpoolEntry,
    SpoolError,
    SpoolStats,
    WaitingSink,
)
from hsm_agent.spool.spool import Spool

__all__ = [
    "DeadLetter",
    "PendingEvent",
    "Registered",
    "SinkQueueStats",
    "SinkSpec",
    "Spool",
    "SpoolEntry",
    "SpoolError",
    "SpoolStats",
    "WaitingSink",
]
