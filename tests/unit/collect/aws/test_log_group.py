"""What is taken of the events of a log group, whatever their order, and how few are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.aws.client import AwsSettings
from hsm_agent.collect.aws.cloudwatch import CloudWatchCollector, CloudWatchSettings
from hsm_agent.collect.aws.log_group import GAP_AFTER_SECONDS, OVERLAP_SECONDS, LogGroupCollector
from hsm_agent.collect.base import CollectorContext, SourceFailure
from hsm_agent.collect.trails.source import AuditTrailSettings
from tests.peers.trails import cloudhsm_event

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("boto3")
NOW = 1_795_300_000.0
STORED = b'{"object_handle":1,"op_code":"CN_STORE_CERT","response":"SUCCESS","timestamp":1795300000000}'


class _Service:
    """A service that answers with what a test set, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []
        self.values: dict[str, float] = {}

    def add(self, stream: str, text: bytes, when: float) -> None:
        event = {"logStreamName": stream, "timestamp": int(when * 1000), "message": text.decode()}
        self.events.append({**event, "eventId": str(len(self.events))})

    def call(self, service: str, method: str, **parameters: Any) -> dict[str, Any]:
        del service
        self.asked.append({"method": method, **parameters})
        if method == "filter_log_events":
            return {"events": [each for each in self.events if each["timestamp"] >= parameters["startTime"]]}
        if method == "list_metrics":
            return {"Metrics": self.metrics}
        queries = parameters["MetricDataQueries"]
        hsms = {each["Id"]: each["MetricStat"]["Metric"]["Dimensions"][1]["Value"] for each in queries}
        values = {name: [self.values[hsm]] if hsm in self.values else [] for name, hsm in hsms.items()}
        return {"MetricDataResults": [{"Id": name, "Values": found} for name, found in values.items()]}


class _Clock:
    def __init__(self) -> None:
        self.wall = NOW
        self.monotonic = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def service() -> _Service:
    return _Service()


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def group(tmp_path: Path, service: _Service, clock: _Clock) -> LogGroupCollector:
    aws = AwsSettings(region="eu-west-1")
    settings = AuditTrailSettings(name="hsm", kind="audit_trail", format="cloudhsm", log_group="/g", aws=aws)
    return LogGroupCollector(
        settings,
        aws,
        "/g",
        CollectorContext(state_directory=tmp_path),
        clients=service,
        wall=lambda: clock.wall,
        monotonic=lambda: clock.monotonic,
    )


async def _counted(collector: LogGroupCollector, metric: str = "trail_events_total") -> float:
    poll = await collector.poll()
    return sum(each.value or 0 for each in poll.readings if each.metric == metric)


async def test_an_event_without_a_number_is_taken_once_however_late_it_comes(
    group: LogGroupCollector, service: _Service
) -> None:
    service.add("a", cloudhsm_event(0), NOW)
    service.add("a", STORED, NOW - 30)
    service.add("a", STORED, NOW - 30)
    assert await _counted(group) == 3
    service.add("a", STORED, NOW - 60)
    assert await _counted(group) == 4
    assert await _counted(group) == 4


async def test_the_stream_of_a_replaced_hsm_does_not_make_all_be_read_again(
    group: LogGroupCollector, service: _Service, clock: _Clock
) -> None:
    service.add("old", cloudhsm_event(0), NOW)
    await group.poll()
    clock.pass_by(7200)
    service.add("new", cloudhsm_event(0), clock.wall)
    await group.poll()
    await group.poll()

    assert service.asked[-1]["startTime"] == int((clock.wall - OVERLAP_SECONDS) * 1000)


async def test_what_a_stream_lacks_is_asked_for_where_it_is_behind(
    group: LogGroupCollector, service: _Service, clock: _Clock
) -> None:
    for stream in "ab":
        service.add(stream, cloudhsm_event(0), NOW)
    await group.poll()
    clock.pass_by(3600)
    service.add("a", cloudhsm_event(1), clock.wall)
    await group.poll()
    service.add("b", cloudhsm_event(1), NOW + 10)
    service.add("b", cloudhsm_event(2), clock.wall)
    await group.poll()

    assert await _counted(group) == 5
    assert await _counted(group, "trail_sequence_gaps_total") == 0


async def test_a_gap_is_told_though_the_clock_was_set_back(
    group: LogGroupCollector, service: _Service, clock: _Clock
) -> None:
    service.add("a", cloudhsm_event(0), NOW)
    await group.poll()
    service.add("a", cloudhsm_event(2), NOW + 1)
    await group.poll()
    clock.pass_by(GAP_AFTER_SECONDS + 1)
    clock.wall -= 86400
    await group.poll()

    assert await _counted(group, "trail_sequence_gaps_total") == 1


async def test_half_an_event_is_no_bad_line_each_time(group: LogGroupCollector, service: _Service) -> None:
    service.add("a", b"Time: x\nSequence No : 0x5\n", NOW)
    service.add("a", "Time: \ufffd".encode(), NOW)
    for _ in range(3):
        assert await _counted(group, "trail_bad_lines_total") == 2


def _metric(hsm: str) -> dict[str, Any]:
    dimensions = [{"Name": "ClusterId", "Value": "cluster-a"}, {"Name": "HsmId", "Value": hsm}]
    return {"MetricName": "HsmUnhealthy", "Dimensions": dimensions}


async def test_a_replaced_hsm_is_missed_for_a_day(service: _Service, clock: _Clock) -> None:
    aws = AwsSettings(region="eu-west-1")
    settings = CloudWatchSettings(name="hsm", kind="cloudwatch", cluster="cluster-a", aws=aws)
    collector = CloudWatchCollector(
        settings, clients=service, wall=lambda: clock.wall, monotonic=lambda: clock.monotonic
    )
    with pytest.raises(SourceFailure, match="no metric of cluster-a"):
        await collector.poll()
    service.metrics = [_metric("hsm-old"), _metric("hsm-new")]
    service.values = {"hsm-old": 0.0, "hsm-new": 0.0}
    shown = []
    for _ in range(3):
        shown.append({each.resource for each in (await collector.poll()).readings})
        service.values = {"hsm-new": 0.0}
        clock.pass_by(43300)

    assert shown == [{"hsm-old", "hsm-new"}, {"hsm-old", "hsm-new"}, {"hsm-new"}]
