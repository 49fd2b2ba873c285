"""CloudHSM's metrics and audit log from AWS's services, as moto's server answers for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.aws.client import AwsClients, AwsSettings, AwsTrouble
from hsm_agent.collect.aws.cloudwatch import METRICS, CloudWatchCollector, CloudWatchSettings
from hsm_agent.collect.aws.log_group import GAP_AFTER_SECONDS, RETIRED_AFTER_SECONDS, LogGroupCollector
from hsm_agent.collect.base import CollectorContext, Poll, SourceFailure
from hsm_agent.collect.trails.source import AuditTrailSettings
from tests.peers import aws
from tests.peers.trails import cloudhsm_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with aws.moto_server() as url:
        yield url


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def _settings(endpoint: str, **keys: Any) -> CloudWatchSettings:
    wanted = {
        "name": "cloud",
        "kind": "cloudwatch",
        "cluster": aws.CLUSTER,
        "aws": {"region": aws.REGION, "endpoint": endpoint},
        **keys,
    }
    return CloudWatchSettings.model_validate(wanted)


async def _polled(
    settings: CloudWatchSettings, **clocks: Any
) -> tuple[Poll, dict[tuple[str, str], float | int | None]]:
    poll = await CloudWatchCollector(settings, **clocks).poll()
    return poll, {(each.resource, each.metric): each.value for each in poll.readings}


async def test_the_metrics_of_each_hsm_come_in_two_calls(endpoint: str) -> None:
    cluster, now = "cluster-two", time.time()
    whole = {each.service_name: 10.0 + index for index, each in enumerate(METRICS)}
    aws.publish(
        endpoint,
        "hsm-a",
        whole | {"HsmUsersMax": 1024.0, "HsmUsersAvailable": 512.0},
        seconds=now - 120,
        cluster=cluster,
    )
    aws.publish(endpoint, "hsm-b", {"HsmUnhealthy": 0.0, "HsmSessionCount": 1024.0}, seconds=now - 240, cluster=cluster)
    poll, values = await _polled(_settings(endpoint, cluster=cluster))

    assert poll.calls == {"list_metrics": 1, "get_metric_data": 1}
    assert values["hsm-a", "cloudhsm_temperature_celsius"] == 11.0
    assert values["hsm-a", "cloudhsm_keys_used_percent"] == pytest.approx(100 * (12 + 13) / 3300)
    assert values["hsm-a", "cloudhsm_users_used_percent"] == 50.0
    assert values["hsm-b", "cloudhsm_sessions_used_percent"] == 50.0
    assert len(poll.readings) == 2 * (len(METRICS) + 4)
    reasons = {each.metric: each.reason for each in poll.readings if each.resource == "hsm-b" and each.value is None}
    assert reasons["cloudhsm_temperature_celsius"] == "not supported: the service does not publish it of this HSM"
    assert len(reasons) == 11


async def test_what_is_older_than_a_quarter_of_an_hour_is_no_value_of_now(endpoint: str) -> None:
    now = time.time()
    aws.publish(endpoint, "hsm-a", {"HsmUnhealthy": 0.0}, seconds=now - 1200, cluster="cluster-old")
    poll, values = await _polled(_settings(endpoint, cluster="cluster-old"))

    assert values["hsm-a", "cloudhsm_unhealthy"] is None
    assert "no value within 15 min" in {each.reason for each in poll.readings}


async def test_a_cluster_without_metrics_is_a_failure_that_says_what_to_see(endpoint: str) -> None:
    with pytest.raises(SourceFailure, match="no metric of cluster-none in eu-west-1"):
        await _polled(_settings(endpoint, cluster="cluster-none"))


async def test_a_service_that_is_not_there_is_a_failure_in_time(tmp_path: Path) -> None:
    del tmp_path
    began = time.monotonic()
    with pytest.raises(SourceFailure, match=r"(?i)could not connect.*VPC endpoint"):
        await _polled(_settings("http://127.0.0.1:9", timeout="4s"))
    assert time.monotonic() - began < 8


class _Log:
    """A collector of the log group with a clock of its own."""

    def __init__(self, endpoint: str, tmp_path: Path) -> None:
        self.now = time.time()
        self._directory = tmp_path
        self._settings = AuditTrailSettings.model_validate(
            {
                "name": "log",
                "kind": "audit_trail",
                "format": "cloudhsm",
                "log_group": aws.GROUP,
                "aws": {"region": aws.REGION, "endpoint": endpoint},
            }
        )
        self.restart()

    def restart(self) -> None:
        assert self._settings.aws is not None
        context = CollectorContext(state_directory=self._directory)
        self._collector = LogGroupCollector(
            self._settings, self._settings.aws, aws.GROUP, context, wall=lambda: self.now, monotonic=lambda: self.now
        )

    async def poll(self) -> tuple[Poll, dict[tuple[str, str, tuple[str, ...]], float | int | None]]:
        poll = await self._collector.poll()
        return poll, {
            (each.resource, each.metric, tuple(value for _, value in each.labels)): each.value for each in poll.readings
        }


async def test_events_of_all_streams_are_counted_once_in_one_call(endpoint: str, tmp_path: Path) -> None:
    log, seconds = _Log(endpoint, tmp_path), time.time() - 100
    aws.write_events(endpoint, "hsm-one", [cloudhsm_event(0), cloudhsm_event(1)], seconds=seconds)
    aws.write_events(endpoint, "hsm-two", [cloudhsm_event(0, "CN_ZEROIZE (0x1)")], seconds=seconds)
    poll, values = await log.poll()
    login = ("trail_events_total", ("CN_LOGIN", "SUCCESS"))

    assert poll.calls == {"FilterLogEvents": 1}
    assert values["hsm-one", *login] == 2
    assert values["hsm-two", "trail_zeroized_total", ()] == 1
    aws.write_events(endpoint, "hsm-one", [cloudhsm_event(2)], seconds=seconds + 10)
    log.restart()
    for _ in range(2):
        _, values = await log.poll()
        assert values["hsm-one", *login] == 3
        assert values["hsm-one", "trail_sequence_gaps_total", ()] == 0


async def test_an_event_that_comes_late_is_no_gap_and_one_that_never_comes_is(endpoint: str, tmp_path: Path) -> None:
    log, seconds = _Log(endpoint, tmp_path), time.time() - 90
    aws.write_events(endpoint, "hsm-late", [cloudhsm_event(0), cloudhsm_event(2)], seconds=seconds)
    login = ("hsm-late", "trail_events_total", ("CN_LOGIN", "SUCCESS"))
    _, values = await log.poll()
    assert values[login] == 1
    aws.write_events(endpoint, "hsm-late", [cloudhsm_event(1)], seconds=seconds + 5)
    _, values = await log.poll()
    assert (values[login], values["hsm-late", "trail_sequence_gaps_total", ()]) == (3, 0)
    aws.write_events(endpoint, "hsm-late", [cloudhsm_event(5)], seconds=seconds + 6)
    await log.poll()
    log.now += GAP_AFTER_SECONDS + 1
    _, values = await log.poll()
    assert (values[login], values["hsm-late", "trail_sequence_gaps_total", ()]) == (4, 1)


async def test_a_stream_of_an_hsm_that_was_replaced_is_retired(endpoint: str, tmp_path: Path) -> None:
    log, seconds = _Log(endpoint, tmp_path), time.time() - 80
    aws.write_events(endpoint, "hsm-gone", [cloudhsm_event(0)], seconds=seconds)
    await log.poll()
    log.now += RETIRED_AFTER_SECONDS
    aws.write_events(endpoint, "hsm-new", [cloudhsm_event(0)], seconds=seconds + 1)
    poll, values = await log.poll()

    assert "hsm-gone" in poll.gone
    assert ("hsm-new", "trail_sequence_gaps_total", ()) in values
    assert ("hsm-gone", "trail_sequence_gaps_total", ()) not in values


async def test_a_group_that_is_not_there_is_a_failure_that_says_what_to_see(tmp_path: Path) -> None:
    missing = pytest.raises(SourceFailure, match=r"ResourceNotFoundException.*see the name and the region")
    with aws.moto_server() as endpoint, missing:
        await _Log(endpoint, tmp_path).poll()


def test_a_call_without_credentials_is_told_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    clients = AwsClients(AwsSettings(region="eu-west-1"), timeout_seconds=1)

    with pytest.raises(AwsTrouble, match=r"cloudwatch list_metrics: .*give the host a role"):
        clients.call("cloudwatch", "list_metrics", Namespace="AWS/CloudHSM")


@pytest.mark.parametrize(
    "keys", [{"endpoint": "https://"}, {"endpoint": "http://127.0.0.1:1", "ca": "/nowhere/ca.pem"}]
)
def test_what_the_library_refuses_is_an_error_of_the_source(
    keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    clients = AwsClients(AwsSettings.model_validate({"region": "eu-west-1", **keys}), timeout_seconds=1.0)
    with pytest.raises(AwsTrouble):
        clients.call("cloudwatch", "list_metrics", Namespace="AWS/CloudHSM")
