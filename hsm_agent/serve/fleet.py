"""The fleet as rows, one for each agent, made of the readings of the sources `kind: fleet`. Pure.

What is not known is null: of an agent that is silent nothing but its identity and its silence is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.model import Severity
from hsm_agent.text import harmless

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from hsm_agent.model import Reading
    from hsm_agent.serve.status import Json

KIND = "fleet"
_UP, _ALARMS, _INFO = "fleet_agent_up", "fleet_alarms", "fleet_agent_info"
_IDENTITY = ("site", "version", "started")
_WORST_FIRST = {"silent": 0, "missing": 0, "unknown": 1, "up": 2}


def fleet_rows(readings: Iterable[Reading], *, down: Collection[str] = ()) -> list[dict[str, Json]]:
    """A row for each agent: those that are not up first, then those with the worst alarms, then by name.

    What was read last by the sources that are `down` may be otherwise by now, and is unknown.
    """
    by_agent: dict[tuple[str, str], list[Reading]] = {}
    for reading in readings:
        if reading.metric.startswith("fleet_") and reading.resource:
            shown = _unknown(reading) if reading.source in down and reading.metric != _INFO else reading
            by_agent.setdefault((reading.source, reading.resource), []).append(shown)
    rows = [_row(source, agent, found) for (source, agent), found in by_agent.items()]
    return [row for _, row in sorted(rows, key=lambda each: each[0])]


def _unknown(reading: Reading) -> Reading:
    return replace(reading, value=None, reason="its source is down", note="")


def _row(source: str, agent: str, readings: Iterable[Reading]) -> tuple[tuple[object, ...], dict[str, Json]]:
    """What the row is sorted by, and the row."""
    plain = {reading.metric: reading for reading in readings if reading.metric != _ALARMS}
    alarms = {dict(each.labels).get("severity", ""): each for each in readings if each.metric == _ALARMS}
    counts: dict[str, float | int | None] = {
        severity.value: alarms[severity.value].value for severity in _by_rank() if severity.value in alarms
    }
    state = _state(plain)
    down = plain.get("fleet_sources_down")
    row: dict[str, Json] = {"source": source, "agent": harmless(agent), "state": state}
    row |= _identity(plain)
    row["silent_seconds"] = _value(plain, "fleet_agent_silent_seconds")
    row["clock_offset_seconds"] = _value(plain, "fleet_clock_offset_seconds")
    row["alarms"] = {**counts}
    row["worst"] = harmless(next((alarms[name].note for name in counts if alarms[name].note), ""))
    row["sources_down"] = None if down is None else down.value
    row["down"] = "" if down is None else harmless(down.note)
    row["remark"] = _remark(plain)
    return (_WORST_FIRST[state], [-(count or 0) for count in counts.values()], source, agent), row


def _by_rank() -> list[Severity]:
    return sorted(Severity, key=lambda severity: -severity.rank)


def _state(readings: Mapping[str, Reading]) -> str:
    up = _value(readings, _UP)
    if up is None:
        return "unknown"
    if up:
        return "up"
    return "missing" if _value(readings, "fleet_agent_silent_seconds") is None else "silent"


def _identity(readings: Mapping[str, Reading]) -> dict[str, Json]:
    labels = dict(readings[_INFO].labels) if _INFO in readings else {}
    return {name: harmless(labels[name]) if name in labels else None for name in _IDENTITY}


def _remark(readings: Mapping[str, Reading]) -> str:
    up = readings.get(_UP)
    return "" if up is None else harmless(up.note or up.reason)


def _value(readings: Mapping[str, Reading], metric: str) -> float | int | None:
    return readings[metric].value if metric in readings else None
