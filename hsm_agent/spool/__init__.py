"""What is still to be told (disk): events and the alarm states that caused them, in one transaction."""

from hsm_agent.spool.records import (
    DeadLetter,
    Entry,
    Registered,
    SinkQueue,
    SinkSpec,
    SpoolEntry,
    SpoolError,
    SpoolStats,
    Waiting,
)
from hsm_agent.spool.spool import Spool

__all__ = [
    "DeadLetter",
    "Entry",
    "Registered",
    "SinkQueue",
    "SinkSpec",
    "Spool",
    "SpoolEntry",
    "SpoolError",
    "SpoolStats",
    "Waiting",
]
