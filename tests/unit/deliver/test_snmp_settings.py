"""`kind: snmp`: what a configuration may say, and what is made of it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.deliver.base import MOST_PATIENCE_SECONDS, SinkContext
from hsm_agent.deliver.snmp import InformSink, SnmpSinkSettings, TrapSink
from hsm_agent.model import AgentIdentity, Guarantee, Severity
from hsm_agent.wire.snmp.mib import BASE
from tests.fakes.snmp_messages import ENGINE_ID, engine

USER = {"name": "noc", "auth": {"protocol": "SHA-256", "secret": {"env": "TEST_SECRET"}}}
V3: dict[str, Any] = {"name": "noc", "kind": "snmp", "to": "udp:192.0.2.10:162", "version": "v3", "user": USER}
V2C: dict[str, Any] = {
    "name": "noc",
    "kind": "snmp",
    "to": "udp:192.0.2.10:162",
    "version": "v2c",
    "community": {"env": "TEST_SECRET"},
}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TEST_SECRET", "maplesyrup")


def read(settings: dict[str, Any], **changes: Any) -> SnmpSinkSettings:
    return SnmpSinkSettings.model_validate({**settings, **changes})


def test_defaults() -> None:
    settings = read(V3)

    assert (settings.timeout, settings.retries) == (2.0, 3)
    assert settings.minimum_severity is Severity.WARNING
    assert settings.heartbeat is None
    assert settings.bind is None


@pytest.mark.parametrize(
    ("settings", "expected", "guarantee"),
    [
        pytest.param(V3, InformSink, Guarantee.AT_LEAST_ONCE, id="v3 informs"),
        pytest.param(V2C, TrapSink, Guarantee.BEST_EFFORT, id="v2c traps"),
        pytest.param({**V3, "type": "trap"}, TrapSink, Guarantee.BEST_EFFORT, id="v3 may trap"),
        pytest.param({**V2C, "type": "inform"}, InformSink, Guarantee.AT_LEAST_ONCE, id="v2c may inform"),
    ],
)
def test_the_type_decides_the_sink_and_its_guarantee(
    settings: dict[str, Any], expected: type, guarantee: Guarantee
) -> None:
    origin = AgentIdentity(agent_name="a", host_name="h", version="1", enterprise_id=1)

    sink = read(settings).build(SinkContext(origin=origin, engine=engine(), base_oid=BASE))

    assert isinstance(sink, expected)
    assert (sink.name, sink.guarantee) == ("noc", guarantee)
    assert sink.kind == read(settings).transport


@pytest.mark.parametrize(
    "to", ["udp:192.0.2.10:162", "udp6:[::1]:162", "udp:[2001:db8::1]:162", "udp:nms.example.net:1162"]
)
def test_receivers(to: str) -> None:
    assert str(read(V3, to=to).address) == to


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        pytest.param(V3, {"to": "tcp:192.0.2.10:162"}, "write one of udp:, udp6:", id="another transport"),
        pytest.param(V3, {"to": "udp:192.0.2.10"}, "host:port", id="no port"),
        pytest.param(V3, {"version": "v1"}, "'v2c' or 'v3'", id="v1"),
        pytest.param(V3, {"user": None}, "user: required for version v3", id="v3 without user"),
        pytest.param(V3, {"community": {"env": "TEST_SECRET"}}, "not for version v3", id="v3 with community"),
        pytest.param(V2C, {"community": None}, "community: required for version v2c", id="v2c without community"),
        pytest.param(V2C, {"user": USER}, "user: not for version v2c", id="v2c with user"),
        pytest.param(V2C, {"type": "poll"}, "'trap' or 'inform'", id="another type"),
        pytest.param(V2C, {"timeout": "0s"}, "shorter than 1ms", id="no time"),
        pytest.param(V2C, {"retries": -1}, "greater than or equal to 0", id="negative retries"),
        pytest.param(V2C, {"bind": "eth0"}, "not an IP address", id="bind to an interface"),
        pytest.param(V2C, {"tls": {}}, "Extra inputs", id="unknown key"),
    ],
)
def test_what_makes_no_sense_is_an_error(settings: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        read(settings, **changes)


def test_the_receivers_line_names_our_engine_for_traps_only() -> None:
    trap, inform, v2c = read(V3, type="trap"), read(V3), read(V2C)

    def line(sink: SnmpSinkSettings, engine_id: bytes | None = ENGINE_ID) -> list[str]:
        return list(sink.about(engine_id))[1:]

    pass_phrase = 'noc SHA-256 "<authentication pass-phrase>"'
    assert line(trap) == [f"snmptrapd.conf: createUser -e 0x{ENGINE_ID.hex()} {pass_phrase}"]
    assert line(trap, None) == ["snmptrapd.conf: the line for snmptrapd is known once there is an engine ID"]
    assert line(inform) == line(inform, None) == [f"snmptrapd.conf: createUser {pass_phrase}"]
    assert line(v2c) == []


@pytest.mark.parametrize(("timeout", "retries"), [("60s", 20), ("2s", 3), ("10ms", 0), ("60s", 0)])
def test_the_pump_waits_longer_than_every_try_of_an_inform_takes(timeout: str, retries: int) -> None:
    settings = read(V3, timeout=timeout, retries=retries)

    tries_seconds = settings.timeout * (settings.retries + 1)
    assert settings.timeout + 2 * tries_seconds < settings.patience_seconds <= MOST_PATIENCE_SECONDS
