"""The present state, copied at one moment on the event loop's thread and formatted on another.

To format the state of a large agent takes longer than its event loop may be held up. Nothing is evaluated here.

The status of a token and of its PINs, and its values in tables, are the same for SNMP and for the status document. The
numbers are those of HsmTokenStatus and HsmPinStatus in the MIB; the document has the names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hsm_agent.evaluate.state import HistoryKey, Silence
    from hsm_agent.evaluate.trends import Points
    from hsm_agent.model import ActiveAlarm, Labels, Reading, SinkStatus, SourceStatus
    from hsm_agent.spool import SpoolStats
    from hsm_agent.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The present at one moment. `now` is UTC seconds, `monotonic` the same moment on the monotonic clock."""

    agent_name: str
    started: float
    now: float
    monotonic: float
    polls: int
    labels: Mapping[str, Labels]
    readings: Sequence[Reading]
    sources: Mapping[str, SourceStatus]
    sinks: Mapping[str, SinkStatus]
    alarms: Sequence[ActiveAlarm]
    silences: Sequence[Silence]
    spool: SpoolStats
    histories: Mapping[HistoryKey, Points] = field(default_factory=dict)
    """What the rules keep of the past; nothing else does."""


def snapshot(
    store: Store,
    *,
    spool: SpoolStats,
    silences: Iterable[Silence],
    now: float,
    monotonic: float,
    histories: Mapping[HistoryKey, Points] | None = None,
) -> Snapshot:
    """Copy the present. To be called on the event loop's thread; takes a millisecond for ten thousand readings."""
    return Snapshot(
        agent_name=store.agent_name,
        started=store.started,
        now=now,
        monotonic=monotonic,
        polls=store.polls,
        labels=dict(store.labels),
        readings=tuple(store.readings()),
        sources=dict(store.sources),
        sinks=dict(store.sinks),
        alarms=tuple(store.alarms.values()),
        silences=tuple(silences),
        spool=spool,
        histories=dict(histories or {}),
    )


def missing(store: Store, names: Iterable[str]) -> list[str]:
    """What start-up still waits for, a line each: the sources that were not polled yet, successfully or not."""
    return [
        f"source {name}: not polled yet"
        for name in names
        if name not in store.sources or store.sources[name].last_poll_seconds is None
    ]


def value_now(reading: Reading, present: Snapshot) -> float | int | None:
    """The reading's value; of an age, what it is at this moment rather than what it was at the last poll."""
    if reading.metric != "source_age_seconds" or reading.value is None:
        return reading.value
    source = present.sources.get(reading.source)
    if source is not None and source.last_success is not None:
        return max(0.0, present.monotonic - source.last_success)
    return reading.value + max(0.0, present.now - reading.time)


class TokenValue(NamedTuple):
    """A metric of tokens that tables show; `member` is its name in the status document, empty where it has none."""

    metric: str
    member: str = ""


TOKEN_VALUES = (
    TokenValue("token_memory_private_total_bytes"),
    TokenValue("token_memory_private_free_bytes"),
    TokenValue("token_memory_private_used_percent", "memory_used_percent"),
    TokenValue("token_memory_public_total_bytes"),
    TokenValue("token_memory_public_free_bytes"),
    TokenValue("token_memory_public_used_percent"),
    TokenValue("token_sessions", "sessions"),
    TokenValue("token_sessions_max", "sessions_max"),
    TokenValue("token_sessions_used_percent", "sessions_used_percent"),
    TokenValue("token_rw_sessions"),
    TokenValue("token_rw_sessions_max"),
    TokenValue("token_objects"),
    TokenValue("token_storage_total_bytes"),
    TokenValue("token_storage_used_bytes"),
    TokenValue("token_storage_used_percent", "storage_used_percent"),
)
"""In the order of the columns of the MIB's token table."""


class TokenStatus(Enum):
    """Of a token; unknown while its source is down."""

    UNKNOWN = 1
    PRESENT = 2
    ABSENT = 3
    UNINITIALIZED = 4
    FAILED = 5


class PinStatus(Enum):
    """Of the user's or the security officer's PIN."""

    UNKNOWN = 1
    OK = 2
    COUNT_LOW = 3
    FINAL_TRY = 4
    LOCKED = 5


_WORST_FIRST = (PinStatus.LOCKED, PinStatus.FINAL_TRY, PinStatus.COUNT_LOW)


def token_status(
    value: Callable[[str], float | int | None], *, is_down: bool, info_is_missing: bool = False
) -> TokenStatus:
    """`value` gives the reading of a metric; `info_is_missing`: the token's information could not be read."""
    if is_down:
        return TokenStatus.UNKNOWN
    present = value("token_present")
    if present == 0:
        return TokenStatus.ABSENT
    if value("token_initialized") == 0:
        return TokenStatus.UNINITIALIZED
    return TokenStatus.FAILED if present is None or info_is_missing else TokenStatus.PRESENT


def pin_status(value: Callable[[str], float | int | None], pin: str) -> PinStatus:
    """The worst flag of `token_pin` or `token_so_pin`."""
    flags = {status: value(f"{pin}_{status.name.lower()}") for status in _WORST_FIRST}
    if all(flag is None for flag in flags.values()):
        return PinStatus.UNKNOWN
    return next((status for status, flag in flags.items() if flag), PinStatus.OK)
