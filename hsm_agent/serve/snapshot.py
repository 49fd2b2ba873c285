"""The present, copied in one stroke on the event loop's thread, so that another thread can spell it out.

A large agent takes longer to write down than its event loop may be held up. It must not judge or format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hsm_agent.evaluate.state import Silence
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


def snapshot(store: Store, *, spool: SpoolStats, silences: Iterable[Silence], now: float, monotonic: float) -> Snapshot:
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
