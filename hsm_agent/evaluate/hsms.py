"""Readings of an HSM as a whole, once for each HSM, although each of its partitions yields them.

The configuration (`hsms`) names the partitions of an HSM, or the source does where it knows (`Reading.hsm`).
Nothing here is stored: after a restart the first polls bring it back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import PRESENCE
from hsm_agent.metrics import METRICS
from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from hsm_agent.model import Reading, Series

ObjectKey = tuple[str, str]
"""Source and resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Readings with those of each HSM once; `moved` are objects whose readings of the HSM bear its name from now on."""

    readings: tuple[Reading, ...]
    moved: Mapping[ObjectKey, str]


def is_of_hsm(metric: str) -> bool:
    """Whether a metric is about the HSM as a whole and not about one partition."""
    return metric in METRICS and METRICS[metric].of_hsm


class Hsms:
    """The HSMs that are known by name, and the last readings of each of their partitions."""

    def __init__(self, globs: Mapping[str, Iterable[str]] | None = None) -> None:
        """`globs` are the configuration's: by an HSM's name, which SOURCE/RESOURCE are on it."""
        self.globs = {name: tuple(each) for name, each in (globs or {}).items()}
        self._readings: dict[Series, dict[str, Reading]] = {}
        self.present: dict[ObjectKey, dict[str, bool]] = {}
        """By source and HSM: the partitions that were read, and whether each was present the last time."""
        self._names: dict[tuple[str, str, str], str] = {}
        self._moved: set[ObjectKey] = set()
        """Partitions whose readings of the HSM bear its name already."""

    @property
    def moved(self) -> Collection[ObjectKey]:
        """Partitions whose readings of the HSM bear its name."""
        return self._moved

    def name_of(self, reading: Reading) -> str:
        """The HSM that a reading's object is on; empty where it is not known."""
        key = (reading.source, reading.resource, reading.hsm)
        if key not in self._names:
            place = f"{reading.source}/{reading.resource}"
            found = (name for name, globs in self.globs.items() if any(glob_matches(place, glob) for glob in globs))
            self._names[key] = next(found, reading.hsm)
        return self._names[key]

    def sharing(self) -> dict[str, set[str]]:
        """By name, the sources that read an HSM; only where they are several."""
        found: dict[str, set[str]] = {}
        for source, name in self.present:
            found.setdefault(name, set()).add(source)
        return {name: sources for name, sources in found.items() if len(sources) > 1}

    def gone(self) -> set[ObjectKey]:
        """HSMs, by source, of which every partition that was watched is gone."""
        return {place for place, seen in self.present.items() if seen and not any(seen.values())}

    def shared(self, readings: Iterable[Reading]) -> Shared:
        """The readings of a poll, those of a whole HSM under its name and once."""
        found: list[Reading] = []
        of_hsms: dict[Series, None] = {}
        moved: dict[ObjectKey, str] = {}
        for reading in readings:
            name = self.name_of(reading)
            seen = self.present.setdefault((reading.source, name), {}) if name else {}
            if reading.metric == PRESENCE and reading.value is not None:
                seen[reading.resource] = reading.value != 0
            # Readings about the partition itself, and of an HSM that is read under its own name, stay as they are.
            if not name or name == reading.resource or not is_of_hsm(reading.metric):
                found.append(reading)
                continue
            series = replace(reading, resource=name).series
            self._readings.setdefault(series, {})[reading.resource] = reading
            of_hsms[series] = None
            # Only now it is known that the partition is on this HSM: the caller ends the series under the old name.
            if (reading.source, reading.resource) not in self._moved:
                moved[reading.source, reading.resource] = name
        self._moved.update(moved)
        chosen = (replace(_chosen(self._readings[series].values()), resource=series[1]) for series in of_hsms)
        return Shared(readings=(*found, *chosen), moved=moved)

    def forget(self, source: str, resource: str) -> list[ObjectKey]:
        """Forget an object that is gone for good; returns the HSMs of which no partition is read any more."""
        for series in [series for series in self._readings if series[0] == source]:
            self._readings[series].pop(resource, None)
            if not self._readings[series]:
                del self._readings[series]
        left = {series[:2] for series in self._readings}  # still read by way of another partition
        emptied = []
        for place, seen in self.present.items():
            if place[0] == source and seen.pop(resource, None) is not None and not seen and place not in left:
                emptied.append(place)
        for place in emptied:
            del self.present[place]
        return emptied


def _chosen(readings: Iterable[Reading]) -> Reading:
    """The reading that counts: one with a value; the worst where the metric has one, else the latest."""
    known = sorted(readings, key=lambda reading: reading.time)
    valued = [reading for reading in known if reading.value is not None]
    if not valued:
        return known[-1]
    worst = METRICS[valued[0].metric].worst
    if not worst:
        return valued[-1]
    pick = max if worst == "highest" else min
    # Reversed, so that of equal values the latest reading counts, with its note.
    return pick(reversed(valued), key=lambda reading: reading.value if reading.value is not None else 0.0)
