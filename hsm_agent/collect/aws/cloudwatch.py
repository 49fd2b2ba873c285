"""The source `kind: cloudwatch`: the metrics that AWS publishes of a CloudHSM cluster, for each of its HSMs.

One GetMetricData asks for all metrics of up to 50 HSMs; which there are is looked up every hour. The service publishes
a value one to five minutes late, so a poll looks back a quarter of an hour and takes the newest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from hsm_agent.collect.aws.client import AwsClients, AwsSettings, AwsTrouble, Services
from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings
from hsm_agent.model import Reading
from hsm_agent.settings.types import Deadline, Interval
from hsm_agent.text import one_line
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

NAMESPACE = "AWS/CloudHSM"
LOOK_BACK_SECONDS = 900.0
"""The newest value within this time counts; one that is older is no value of now."""
_PERIOD_SECONDS = 60
_QUERIES_A_CALL = 500
_REDISCOVER_SECONDS = 3600.0
MOST_HSMS = 200
_MOST_PAGES = 20
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class HsmMetric:
    """A metric of the service, what it is called here, and which of the values of a minute counts."""

    service_name: str
    metric: str
    statistic: Literal["Maximum", "Minimum"] = "Maximum"


METRICS = (
    HsmMetric("HsmUnhealthy", "cloudhsm_unhealthy"),
    HsmMetric("HsmTemperature", "cloudhsm_temperature_celsius"),
    HsmMetric("HsmKeysSessionOccupied", "cloudhsm_session_keys"),
    HsmMetric("HsmKeysTokenOccupied", "cloudhsm_token_keys"),
    HsmMetric("HsmSslCtxsOccupied", "cloudhsm_channels"),
    HsmMetric("HsmSessionCount", "cloudhsm_sessions"),
    HsmMetric("HsmUsersAvailable", "cloudhsm_users_available", "Minimum"),
    HsmMetric("HsmUsersMax", "cloudhsm_users_max"),
    HsmMetric("InterfaceEth2OctetsInput", "cloudhsm_received_bytes_total"),
    HsmMetric("InterfaceEth2OctetsOutput", "cloudhsm_sent_bytes_total"),
)
"""The ten metrics of the service."""
MOST_KEYS, MOST_SESSIONS, MOST_CHANNELS, MOST_USERS = 3300, 2048, 2048, 1024
TEMPERATURE_LIMIT_CELSIUS = 110.0
"""The service's own limits: of a cluster of hsm1.medium."""
SHARES = (
    "cloudhsm_keys_used_percent",
    "cloudhsm_sessions_used_percent",
    "cloudhsm_channels_used_percent",
    "cloudhsm_users_used_percent",
)


class CloudWatchSettings(SourceSettings):
    """A cluster of CloudHSM."""

    kind: Literal["cloudwatch"]
    cluster: Annotated[str, Field(pattern=r"^cluster-[A-Za-z0-9]{1,32}$")]
    aws: AwsSettings
    every: Interval = 300.0
    timeout: Annotated[Deadline, Field(le=120.0)] = 30.0

    def build(self, context: CollectorContext) -> Collector:
        """The collector of this source."""
        del context
        return CloudWatchCollector(self)

    def about(self) -> Iterator[str]:
        """The cluster and where it is."""
        yield f"{self.cluster} in {self.aws.region}"

    def metrics_produced(self) -> Mapping[str, str]:
        """Those of the service, and percentages of its limits."""
        return dict.fromkeys([*(each.metric for each in METRICS), *SHARES], "where the HSM's type has it")


@dataclass(frozen=True, slots=True)
class _Hsms:
    """The HSMs of the cluster, each with the metrics that the service publishes of it."""

    published: Mapping[str, frozenset[str]]
    looked_up: float


class CloudWatchCollector(Collector):
    """Asks CloudWatch, on a thread."""

    kind = "cloudwatch"

    def __init__(
        self,
        settings: CloudWatchSettings,
        *,
        clients: Services | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(settings)
        self._settings = settings
        self._lane = Lane(f"CloudWatch of {settings.cluster}")
        self._clients: Services = clients or AwsClients(settings.aws, timeout_seconds=settings.timeout)
        self._wall = wall
        self._monotonic = monotonic
        self._hsms: _Hsms | None = None
        self._valued: dict[str, float] = {}
        """When each HSM had a value last, or was found first."""
        self._calls: dict[str, int] = {}

    async def poll(self) -> Poll:
        """The newest value of each metric. Raises SourceFailure."""
        try:
            readings = await self._lane.call(self._fetch, seconds=self._settings.timeout)
        except (AwsTrouble, StuckError) as error:
            raise SourceFailure(str(error)) from error
        return Poll(
            readings=tuple(readings), next_in_seconds=self.every_seconds, calls=dict(self._calls), complete=True
        )

    def calls_a_day(self) -> Mapping[str, float]:
        """Requests to the service."""
        return {
            "GetMetricData": _DAY / self.every_seconds,
            "ListMetrics": _DAY / max(self.every_seconds, _REDISCOVER_SECONDS),
        }

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._calls[method] = self._calls.get(method, 0) + 1
        return self._clients.call("cloudwatch", method, **parameters)

    def _fetch(self) -> list[Reading]:
        self._calls = {}
        hsms = self._hsms
        # Those of a cluster that has none yet are looked up each time.
        if hsms is None or not hsms.published or self._monotonic() - hsms.looked_up >= _REDISCOVER_SECONDS:
            hsms = self._hsms = self._looked_up()
        if not hsms.published:
            cluster, region = self._settings.cluster, self._settings.aws.region
            raise AwsTrouble(
                f"CloudWatch has no metric of {cluster} in {region}: see the cluster's name, the region, and whether "
                "it has an HSM"
            )
        now = self._wall()
        newest = self._newest([(hsm, each) for hsm, names in hsms.published.items() for each in sorted(names)], now)
        return [
            each
            for hsm in self._not_replaced(hsms.published, {hsm for hsm, _ in newest})
            for each in self._readings(hsm, hsms.published[hsm], newest, now)
        ]

    def _not_replaced(self, hsms: Iterable[str], valued: Collection[str]) -> list[str]:
        """The HSMs without those that had no value for a day: the service lists a replaced one for two weeks."""
        now = self._monotonic()
        before, self._valued = self._valued, {}
        for hsm in hsms:
            self._valued[hsm] = now if hsm in valued else before.get(hsm, now)
        found = [hsm for hsm, when in self._valued.items() if now - when < _DAY]
        return found or list(self._valued)  # of a cluster that is silent as a whole all are missed

    def _looked_up(self) -> _Hsms:
        """The HSMs, by the metrics that are listed: those of which a value came within two weeks."""
        found: dict[str, set[str]] = {}
        parameters: dict[str, object] = {
            "Namespace": NAMESPACE,
            "Dimensions": [{"Name": "ClusterId", "Value": self._settings.cluster}, {"Name": "HsmId"}],
        }
        for _ in range(_MOST_PAGES):
            answer = self._call("list_metrics", **parameters)
            for each in answer.get("Metrics", ()):
                dimensions = {one["Name"]: one["Value"] for one in each["Dimensions"]}
                if set(dimensions) == {"ClusterId", "HsmId"} and len(found) < MOST_HSMS:
                    found.setdefault(one_line(dimensions["HsmId"]), set()).add(each["MetricName"])
            token = answer.get("NextToken")
            if not token:
                break
            parameters["NextToken"] = token
        return _Hsms({hsm: frozenset(found[hsm]) for hsm in sorted(found)}, self._monotonic())

    def _newest(self, wanted: Sequence[tuple[str, str]], now: float) -> dict[tuple[str, str], float]:
        """The newest value of each metric of each HSM."""
        known = {each.service_name: each for each in METRICS}
        asked = [(hsm, known[name]) for hsm, name in wanted if name in known]
        found: dict[tuple[str, str], float] = {}
        for begin in range(0, len(asked), _QUERIES_A_CALL):
            part = asked[begin : begin + _QUERIES_A_CALL]
            parameters: dict[str, object] = {
                "MetricDataQueries": [self._query(index, hsm, each) for index, (hsm, each) in enumerate(part)],
                "StartTime": datetime.fromtimestamp(now - LOOK_BACK_SECONDS, UTC),
                "EndTime": datetime.fromtimestamp(now + _PERIOD_SECONDS, UTC),
                "ScanBy": "TimestampDescending",
            }
            for _ in range(_MOST_PAGES):
                answer = self._call("get_metric_data", **parameters)
                for result in answer.get("MetricDataResults", ()):
                    hsm, each = part[int(result["Id"][1:])]
                    if result["Values"]:
                        found.setdefault((hsm, each.metric), float(result["Values"][0]))
                token = answer.get("NextToken")
                if not token:
                    break
                parameters["NextToken"] = token
        return found

    def _query(self, index: int, hsm: str, each: HsmMetric) -> dict[str, object]:
        dimensions = [{"Name": "ClusterId", "Value": self._settings.cluster}, {"Name": "HsmId", "Value": hsm}]
        metric = {"Namespace": NAMESPACE, "MetricName": each.service_name, "Dimensions": dimensions}
        stat = {"Metric": metric, "Period": _PERIOD_SECONDS, "Stat": each.statistic}
        return {"Id": f"m{index}", "MetricStat": stat, "ReturnData": True}

    def _readings(
        self, hsm: str, published: frozenset[str], newest: Mapping[tuple[str, str], float], now: float
    ) -> Iterator[Reading]:
        values: dict[str, float | None] = {}
        for each in METRICS:
            value = values[each.metric] = newest.get((hsm, each.metric))
            reason = ""
            if value is None:
                reason = (
                    f"no value within {LOOK_BACK_SECONDS / 60:.0f} min"
                    if each.service_name in published
                    else "not supported: the service does not publish it of this HSM"
                )
            limit = TEMPERATURE_LIMIT_CELSIUS if each.metric == "cloudhsm_temperature_celsius" else None
            yield self._reading(hsm, each.metric, value, now, reason, limit)
        for metric, value in _shares(values).items():
            yield self._reading(
                hsm, metric, value, now, "" if value is not None else "what it is a share of is missing"
            )

    def _reading(
        self, hsm: str, metric: str, value: float | None, now: float, reason: str, limit: float | None = None
    ) -> Reading:
        return Reading(source=self.name, resource=hsm, metric=metric, value=value, time=now, reason=reason, limit=limit)


def _shares(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Used shares of the service's limits, in percent."""
    token, session = values["cloudhsm_token_keys"], values["cloudhsm_session_keys"]
    keys = None if token is None and session is None else (token or 0.0) + (session or 0.0)
    available, most = values["cloudhsm_users_available"], values["cloudhsm_users_max"] or MOST_USERS
    users = None if available is None else max(0.0, most - available)
    used = (
        (keys, MOST_KEYS),
        (values["cloudhsm_sessions"], MOST_SESSIONS),
        (values["cloudhsm_channels"], MOST_CHANNELS),
        (users, most),
    )
    return {
        metric: None if part is None else 100.0 * part / whole
        for metric, (part, whole) in zip(SHARES, used, strict=True)
    }
