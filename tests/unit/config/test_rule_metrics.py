"""Which metrics a rule may name."""

from __future__ import annotations

import pytest

from hsm_agent.config.rule_metrics import check_declared


def test_a_metric_of_the_configurations_own_needs_a_source_that_declares_it() -> None:
    rules = [("custom_jobs",)]

    check_declared(rules, {"custom_jobs"})
    with pytest.raises(
        ValueError, match=r"rules\.0\.metric: no source declares 'custom_jobs', did you mean 'custom_job'\?"
    ):
        check_declared(rules, {"custom_job"})
    with pytest.raises(ValueError, match=r"rules\.0\.metric: no source declares 'custom_jobs'$"):
        check_declared(rules, ())
