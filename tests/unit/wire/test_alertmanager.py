"""Alarms as alerts: what tells them apart, and that nothing in an alarm makes one that is refused."""

from __future__ import annotations

import re

from hypothesis import given

from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.wire.alertmanager import FIRING, alert_of, other_severities
from hsm_agent.wire.event_json import rfc3339
from tests.fakes.syslog_events import any_event, event

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")  # of Prometheus's data model


def test_an_alert() -> None:
    alert = alert_of(event(), starts_at=1_700_000_000.25)

    assert alert.firing(now=1_700_000_000.5, ends_at=1_700_000_240) == {
        "labels": {
            "alertname": "token-memory",
            "severity": "critical",
            "source": "luna-a",
            "resource": "SIGN",
            "metric": "token_memory_private_used_percent",
            "agent": "hsm-monitor-1",
            "environment": "production",
            "site": "north",
        },
        "annotations": {
            "summary": "Private memory of token luna-a/SIGN is 91 % used (limit 90 %).",
            "text": "Private memory of token luna-a/SIGN is 91 % used (limit 90 %).",
            "value": "91",
            "unit": "%",
            "threshold": "90",
            "cause": "storageCapacityProblem",
            "runbook": "https://wiki.example.net/hsm/memory",
            "runbook_url": "https://wiki.example.net/hsm/memory",
            "alarmId": "0191d5a4-0000-7000-8000-00000000000a",
            "eventId": "0191d5a4-0000-7000-8000-000000000001",
        },
        "startsAt": "2023-11-14T22:13:20.250000Z",
        "endsAt": "2023-11-14T22:17:20.000000Z",
    }


def test_a_start_is_never_behind_its_end_nor_in_the_future() -> None:
    alert = alert_of(event(), starts_at=100.0)

    assert alert.resolved(50.0)["startsAt"] == alert.resolved(50.0)["endsAt"] == "1970-01-01T00:00:50.000000Z"
    assert alert.firing(now=60.0, ends_at=300.0)["startsAt"] == "1970-01-01T00:01:00.000000Z"


def test_labels_of_ones_own_get_valid_names_of_their_own() -> None:
    labels = (("", "e"), ("1st", "a"), ("__name__", "b"), ("data-centre", "c"), ("data.centre", "d"), ("severity", "f"))

    found = alert_of(event(labels=labels, resource=""), starts_at=None).labels

    assert list(found.items())[5:] == [
        ("_", "e"),
        ("_1st", "a"),
        ("_name__", "b"),
        ("data_centre", "c"),
        ("data_centre_2", "d"),
        ("severity_2", "f"),
    ]
    assert "resource" not in found


def test_labels_that_are_left_out_tell_no_alerts_apart() -> None:
    one, other = (alert_of(event(agent=agent), starts_at=0.0, left_out={"agent"}) for agent in "ab")

    assert one.labels == other.labels
    assert "agent" not in one.labels


def test_the_other_severities_of_an_alarm() -> None:
    found = [alert.labels["severity"] for alert in other_severities(event(severity=Severity.WARNING), FIRING)]

    assert sorted(found) == ["critical", "indeterminate", "major", "minor"]
    assert list(other_severities(event(), FIRING, left_out={"severity"})) == []


def test_tests_and_heartbeats_have_names_of_their_own() -> None:
    test, beat = (alert_of(event(kind=kind), starts_at=0.0).labels for kind in (EventKind.TEST, EventKind.HEARTBEAT))

    assert (test["alertname"], test["severity"]) == ("hsm-agent-test", "test")
    assert (beat["alertname"], beat["severity"]) == ("hsm-agent-heartbeat", "none")


@given(any_event())
def test_whatever_an_alarm_holds_its_alert_is_valid(one: Event) -> None:
    alert = alert_of(one, starts_at=one.time)

    assert alert.labels["alertname"]
    assert all(_LABEL_NAME.fullmatch(name) and value for name, value in alert.labels.items())
    assert all("\n" not in text and text.encode() is not None for text in [*alert.labels.values()])


def test_a_time_that_is_no_date_is_empty() -> None:
    assert (rfc3339(0.0), rfc3339(1e18)) == ("1970-01-01T00:00:00.000000Z", "")
