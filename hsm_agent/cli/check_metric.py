"""`hsm-agent check --metric`: a reading of the running agent, judged by the ranges given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hsm_agent.agent.control_client import ControlError, ask
from hsm_agent.cli.nagios import Answer, Range, judge, line, perfdata, unknown
from hsm_agent.metrics import unit
from hsm_agent.model import number_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

_UNITS = {"percent": "%", "bytes": "B", "seconds": "s"}
_MOST_PLACES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuestion:
    """What a reading of the running agent is now. `metric` may be its Prometheus name, `labels` as at `/metrics`."""

    control: Path
    metric: str
    source: str
    resource: str
    labels: Mapping[str, str] = field(default_factory=dict)
    warning: Range | None
    critical: Range | None
    timeout_seconds: float


def check_metric(question: MetricQuestion) -> Answer:
    """Ask the running agent for one reading and judge it by the ranges given."""
    try:
        answer = ask(
            question.control,
            "reading",
            timeout_seconds=question.timeout_seconds,
            metric=question.metric,
            source=question.source,
            resource=question.resource,
            labels=dict(question.labels),
        )
    except ControlError as error:
        return unknown(str(error))
    found: list[dict[str, Any]] = answer["readings"]
    labels = ",".join(f"{name}={value}" for name, value in question.labels.items())
    words = (question.source, question.resource, question.metric, labels)
    name = " ".join(each for each in words if each not in {"", "*"})
    if not found:
        return unknown(f"{name}: the agent has no such reading{_meant(answer, question)}")
    if len(found) > 1:
        return unknown(f"{name}: {len(found)} readings, say which: {_places(found)}")
    reading = found[0]
    if reading["value"] is None:
        return unknown(f"{name}: unavailable: {reading['reason']}")
    value = float(reading["value"])
    state = judge(value, question.warning, question.critical)
    metric = reading["metric"]
    word = unit(metric)
    text = f"{reading['source']} {reading['resource']}: {metric} {number_text(value)} {word}".rstrip()
    if value == float("inf"):
        return Answer(state=state, line=line(state, text))  # performance data has no word for it
    data = perfdata(
        metric, number_text(value), _UNITS.get(word, ""), str(question.warning or ""),
        str(question.critical or ""),
    )  # fmt: skip
    return Answer(state=state, line=line(state, text, data))


def _meant(answer: Mapping[str, Any], question: MetricQuestion) -> str:
    """Where there are readings of that metric; of which metrics, where there are none."""
    if elsewhere := answer.get("elsewhere"):
        return f"; of that metric there is {_places(elsewhere, question.labels)}"
    return f", did you mean {' or '.join(near)}?" if (near := answer.get("near")) else ""


def _places(found: list[dict[str, Any]], asked: Collection[str] = ()) -> str:
    """What tells these readings apart: source and resource, and the labels in which they differ or that were asked."""
    names = sorted({name for each in found for name in each["labels"]})
    varying = [name for name in names if asked or len({each["labels"].get(name) for each in found}) > 1]
    places = set()
    for each in found:
        labels = [f"{name}={each['labels'].get(name, '')}" for name in varying]
        places.add(" ".join([f"{each['source']}/{each['resource']}", *labels]))
    return ", ".join(sorted(places)[:_MOST_PLACES]) + (" …" if len(places) > _MOST_PLACES else "")
