"""Which readings a question means: by metric or its Prometheus name, globs, and labels as `/metrics` shows them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from hsm_agent.serve.http.exposition import exposed_name, labels_of
from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.model import Reading
    from hsm_agent.serve.snapshot import Snapshot

_MOST_NEAR = 3


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
    return difflib.get_close_matches(metric, sorted({*known, *map(exposed_name, known)}), n=_MOST_NEAR)
