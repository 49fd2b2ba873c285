"""What a `kind: syslog` sink may say, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.deliver.relp import RelpSink
from hsm_agent.deliver.syslog import SyslogSinkSettings, TcpSink, UdpSink
from hsm_agent.model import Guarantee, Severity
from tests.fakes.syslog_sinks import build, settings

TLS = {"verify": "fingerprint", "fingerprints": ["00" * 32]}


def refusal(to: str, **options: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        settings(to, **options)
    [error] = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")


def test_the_defaults() -> None:
    found = settings("relp:siem.example.net:2514")

    assert (found.facility, found.minimum_severity, found.heartbeat) == ("local4", Severity.WARNING, None)
    assert (found.bind, found.timeout, found.octets) == (None, 5.0, 8000)
    assert settings("udp:siem.example.net:514").octets == 1400


def test_everything_said() -> None:
    found = SyslogSinkSettings.model_validate(
        {
            "name": "siem",
            "kind": "syslog",
            "to": "relp+tls:siem.example.net:2514",
            "tls": TLS,
            "facility": "auth",
            "minimum_severity": "critical",
            "heartbeat": "5m",
            "bind": "192.0.2.1",
            "max_bytes": "4KiB",
            "timeout": "2s",
            "window": 16,
        }
    )

    assert (found.minimum_severity, found.heartbeat, found.octets, found.timeout) == (Severity.CRITICAL, 300, 4096, 2)


@pytest.mark.parametrize(
    ("to", "options", "sink", "kind", "guarantee"),
    [
        ("udp:h:1", {}, UdpSink, "syslog udp", Guarantee.BEST_EFFORT),
        ("tcp:h:1", {}, TcpSink, "syslog tcp", Guarantee.BEST_EFFORT),
        ("tls:h:1", {"tls": TLS}, TcpSink, "syslog tls", Guarantee.BEST_EFFORT),
        ("relp:h:1", {}, RelpSink, "syslog relp", Guarantee.AT_LEAST_ONCE),
        ("relp+tls:h:1", {"tls": TLS}, RelpSink, "syslog relp+tls", Guarantee.AT_LEAST_ONCE),
    ],
)
def test_each_transport_is_a_sink_that_says_its_guarantee(
    to: str, options: dict[str, Any], sink: type, kind: str, guarantee: Guarantee
) -> None:
    built = build(to, **options)

    assert isinstance(built, sink)
    assert (built.name, built.kind, built.guarantee) == ("siem", kind, guarantee)
    assert settings(to, **options).transport == kind


def test_the_window_is_that_of_relp() -> None:
    assert build("relp:h:1").window == 128
    assert build("relp:h:1", window=16).window == 16


@pytest.mark.parametrize(
    ("to", "options", "place", "why"),
    [
        ("http:h:1", {}, "to", "not an address: 'http:h:1'"),
        ("udp:h:1", {"tls": TLS}, "", "tls: not for udp: (write one of tls:, relp+tls:)"),
        ("relp:h:1", {"tls": TLS}, "", "tls: not for relp:"),
        ("tls:h:1", {}, "", "tls: required for tls: (at least tls.ca, or tls.verify: fingerprint)"),
        ("relp+tls:h:1", {"tls": {}}, "tls", "ca: required with verify: name"),
        ("tcp:h:1", {"window": 5}, "", "window: not for tcp:"),
        ("relp:h:1", {"window": 0}, "window", "Input should be greater than or equal to 1"),
        ("udp:h:1", {"max_bytes": 70000}, "", "max_bytes: 70000 is not between 1024 and 65000"),
        ("tcp:h:1", {"max_bytes": 480}, "", "max_bytes: 480 is not between 1024 and 131072"),
        ("tcp:h:1", {"bind": "eth0"}, "bind", "not an IP address: 'eth0'"),
        ("tcp:h:1", {"facility": "local8"}, "facility", "Input should be 'kern', 'user'"),
        ("tcp:h:1", {"timeout": "0s"}, "timeout", "shorter than 1ms"),
        ("tcp:h:1", {"timeout": 5}, "timeout", "not a duration: 5"),
        ("tcp:h:1", {"heartbeat": "0s"}, "heartbeat", "shorter than 10ms"),
        ("tcp:h:1", {"minimum_severity": "error"}, "minimum_severity", "Input should be"),
        ("tcp:h:1", {"colour": "red"}, "colour", "Extra inputs are not permitted"),
        ("tcp:h:1", {"name": ""}, "name", "String should have at least 1 character"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(to: str, options: dict[str, Any], place: str, why: str) -> None:
    found, message = refusal(to, **options)

    assert found == place
    assert message.startswith(why)


@pytest.mark.parametrize(
    ("name", "number"), [("kern", 0), ("auth", 4), ("authpriv", 10), ("audit", 13), ("local0", 16), ("local7", 23)]
)
def test_facilities_have_the_numbers_of_rfc_5424(name: str, number: int) -> None:
    from tests.fakes.syslog_events import event
    from tests.fakes.syslog_oracle import read

    sink = build("udp:h:1", facility=name)

    assert isinstance(sink, UdpSink)
    assert read(sink._builder.message(event())).facility == number


def test_the_pump_waits_longer_than_to_connect_open_and_be_acknowledged() -> None:
    assert settings("relp:h:1", timeout="100s").patience_seconds == 310.0
    assert settings("relp:h:1").patience_seconds == 120.0


def test_a_time_out_that_would_keep_an_event_waiting_for_more_than_an_hour_is_refused() -> None:
    place, why = refusal("relp:h:1", timeout="20m")

    assert (place, why) == ("", "timeout: an event could wait 3610 s for an answer; 3600 s is the most")
