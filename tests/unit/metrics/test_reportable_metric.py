from __future__ import annotations

import pytest

from hsm_agent.metrics import reportable_metric


@pytest.mark.parametrize("name", ["custom_queue", "custom_q1", "hsm_load_percent", "token_sessions"])
def test_names_a_pattern_may_report_under(name: str) -> None:
    assert reportable_metric(name) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hsm_load_percnt", "no metric is called 'hsm_load_percnt', did you mean 'hsm_load_percent'?"),
        ("xyz", "a name of your own begins with custom_"),
        ("custom_", "no metric is called 'custom_'"),
        ("custom_1", "no metric is called"),
        ("custom_Queue", "no metric is called"),
        ("custom_queue_", "no metric is called"),
        ("source_up", "what the agent says of itself or of a source"),
        ("spool_entries", "what the agent says of itself"),
        ("sink_up", "what the agent says of itself"),
        ("hsm_info", "says what it says in its labels"),
    ],
)
def test_names_it_may_not(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        reportable_metric(name)

    assert said in str(caught.value)
