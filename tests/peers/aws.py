"""AWS's services as moto's server answers for them, over HTTP on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REGION = "eu-west-1"
CLUSTER = "cluster-abc123"
GROUP = f"/aws/cloudhsm/{CLUSTER}"
_SERVER = (
    "import sys, threading\n"
    "from moto.server import ThreadedMotoServer\n"
    "server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)\n"
    "server.start()\n"
    "print(server.get_host_and_port()[1], flush=True)\n"
    "threading.Event().wait()\n"
)
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def moto_server() -> Iterator[str]:
    """The URL of a server of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **CREDENTIALS},
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def client(service: str, endpoint: str) -> Any:
    """A client for what a test sets up."""
    import boto3

    return boto3.client(
        service, endpoint_url=endpoint, region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing"
    )


def publish(endpoint: str, hsm: str, values: Mapping[str, float], *, seconds: float, cluster: str = CLUSTER) -> None:
    """Publish metrics of an HSM as the service does: by region, by cluster, and by cluster and HSM."""
    dimensions = [
        [{"Name": "ClusterId", "Value": cluster}],
        [{"Name": "ClusterId", "Value": cluster}, {"Name": "HsmId", "Value": hsm}],
    ]
    when = datetime.fromtimestamp(seconds, UTC)
    data = [
        {"MetricName": name, "Dimensions": each, "Timestamp": when, "Value": value}
        for name, value in values.items()
        for each in dimensions
    ]
    client("cloudwatch", endpoint).put_metric_data(Namespace="AWS/CloudHSM", MetricData=data)


def write_events(endpoint: str, stream: str, events: list[bytes], *, seconds: float) -> None:
    """Put events into a stream of the cluster's log group, which is made if need be."""
    logs = client("logs", endpoint)
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=GROUP)
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    messages = [
        {"timestamp": int(seconds * 1000) + index, "message": each.decode()} for index, each in enumerate(events)
    ]
    logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=messages)
