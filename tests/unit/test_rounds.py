"""The agent's own loops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hsm_agent.deliver.syslog import SyslogSinkSettings
from hsm_agent.rounds import Rounds, held_certificates, revocation_readings
from tests.peers import pki

if TYPE_CHECKING:
    from pathlib import Path


def _agent(*intervals: tuple[float, float]) -> Any:
    running = {
        str(number): SimpleNamespace(settings=SimpleNamespace(every=every, timeout=timeout))
        for number, (every, timeout) in enumerate(intervals)
    }
    return SimpleNamespace(store=SimpleNamespace(polls=0), sources=SimpleNamespace(running=running))


def test_the_watchdog_is_patient_for_two_rounds_of_the_quickest_source() -> None:
    assert Rounds(_agent((60.0, 10.0), (15.0, 5.0))).patience() == 45.0
    assert Rounds(_agent()).patience() == 5.0


def test_what_a_sinks_tls_has_loaded_is_held_without_its_key(tmp_path: Path) -> None:
    made = pki.make(tmp_path)
    with made.agent.certificate.open("ab") as both:
        both.write(made.agent.key.read_bytes())
    made.agent.certificate.chmod(0o600)
    tls = {"ca": str(made.ca), "certificate": str(made.agent.certificate)}
    sink = {"name": "siem", "kind": "syslog", "to": "tls:siem.example.net:6514", "tls": tls}
    plain = {"name": "plain", "kind": "syslog", "to": "udp:127.0.0.1:514"}
    sinks = [SyslogSinkSettings.model_validate(each) for each in (sink, plain)]
    made.agent.certificate.unlink()

    held = held_certificates(sinks)

    assert set(held) == {"siem", "siem/ca"}
    assert b"BEGIN CERTIFICATE" in held["siem"]
    assert b"PRIVATE KEY" not in held["siem"]


def test_the_end_of_a_sinks_revocation_list_is_told(tmp_path: Path) -> None:
    made = pki.make(tmp_path)

    def sink(name: str, **tls: str) -> SyslogSinkSettings:
        given = {"name": name, "kind": "syslog", "to": "tls:siem.example.net:6514", "tls": {"ca": str(made.ca), **tls}}
        return SyslogSinkSettings.model_validate(given)

    plain = SyslogSinkSettings.model_validate({"name": "plain", "kind": "syslog", "to": "udp:127.0.0.1:514"})
    now = 1_700_000_000.0
    listed = sink("listed", crl=str(made.crl))

    (reading,) = revocation_readings([plain, sink("bare"), listed], now)

    assert (reading.source, reading.resource, reading.metric) == ("agent", "listed", "crl_seconds_left")
    assert listed.tls is not None
    assert listed.tls.crl_ends is not None
    assert reading.value == listed.tls.crl_ends - now
