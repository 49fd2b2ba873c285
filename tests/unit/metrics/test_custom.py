"""metrics.custom: names of metrics that the configuration declares."""

from __future__ import annotations

import pytest

from hsm_agent.metrics import unit
from hsm_agent.metrics.custom import is_custom


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
def test_a_unit_is_what_the_name_ends_in(name: str, word: str) -> None:
    assert unit(name) == word


@pytest.mark.parametrize("name", ["custom_", "custom_Jobs", "custom__jobs", "custom_jobs_", "custom_1", "jobs", ""])
def test_what_is_no_name_of_the_kind(name: str) -> None:
    assert not is_custom(name)
