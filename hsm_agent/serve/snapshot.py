"""The present, copied in one stroke on the event loop's thread, so that another thread can spell it out.

A large agent takes longer to write down than its event loop may be held up. It must not judge or format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hsm_agent.model import ActiveAlarm, Labels, Reading, SinkStatus, SourceStatus
    from hsm_agent.store import Store


class SpoolFigures(Protocol):
    """What the spool says of itself."""

    @property
    def entries(self) -> int:
        """Events not yet accepted by every sink."""

    @property
    def bytes(self) -> int:
        """Their size."""

    @property
    def used_percent(self) -> float:
        """Used share, by entries or bytes, whichever is more."""

    @property
    def dropped_total(self) -> int:
        """Events dropped because the spool was full."""

    @property
    def failed(self) -> bool:
        """Whether the disk refuses, so that events go out from memory."""

    @property
    def queued(self) -> Mapping[str, int]:
        """Events waiting, by sink."""

    @property
    def dead_letters(self) -> Mapping[str, int]:
        """Events the receiver refused for ever, by sink."""


class SilenceInForce(Protocol):
    """A silence; the patterns are globs, `until` is UTC seconds."""

    @property
    def id(self) -> str:
        """Its name for `silence end`."""

    @property
    def source(self) -> str:
        """Which sources it holds back."""

    @property
    def resource(self) -> str:
        """Which resources."""

    @property
    def rule(self) -> str:
        """Which rules."""

    @property
    def until(self) -> float:
        """When it ends by itself."""

    @property
    def reason(self) -> str:
        """Why it was set."""


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
    sources: Sequence[SourceStatus]
    sinks: Sequence[SinkStatus]
    alarms: Sequence[ActiveAlarm]
    silences: Sequence[SilenceInForce]
    spool: SpoolFigures


def snapshot(
    store: Store, *, spool: SpoolFigures, silences: Iterable[SilenceInForce], now: float, monotonic: float
) -> Snapshot:
    """Copy the present. To be called on the event loop's thread; takes microseconds for a thousand readings."""
    return Snapshot(
        agent_name=store.agent_name,
        started=store.started,
        now=now,
        monotonic=monotonic,
        polls=store.polls,
        labels=dict(store.labels),
        readings=tuple(store.readings()),
        sources=tuple(store.sources.values()),
        sinks=tuple(store.sinks.values()),
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


def current_age(reading: Reading, source: SourceStatus | None, present: Snapshot) -> float | int | None:
    """The reading's value, and for the age of a source the age at this moment rather than at the last poll."""
    if reading.metric != "source_age_seconds" or reading.value is None:
        return reading.value
    if source is not None and source.last_success is not None:
        return max(0.0, present.monotonic - source.last_success)
    return reading.value + max(0.0, present.now - reading.time)
