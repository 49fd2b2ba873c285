"""The readings of a fleet: of each agent the same series, whatever is known of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.evaluate.messages import duration_text
from hsm_agent.model import Reading
from hsm_agent.wire.agent_report import SEVERITIES
from hsm_agent.wire.event_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hsm_agent.collect.fleet.sightings import Look, Sighting
    from hsm_agent.model import Labels, Severity
    from hsm_agent.wire.agent_report import AgentReport

UP, SILENT, ALARMS, DOWN = "fleet_agent_up", "fleet_agent_silent_seconds", "fleet_alarms", "fleet_sources_down"
OFFSET, INFO = "fleet_clock_offset_seconds", "fleet_agent_info"
METRICS = (UP, SILENT, ALARMS, DOWN, OFFSET, INFO)
NEVER = "nothing is published under its name"
NOT_YET = f"{NEVER}, but it may not have had the time"
_OFFSET_UNKNOWN = "not known before it has published between two polls"


class _Writer:
    """Readings of one agent at one time."""

    def __init__(self, source: str, agent: str, time: float) -> None:
        self._source = source
        self._agent = agent
        self._time = time

    def reading(
        self,
        metric: str,
        value: float | None,
        *,
        reason: str = "",
        labels: Labels = (),
        note: str = "",
        limit: float | None = None,
    ) -> Reading:
        return Reading(
            source=self._source,
            resource=self._agent,
            metric=metric,
            value=value,
            time=self._time,
            reason=reason if value is None else "",
            labels=labels,
            note=note,
            limit=limit,
        )


def readings_of(
    source: str, agent: str, sighting: Sighting, look: Look, silent_after: float | None
) -> Iterator[Reading]:
    """The readings of an agent that has a report, or something in its place."""
    writer = _Writer(source, agent, look.wall)
    write = writer.reading
    silent = sighting.silent_seconds(look.monotonic)
    lasting = duration_text(silent)
    reason, note = sighting.trouble, ""
    if sighting.is_silent:
        reason, up, note = f"silent for {lasting}", 0, _last_word(sighting, lasting)
    elif sighting.is_silent is None:
        reason, up = f"last published {lasting} ago, but etcd was not read all that time", None
    else:
        up = 1 if sighting.report is not None else None
        note = sighting.report.problem if sighting.report is not None else ""
    report = sighting.report if up else None
    yield write(UP, up, reason=reason, note=note)
    yield write(SILENT, silent, limit=sighting.patience_seconds(silent_after))
    yield from _reported(writer, report, reason)
    yield write(OFFSET, sighting.offset_seconds, reason=_OFFSET_UNKNOWN)
    if sighting.report is not None:
        yield write(INFO, 1, labels=_identity(sighting.report))


def missing_readings(source: str, agent: str, look: Look, *, is_missing: bool = True) -> Iterator[Reading]:
    """The readings of an agent that is expected, and of which there is nothing; perhaps not yet."""
    writer = _Writer(source, agent, look.wall)
    yield writer.reading(UP, 0 if is_missing else None, reason=NOT_YET, note=NEVER if is_missing else "")
    yield writer.reading(SILENT, None, reason=NEVER)
    yield from _reported(writer, None, NEVER)
    yield writer.reading(OFFSET, None, reason=NEVER)


def _reported(writer: _Writer, report: AgentReport | None, reason: str) -> Iterator[Reading]:
    """What the agent says of itself: nothing while it is silent, since it may be otherwise by now."""
    for severity in SEVERITIES:
        count = None if report is None else report.alarms[severity]
        note = "" if report is None else _worst(report, severity)
        yield writer.reading(ALARMS, count, reason=reason, labels=(("severity", severity.value),), note=note)
    down = None if report is None else report.sources_down
    yield writer.reading(DOWN, down, reason=reason, note=", ".join(report.down) if report is not None else "")


def _last_word(sighting: Sighting, lasting: str) -> str:
    if sighting.report is None:
        return f"silent for {lasting}, and its last report cannot be read: {sighting.trouble}"
    return f"silent for {lasting}, its last report says {rfc3339(round(sighting.report.time))[:19]}Z"


def _worst(report: AgentReport, severity: Severity) -> str:
    return next((f"{each.rule} {each.place}: {each.text}" for each in report.worst if each.severity is severity), "")


def _identity(report: AgentReport) -> Labels:
    started = rfc3339(round(report.started))[:19]
    return (("site", report.site), ("started", f"{started}Z"), ("version", report.version))
