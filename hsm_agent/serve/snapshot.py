"""The present state, copied at one moment on the event loop's thread and formatted on another.

To format the state of a large agent takes longer than its event loop may be held up. Nothing is evaluated here.

The status of a token and of its PINs, and its values in tables, are the same for SNMP and for the status document. The
numbers are those of HsmTokenStatus and HsmPinStatus in the MIB; the document has the names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.evaluate.rules import PRESENCE
from hsm_agent.model import KnownObject, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from hsm_agent.evaluate.state import HistoryKey, Silence
    from hsm_agent.evaluate.trends import Points
    from hsm_agent.model import ActiveAlarm, GroupStatus, Labels, SinkStatus, SourceStatus
    from hsm_agent.spool import SpoolStats
    from hsm_agent.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The present at one moment. `now` is UTC seconds, `monotonic` the same moment on the monotonic clock."""

    agent_name: str
    started: float
    configured: float
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
    known: Sequence[KnownObject] = ()
    """What was there before the start, and of which no complete poll has said yet whether it still is."""
    group: GroupStatus | None = None
    """None where the agent is in no group."""


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
        configured=store.configured,
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
        known=tuple(each for of_source in store.known.values() for each in of_source.values()),
        group=store.group,
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
_TOKEN_METRICS = frozenset({PRESENCE, "token_activated", *(value.metric for value in TOKEN_VALUES)})
_AUDIT_METRICS = frozenset(
    {
        "audit_records",
        "audit_capacity_records",
        "audit_used_percent",
        "audit_seconds_to_full",
        "trail_chain_intact",
        "trail_events_total",
    }
)


def is_token(resource: str, metrics: Collection[str]) -> bool:
    """Whether what has these metrics is a token or a partition: appliances do not tell of the latter's presence."""
    return bool(resource) and not _TOKEN_METRICS.isdisjoint(metrics)


def is_audited(metrics: Collection[str]) -> bool:
    """Whether what has these metrics has an audit store, or is a trail."""
    return not _AUDIT_METRICS.isdisjoint(metrics)


def objects_of(readings: Iterable[Reading]) -> dict[tuple[str, str], KnownObject]:
    """The tokens and audit stores among readings, by source and resource."""
    found: dict[tuple[str, str], dict[str, Reading]] = {}
    for reading in readings:
        found.setdefault((reading.source, reading.resource), {}).setdefault(reading.metric, reading)
    objects = {}
    for (source, resource), metrics in found.items():
        identity = metrics["token_info"].labels if "token_info" in metrics else ()
        one = KnownObject(
            source=source,
            resource=resource,
            identity=identity if is_token(resource, metrics) else None,
            is_audited=is_audited(metrics),
        )
        if one.identity is not None or one.is_audited:
            objects[source, resource] = one
    return objects


def unread_info(one: KnownObject) -> Reading:
    """What stands for the `token_info` of a token that was not read since the start: its names, and no value."""
    return Reading(
        source=one.source, resource=one.resource, metric="token_info", value=None, time=0.0, labels=one.identity or ()
    )


def token_status(value: Callable[[str], float | int | None], metrics: Collection[str], *, is_down: bool) -> TokenStatus:
    """`value` gives the reading of a metric, which is among `metrics` where there is one, with a value or without."""
    if is_down:
        return TokenStatus.UNKNOWN
    present = value(PRESENCE)
    if present == 0:
        return TokenStatus.ABSENT
    if value("token_initialized") == 0:
        return TokenStatus.UNINITIALIZED
    if PRESENCE not in metrics and "token_initialized" not in metrics:
        # A partition of an appliance: it is there if it is told of.
        told = any(value(metric) is not None for metric in _TOKEN_METRICS.intersection(metrics))
        return TokenStatus.PRESENT if told else TokenStatus.UNKNOWN
    info_is_missing = "token_info" in metrics and value("token_info") is None
    return TokenStatus.FAILED if present is None or info_is_missing else TokenStatus.PRESENT


def pin_status(value: Callable[[str], float | int | None], pin: str) -> PinStatus:
    """The worst flag of `token_pin` or `token_so_pin`."""
    flags = {status: value(f"{pin}_{status.name.lower()}") for status in _WORST_FIRST}
    if all(flag is None for flag in flags.values()):
        return PinStatus.UNKNOWN
    return next((status for status, flag in flags.items() if flag), PinStatus.OK)
