"""The table of metrics."""

from __future__ import annotations

import re

import pytest

from hsm_agent import metrics
from hsm_agent.metrics import METRICS, is_custom, unit

# IANAItuProbableCause (RFC 3877), as far as it is used.
CAUSES = {
    "storageCapacityProblem",
    "resourceAtOrNearingCapacity",
    "communicationsSubsystemFailure",
    "corruptData",
    "thresholdCrossed",
}


def test_no_metric_is_there_twice() -> None:
    assert len(METRICS) == len(metrics._ALL)
    assert all(name == metric.name for name, metric in METRICS.items())


def test_every_metric_is_a_whole_entry() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name)
        assert metric.help[0].isupper() or metric.help.startswith("inf"), name
        assert metric.help.endswith("."), name
        assert "\n" not in metric.help, name
        assert metric.cause in CAUSES, name


@pytest.mark.parametrize(
    ("metric", "cause"),
    [
        ("token_memory_private_used_percent", "storageCapacityProblem"),
        ("token_storage_used_percent", "storageCapacityProblem"),
        ("audit_used_percent", "storageCapacityProblem"),
        ("token_sessions_used_percent", "resourceAtOrNearingCapacity"),
        ("source_up", "communicationsSubsystemFailure"),
        ("sink_up", "communicationsSubsystemFailure"),
        ("token_clock_offset_seconds", "thresholdCrossed"),
    ],
)
def test_probable_causes_are_those_of_the_contract(metric: str, cause: str) -> None:
    assert METRICS[metric].cause == cause


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("token_sessions", "sessions"), ("audit_used_percent", "percent"), ("source_up", ""), ("nobody_knows", "")],
)
def test_a_metric_has_its_unit_and_an_unknown_one_has_none(metric: str, expected: str) -> None:
    assert unit(metric) == expected


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("custom_used_bytes", "bytes"),
        ("custom_sent_bytes_total", "bytes"),
        ("custom_queue_percent", "percent"),
        ("custom_probe_celsius", "celsius"),
        ("custom_jobs_total", ""),
        ("custom_jobs", ""),
        ("customers_bytes", ""),
        ("nothing_bytes", ""),
    ],
)
def test_the_unit_of_a_custom_metric_is_what_its_name_ends_in(name: str, word: str) -> None:
    assert unit(name) == word


@pytest.mark.parametrize("name", ["custom_", "custom_Jobs", "custom__jobs", "custom_jobs_", "custom_1", "jobs", ""])
def test_what_is_no_name_of_a_custom_metric(name: str) -> None:
    assert not is_custom(name)
