"""The agent's own loops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hsm_agent.deliver.syslog import SyslogSinkSettings
from hsm_agent.rounds import Rounds, held_certificates
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
