"""What dashboards and rules of Prometheus are written against: the whole of `/metrics` for a known present."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_agent.metrics import METRICS
from hsm_agent.serve.http.exposition import exposed_name, exposition
from hsm_agent.version import VERSION
from tests.fakes.present import known_snapshot

GOLDEN = Path(__file__).parent / "golden" / "metrics.txt"
UNITS = {"bytes", "percent", "seconds", "celsius"}


def test_the_whole_page_is_the_golden_one() -> None:
    """A change here is a change for every dashboard: it needs a line in CHANGELOG.md and a new golden file."""
    told = exposition(known_snapshot(), "")[0].decode().replace(f'version="{VERSION}"', 'version="VERSION"')

    assert told == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", METRICS)
def test_a_name_tells_unit_and_type(name: str) -> None:
    metric = METRICS[name]

    assert name == name.lower()
    assert exposed_name(name).startswith("hsm_")
    assert not exposed_name(name).startswith("hsm_hsm_")
    assert name.endswith("_total") == (metric.type == "counter")
    assert name.endswith("_info") == (metric.type == "info")
    assert metric.unit not in UNITS or metric.unit in name.split("_")
