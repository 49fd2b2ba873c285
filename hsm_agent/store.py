"""The latest readings, and the states of sources, alarms and sinks, in memory; the servers answer from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hsm_agent.model import ActiveAlarm, GroupStatus, KnownObject, Labels, Reading, Series, SinkStatus, SourceStatus


class Store:
    """The latest state. All methods are for the event loop's thread; nothing here waits.

    `versions` counts up for a source whenever any of its readings was replaced or dropped, so that who looks now and
    then looks only at what changed.
    """

    def __init__(self, *, agent_name: str, started: float, labels: Mapping[str, Labels]) -> None:
        """`started` is UTC seconds; `labels` are the configured labels by source (the agent's own included)."""
        self.agent_name = agent_name
        self.started = started
        self.configured = started
        """When the configuration that is in force was loaded, UTC seconds."""
        self.labels: Mapping[str, Labels] = labels
        self.polls = 0
        self.dropped_events = 0
        self.versions: dict[str, int] = {}
        self.sources: dict[str, SourceStatus] = {}
        self.sinks: dict[str, SinkStatus] = {}
        self.alarms: dict[tuple[str, Series], ActiveAlarm] = {}
        self.group: GroupStatus | None = None
        """None where the agent is in no group."""
        self.known: dict[str, dict[str, KnownObject]] = {}
        """By source and resource: what was there before the start, until a complete poll says what is there now."""
        self._readings: dict[str, dict[Series, Reading]] = {}

    def update(self, readings: Iterable[Reading]) -> None:
        """Store readings; each replaces the one of the same series."""
        touched = set()
        for reading in readings:
            self._readings.setdefault(reading.source, {})[reading.series] = reading
            touched.add(reading.source)
        for source in touched:
            self.versions[source] = self.versions.get(source, 0) + 1

    def forget(self, series: Series) -> None:
        """Drop the reading of a series that will not be read again."""
        if self._readings.get(series[0], {}).pop(series, None) is not None:
            self.versions[series[0]] = self.versions.get(series[0], 0) + 1

    def forget_resource(self, source: str, resource: str) -> None:
        """Drop the readings of an object that was removed, or is read under another name."""
        if self.known.get(source, {}).pop(resource, None) is not None:
            self.versions[source] = self.versions.get(source, 0) + 1
        for series in [series for series in self._readings.get(source, {}) if series[1] == resource]:
            self.forget(series)

    def forget_source(self, source: str) -> None:
        """Drop everything about a source that left the configuration."""
        self.known.pop(source, None)
        self._readings.pop(source, None)
        self.sources.pop(source, None)
        self.versions[source] = self.versions.get(source, 0) + 1

    def of_source(self, source: str) -> Mapping[Series, Reading]:
        """Readings of one source, by series, in order of first appearance."""
        return self._readings.get(source, {})

    def readings(self) -> Iterable[Reading]:
        """All readings, source by source."""
        for of_source in self._readings.values():
            yield from of_source.values()

    def reading(self, source: str, resource: str, metric: str) -> Reading | None:
        """The reading of a series without labels, or the first with any."""
        for series, reading in self._readings.get(source, {}).items():
            if series[1] == resource and series[2] == metric:
                return reading
        return None

    def set_sink(self, status: SinkStatus) -> None:
        """Replace the status of one sink."""
        self.sinks[status.name] = status

    def set_alarms(self, alarms: Mapping[tuple[str, Series], ActiveAlarm]) -> None:
        """Replace the raised alarms, keyed by rule and series."""
        self.alarms = dict(alarms)
