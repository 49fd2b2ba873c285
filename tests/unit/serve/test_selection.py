"""Which readings a question means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsm_agent.serve.selection import near, select
from tests.fakes.present import known_snapshot
from tests.fakes.present import make_reading as reading

PRESENT = replace(
    known_snapshot(),
    readings=[
        reading("hsm_capability", 1, resource="pay", labels=(("capability_id", "1"),)),
        reading("hsm_capability", 0, resource="pay", labels=(("capability_id", "12"),)),
        reading("token_objects", 7, resource="pay"),
        reading("token_objects", 9, resource="archive"),
    ],
)


@pytest.mark.parametrize(
    ("metric", "resource", "labels", "values"),
    [
        pytest.param("token_objects", "*", {}, [7, 9], id="a metric"),
        pytest.param("hsm_token_objects", "pay", {}, [7], id="its Prometheus name"),
        pytest.param("hsm_capability", "*", {"capability_id": "12"}, [0], id="a label"),
        pytest.param("token_objects", "*", {"resource": "archive"}, [9], id="resource as a label"),
        pytest.param("token_objects", "*", {"capability_id": "1"}, [], id="a label it does not have"),
        pytest.param("hsm_hsm_capability", "*", {}, [], id="no name twice prefixed"),
    ],
)
def test_what_is_meant(metric: str, resource: str, labels: dict[str, str], values: list[float]) -> None:
    found = select(PRESENT, metric, source="*", resource=resource, labels=labels)

    assert [each.value for each in found] == values


def test_names_that_come_near_are_of_metrics_that_have_readings() -> None:
    assert near(PRESENT, "token_object") == ["token_objects", "hsm_token_objects"]
    assert near(PRESENT, "sensor_celsius") == []
