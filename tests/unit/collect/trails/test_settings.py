"""Settings of the sources that follow trails and clouds: what is refused, and what check-config says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.aws.cloudwatch import CloudWatchCollector, CloudWatchSettings
from hsm_agent.collect.aws.log_group import LogGroupCollector
from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.trails.source import AuditTrailCollector, AuditTrailSettings
from hsm_agent.metrics import METRICS

if TYPE_CHECKING:
    from pathlib import Path

AWS = {"region": "eu-west-1"}


def _trail(**keys: Any) -> AuditTrailSettings:
    return AuditTrailSettings.model_validate({"name": "t", "kind": "audit_trail", "format": "craton", **keys})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "exactly one of path, log_group"),
        ({"path": "/a", "log_group": "/g"}, "exactly one of path, log_group"),
        ({"log_group": "/g", "aws": AWS}, "only with format: cloudhsm"),
        ({"log_group": "/g", "format": "cloudhsm"}, "aws: needed with log_group"),
        ({"path": "/a", "aws": AWS}, "aws: needed with log_group"),
        ({"path": "/a", "format": "other"}, "format"),
        ({"path": "/a", "verify_every": "5s"}, "verify_every"),
    ],
)
def test_a_trail_in_no_place_or_two_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _trail(**keys)


def test_a_trail_is_built_where_it_is(tmp_path: Path) -> None:
    context = CollectorContext(state_directory=tmp_path)
    in_file = _trail(path=str(tmp_path / "a.jsonl"))
    in_group = _trail(format="cloudhsm", log_group="/aws/cloudhsm/cluster-a", aws=AWS)

    assert isinstance(in_file.build(context), AuditTrailCollector)
    assert isinstance(in_group.build(context), LogGroupCollector)
    assert next(iter(in_file.about())) == f"craton in {tmp_path / 'a.jsonl'}"
    assert list(in_group.about()) == ["cloudhsm in log group /aws/cloudhsm/cluster-a"]
    assert "FilterLogEvents" in in_group.build(context).calls_a_day()


def test_a_cluster_is_built_and_counts_its_requests(tmp_path: Path) -> None:
    settings = CloudWatchSettings.model_validate(
        {"name": "c", "kind": "cloudwatch", "cluster": "cluster-a", "aws": AWS}
    )
    collector = settings.build(CollectorContext(state_directory=tmp_path))

    assert isinstance(collector, CloudWatchCollector)
    assert sum(collector.calls_a_day().values()) == 312


@pytest.mark.parametrize("form", ["craton", "craton-documented", "cloudhsm"])
def test_check_config_names_metrics_that_there_are(form: str) -> None:
    produced = set(_trail(path="/var/log/a", format=form).metrics_produced())

    assert produced <= set(METRICS)
    assert ("trail_chain_intact" in produced) == (form != "cloudhsm")
