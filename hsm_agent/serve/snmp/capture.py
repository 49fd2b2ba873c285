"""What the store held at one moment, taken at once and shown bit by bit; later captures go on top of earlier ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.serve.snmp.rows import worst_severities

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hsm_agent.model import ActiveAlarm, Reading, Series, Severity, SourceStatus
    from hsm_agent.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Sources with their readings, and the alarms; `alarms` is None where they were not asked for.

    `worst` is the worst severity raised on each series, of the same moment as the alarms shown with it.
    """

    sources: Mapping[str, tuple[SourceStatus | None, tuple[Reading, ...]]]
    worst: Mapping[Series, Severity]
    alarms: tuple[ActiveAlarm, ...] | None


def capture(store: Store, sources: Iterable[str], *, alarms: bool, worst: Mapping[Series, Severity]) -> Capture:
    """What the store holds of these sources, and of the alarms if they changed. `worst` is that of the last time."""
    wanted = dict.fromkeys(sources)
    raised = tuple(store.alarms.values()) if alarms else None
    if raised is not None:
        before, worst = worst, worst_severities(raised)
        # A reading shows the severity of its alarms: where that changed, its source is looked at again.
        wanted |= dict.fromkeys(series[0] for series, _severity in before.items() ^ worst.items())
    held = {name: (store.sources.get(name), tuple(store.of_source(name).values())) for name in wanted}
    return Capture(sources=held, worst=worst, alarms=raised)


def merged(older: Capture | None, newer: Capture | None) -> Capture | None:
    """Both as one: of each source and of the alarms, what was taken last."""
    if older is None or newer is None:
        return older or newer
    return Capture(
        sources={**older.sources, **newer.sources},
        worst=newer.worst,
        alarms=older.alarms if newer.alarms is None else newer.alarms,
    )
