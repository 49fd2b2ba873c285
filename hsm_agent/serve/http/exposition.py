"""`/metrics`: a snapshot as Prometheus and OpenMetrics families, named and labelled as the contract says.

Pull style: families are made from the present at each scrape; there is no registry and no state to forget.
It must not invent a value: what is unavailable is absent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prometheus_client import exposition as plain
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from hsm_agent.metrics import METRICS
from hsm_agent.serve.http.negotiation import offers, preference
from hsm_agent.serve.snapshot import value_now
from hsm_agent.text import harmless
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hsm_agent.model import ActiveAlarm, Labels, Reading
    from hsm_agent.serve.snapshot import Snapshot

PREFIX = "hsm_"
ALARM_HELP = "An alarm that is raised now; 1 as long as it lasts."
BUILD_HELP = "Version of the agent."

_NOT_IN_A_LABEL_NAME = re.compile(r"[^a-zA-Z0-9_]")
_NAMED = 3
"""How exact a media type is that was named and not matched by a wildcard."""
_Labels = dict[str, str]


def exposition(present: Snapshot, accept: str) -> tuple[bytes, str]:
    """The answer to a scrape and its content type, in the format the Accept header asks for."""
    made = _Families(present)
    if _wants_openmetrics(accept):
        body: bytes = openmetrics.generate_latest(made)  # type: ignore[no-untyped-call]  # the library is half typed
        return body, openmetrics.CONTENT_TYPE_LATEST
    return plain.generate_latest(made), plain.CONTENT_TYPE_PLAIN_0_0_4


def _wants_openmetrics(accept: str) -> bool:
    """Whether it is wanted more than the plain text, or as much and by its name.

    Where neither is acceptable the text is sent: RFC 9110 section 12.5.1 leaves that to the server, and an answer that
    people can read is of more use than 406.
    """
    # Not prometheus_client's choose_encoder(): a version that is no number makes it raise.
    found = offers(accept)
    wanted = preference(found, "application/openmetrics-text", "1.0.0")
    text = preference(found, "text/plain", "0.0.4")
    return wanted.quality > text.quality or (0 < wanted.quality == text.quality and wanted.exactness >= _NAMED)


class _Families(Collector):
    def __init__(self, present: Snapshot) -> None:
        self._present = present

    def collect(self) -> Iterator[Metric]:
        return iter(families(self._present))


def families(present: Snapshot) -> list[Metric]:
    """All families, sorted by name; in each, no two samples of the same labels."""
    made = [_build_info(), *_alarms(present), *_readings(present)]
    return sorted(made, key=lambda family: family.name)


def exposed_name(metric: str) -> str:
    """The Prometheus name of a metric: prefixed with `hsm_`, unless it is there already."""
    return metric if metric.startswith(PREFIX) else PREFIX + metric


def _readings(present: Snapshot) -> Iterator[Metric]:
    by_metric: dict[str, list[tuple[_Labels, float]]] = {}
    for reading in present.readings:
        value = value_now(reading, present)
        if value is not None:
            by_metric.setdefault(reading.metric, []).append((labels_of(reading, present), value))
    for metric, samples in by_metric.items():
        known = METRICS.get(metric)
        yield _family(exposed_name(metric), known.help if known else f"Reading {metric}.", samples)


def _alarms(present: Snapshot) -> Iterator[Metric]:
    if present.alarms:
        samples = [(_labels_of_alarm(alarm, present), 1.0) for alarm in present.alarms]
        yield _family("hsm_alarm_active", ALARM_HELP, samples)


def _build_info() -> Metric:
    return _family("hsm_agent_build_info", BUILD_HELP, [({"version": VERSION}, 1.0)])


def _family(name: str, text: str, samples: Iterable[tuple[_Labels, float]]) -> Metric:
    family = Metric(name.removesuffix("_total"), text, "counter" if name.endswith("_total") else "gauge")
    last = {_identity(labels): (labels, value) for labels, value in samples}
    for labels, value in last.values():
        family.add_sample(name, labels, value)
    return family


def _identity(labels: _Labels) -> frozenset[tuple[str, str]]:
    # To Prometheus an empty label is no label: series that differ in nothing else are one.
    return frozenset((name, value) for name, value in labels.items() if value)


def labels_of(reading: Reading, present: Snapshot) -> _Labels:
    """The labels of a reading as they are exposed: its own, those configured for its source, source and resource."""
    fixed = {"source": reading.source, "resource": reading.resource}
    return _merge(fixed, reading.labels, present.labels.get(reading.source, ()))


def _labels_of_alarm(alarm: ActiveAlarm, present: Snapshot) -> _Labels:
    source, resource, metric, labels = alarm.series
    fixed = {"source": source, "resource": resource, "metric": metric}
    fixed |= {"rule": alarm.rule, "severity": alarm.severity.value}
    return _merge(fixed, labels, present.labels.get(source, ()))


def _merge(fixed: _Labels, own: Labels, configured: Labels) -> _Labels:
    """What identifies the reading wins over its own labels, and these over what the operator configured."""
    merged = {label_name(name): value for name, value in configured}
    merged |= {label_name(name): value for name, value in own}
    merged |= fixed
    return {name: _shown(value) for name, value in merged.items()}


def label_name(name: str) -> str:
    """A legal label name: other characters become `_`; names that begin with `__` are Prometheus's own."""
    legal = _NOT_IN_A_LABEL_NAME.sub("_", name)
    if legal.startswith("__"):
        legal = "_" + legal.lstrip("_")
    return f"_{legal}" if not legal or legal[0].isdigit() else legal


def _shown(value: str) -> str:
    """Fit to be shown, and to be encoded; the format has an escape for line breaks of its own."""
    return value if value.isprintable() else "\n".join(map(harmless, value.split("\n")))
