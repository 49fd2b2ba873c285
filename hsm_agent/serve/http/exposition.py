"""`/metrics`: a snapshot as Prometheus and OpenMetrics families, named and labelled as docs/prometheus.md says.

Families are made from the snapshot at each scrape; there is no registry and no state to forget. No value is invented:
what is unavailable is absent.

Which of the two formats is sent, and whether as gzip, is content negotiation: media types and content codings with
their quality (RFC 9110 sections 12.4.2 and 12.5). What can't be read in such a header counts as not given.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.metrics import METRICS
from hsm_agent.serve.snapshot import value_now
from hsm_agent.text import glob_matches, harmless
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from hsm_agent.model import ActiveAlarm, Labels, Reading
    from hsm_agent.serve.snapshot import Snapshot

PREFIX = "hsm_"
ALARM_HELP = "An alarm that is raised now; 1 as long as it lasts."
BUILD_HELP = "Version of the agent."

_NOT_IN_A_LABEL_NAME = re.compile(r"[^a-zA-Z0-9_]")
_NAMED = 3
"""How exact a media type is that was named and not matched by a wildcard."""
_MAX_HEADER_CHARACTERS = 8190
_MAX_OFFERS = 100
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_MAX_NEAR_NAMES = 3
_Labels = dict[str, str]


def exposition(present: Snapshot, accept: str) -> tuple[bytes, str]:
    """The answer to a scrape and its content type, in the format the Accept header asks for."""
    # An agent that is not scraped need not hold the library.
    from prometheus_client import exposition as plain  # noqa: PLC0415
    from prometheus_client.openmetrics import exposition as openmetrics  # noqa: PLC0415

    made = _Families(present)
    if _wants_openmetrics(accept):
        # All names are legal as they are. The other ways of escaping look at every letter of every sample's name.
        body: bytes = openmetrics.generate_latest(made, openmetrics.ALLOWUTF8)  # type: ignore[no-untyped-call]  # the library is half typed
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


class _Families:
    """What the library takes for a registry."""

    def __init__(self, present: Snapshot) -> None:
        self._present = present

    def collect(self) -> Iterator[Metric]:
        return iter(families(self._present))


def families(present: Snapshot) -> list[Metric]:
    """All families, sorted by name; in each, no two samples of the same labels."""
    build = _family("hsm_agent_build_info", BUILD_HELP, [({"version": VERSION}, 1.0)])
    return sorted([build, *_alarms(present), *_readings(present)], key=lambda family: family.name)


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


def _family(name: str, text: str, samples: Iterable[tuple[_Labels, float]]) -> Metric:
    from prometheus_client.metrics_core import Metric  # noqa: PLC0415 - as above

    family = Metric(name.removesuffix("_total"), text, "counter" if name.endswith("_total") else "gauge")
    last = {_identity(labels): (labels, value) for labels, value in samples}
    for labels, value in last.values():
        family.add_sample(name, labels, value)
    return family


def _identity(labels: _Labels) -> frozenset[tuple[str, str]]:
    # To Prometheus an empty label is no label: series that differ in nothing else are one.
    return frozenset(filter(itemgetter(1), labels.items()))


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
    merged = {label_name(name): _shown(value) for name, value in (*configured, *own)}
    for name, value in fixed.items():
        merged[name] = _shown(value)
    return merged


@lru_cache(maxsize=1024)
def label_name(name: str) -> str:
    """A legal label name: other characters become `_`; names that begin with `__` are Prometheus's own."""
    legal = _NOT_IN_A_LABEL_NAME.sub("_", name)
    if legal.startswith("__"):
        legal = "_" + legal.lstrip("_")
    return f"_{legal}" if not legal or legal[0].isdigit() else legal


def _shown(value: str) -> str:
    """Fit to be shown, and to be encoded; the format has an escape for line breaks of its own."""
    return value if value.isprintable() else "\n".join(map(harmless, value.split("\n")))


def select(present: Snapshot, metric: str, *, source: str, resource: str, labels: Mapping[str, str]) -> list[Reading]:
    """The readings of a metric; source and resource are globs, labels must be as given."""
    return [
        reading
        for reading in present.readings
        if metric in {reading.metric, exposed_name(reading.metric)}
        and glob_matches(reading.source, source)
        and glob_matches(reading.resource, resource)
        and labels.items() <= labels_of(reading, present).items()
    ]


def near(present: Snapshot, metric: str) -> list[str]:
    """Names of metrics that have readings now and look like this one, the nearest first."""
    known = {reading.metric for reading in present.readings}
    return difflib.get_close_matches(metric, sorted({*known, *map(exposed_name, known)}), n=_MAX_NEAR_NAMES)


class Offer(NamedTuple):
    """One element of the header: in lower case, with its parameters but for `q`."""

    name: str
    parameters: dict[str, str]
    quality: float


def offers(header: str) -> list[Offer]:
    """The elements of an Accept or Accept-Encoding header."""
    found = []
    for element in header[:_MAX_HEADER_CHARACTERS].split(",")[:_MAX_OFFERS]:
        name, *rest = (part.strip() for part in element.split(";"))
        quality = 1.0
        parameters = {}
        for part in rest:
            key, _, value = part.partition("=")
            key, value = key.strip().lower(), value.strip().strip('"')
            if key != "q":
                parameters[key] = value
            elif _QUALITY.fullmatch(value):
                quality = float(value)
        if name:
            found.append(Offer(name.lower(), parameters, quality))
    return found


class Preference(NamedTuple):
    """How much a representation is wanted, and how exactly it was named: 0 not at all, 1 `*/*`, 2 `type/*`, 3, 4."""

    quality: float
    exactness: int


def preference(found: Iterable[Offer], media_type: str, version: str) -> Preference:
    """What the most exact element that matches says of a media type in a version; quality 0 where none does."""
    best = Preference(0.0, 0)
    for offer in found:
        exactness = _exactness(offer, media_type, version)
        if exactness > best.exactness or (exactness == best.exactness and exactness and offer.quality > best.quality):
            best = Preference(offer.quality, exactness)
    return best


def _exactness(offer: Offer, media_type: str, version: str) -> int:
    if offer.name == "*/*":
        return 1
    if offer.name == f"{media_type.partition('/')[0]}/*":
        return 2
    if offer.name != media_type:
        return 0
    if "version" not in offer.parameters:
        return 3
    return 4 if offer.parameters["version"] == version else 0


def wants_gzip(header: str) -> bool:
    """Whether gzip is acceptable, and not less than no coding at all."""
    qualities = {offer.name: offer.quality for offer in offers(header)}
    named = [qualities[name] for name in ("gzip", "x-gzip") if name in qualities]
    gzip = max(named, default=qualities.get("*", 0.0))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)
