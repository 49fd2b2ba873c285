"""The agent's own loops, and what they tell systemd."""

from __future__ import annotations

import asyncio
import os
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.agent.operator_commands import OperatorCommands
from hsm_agent.agent.periodic import (
    PeriodicJobs,
    loaded_certificates,
    notify_systemd,
    reloading_states,
    revocation_readings,
    watchdog_seconds,
)
from hsm_agent.config.tree import Config, TlsUse, tls_uses
from hsm_agent.deliver.syslog import SyslogSinkSettings
from tests.fakes.descriptors import no_descriptor_left
from tests.peers import pki
from tests.unit.agent.running import EXPIRED, declare, running

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.model import Reading


def _agent(*intervals: tuple[float, float]) -> Any:
    running = {
        str(number): SimpleNamespace(settings=SimpleNamespace(every=every, timeout=timeout))
        for number, (every, timeout) in enumerate(intervals)
    }
    return SimpleNamespace(store=SimpleNamespace(polls=0), sources=SimpleNamespace(running=running))


def test_the_watchdog_is_patient_for_two_rounds_of_the_quickest_source() -> None:
    assert PeriodicJobs(_agent((60.0, 10.0), (15.0, 5.0))).poll_limit_seconds() == 45.0
    assert PeriodicJobs(_agent()).poll_limit_seconds() == 5.0


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

    held = loaded_certificates(sinks)

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


def test_the_tls_of_publishing_and_of_a_fleet_is_watched_too(tmp_path: Path) -> None:
    made = pki.make(tmp_path)
    tls = {"ca": str(made.ca), "certificate": str(made.agent.certificate), "key": str(made.agent.key)}
    etcd = {"endpoints": ["https://a.example.net:2379"], "tls": {**tls, "crl": str(made.crl)}}
    plain = {"endpoints": ["http://a.example.net:2379"]}
    sources = [
        {"name": "all", "kind": "fleet", "etcd": etcd},
        {"name": "lab", "kind": "fleet", "etcd": plain},
        {"name": "dates", "kind": "declared", "dates": [{"name": "a", "kind": "expiry", "date": "2030-01-01"}]},
    ]
    config = Config.model_validate({"publish": {"etcd": etcd}, "sources": sources})

    uses = list(tls_uses(config.publish, config.sources))

    assert set(loaded_certificates(uses)) == {"publish.etcd", "publish.etcd/ca", "sources.all", "sources.all/ca"}
    assert [each.resource for each in revocation_readings(uses, 0.0)] == ["publish.etcd", "sources.all"]
    keeps = config.is_configured()
    assert keeps(("agent", "sources.all/ca", "certificate_seconds_left", ()))
    assert not keeps(("agent", "sources.lab", "certificate_seconds_left", ()))


async def test_the_revocation_list_of_a_fleet_is_renewed(listed: tuple[SyslogSinkSettings, Path, bytes]) -> None:
    sink, crl, newer = listed
    assert sink.tls is not None
    jobs, ends = PeriodicJobs(_agent()), sink.tls.crl_ends
    use = TlsUse("sources.all", sink.tls)

    crl.write_bytes(b"cut short")
    assert (await jobs.renew_lists([], [use])).startswith("sources.all: the new revocation list is refused")
    crl.write_bytes(newer)
    assert await jobs.renew_lists([], [use]) == ""
    assert sink.tls.crl_ends != ends


@pytest.fixture
def listed(tmp_path: Path) -> tuple[SyslogSinkSettings, Path, bytes]:
    """A sink, the file of its revocation list, and a newer list."""
    made = pki.make(tmp_path)
    crl = tmp_path / "own-crl.pem"
    crl.write_bytes(made.old_crl.read_bytes())
    tls = {"ca": str(made.ca), "crl": str(crl)}
    given = {"name": "siem", "kind": "syslog", "to": "tls:siem.example.net:6514", "tls": tls}
    return SyslogSinkSettings.model_validate(given), crl, made.crl.read_bytes()


async def test_a_revocation_list_that_was_renewed_is_taken_up_or_told(
    listed: tuple[SyslogSinkSettings, Path, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    sink, crl, newer = listed
    bare = SyslogSinkSettings.model_validate({"name": "plain", "kind": "syslog", "to": "udp:127.0.0.1:514"})
    assert sink.tls is not None
    jobs, ends = PeriodicJobs(_agent()), sink.tls.crl_ends

    assert await jobs.renew_lists([sink, bare]) == ""
    crl.write_bytes(b"cut short")
    told = f"sink siem: the new revocation list is refused, the old one stays: crl: {crl}: not a certificate"
    for _ in range(2):
        assert (await jobs.renew_lists([sink, bare])).startswith(told)
    assert sink.tls.crl_ends == ends
    assert caplog.text.count(told) == 1
    crl.write_bytes(newer)
    assert await jobs.renew_lists([sink, bare]) == ""
    assert sink.tls.crl_ends != ends
    crl.write_bytes(b"cut short")
    assert await jobs.renew_lists([sink]) != ""
    assert await jobs.renew_lists([]) == "", "nobody's list any more"


class _Pipeline:
    """Says how long ago it judged, and takes what is judged aside."""

    def __init__(self) -> None:
        self.age_seconds = 0.0
        self.aside: list[Reading] = []
        self.judged = asyncio.Event()

    async def evaluate_aside(self, reading: Reading) -> None:
        self.aside.append(reading)
        self.judged.set()


async def test_that_nothing_is_judged_is_itself_judged_past_what_holds_it_up(caplog: pytest.LogCaptureFixture) -> None:
    agent = _agent()
    agent.pipeline = pipeline = _Pipeline()
    pipeline.age_seconds = 61.0
    task = asyncio.create_task(PeriodicJobs(agent, pipeline_seconds=0.001).watch_pipeline())
    async with asyncio.timeout(5):
        for _ in range(5):
            await pipeline.judged.wait()
            pipeline.judged.clear()
    task.cancel()

    assert {(reading.metric, reading.value) for reading in pipeline.aside} == {("pipeline_age_seconds", 61.0)}
    assert caplog.messages == ["nothing was judged for 61 s: readings come and no alarm does"]


async def test_a_process_that_was_stopped_as_a_whole_has_not_stopped_judging() -> None:
    agent, looks = _agent(), asyncio.Event()

    class Resumed(_Pipeline):
        """Late at every second look: it had no chance before the first, and used it before the next."""

        def __init__(self) -> None:
            self.aside = []
            self.judged = asyncio.Event()
            self.looks = 0

        @property
        def age_seconds(self) -> float:  # type: ignore[override]  # read only, as the pipeline's own is
            self.looks += 1
            if self.looks == 9:
                looks.set()
            return 120.0 if self.looks % 2 else 0.5e-3

    agent.pipeline = pipeline = Resumed()
    task = asyncio.create_task(PeriodicJobs(agent, pipeline_seconds=0.001).watch_pipeline())
    async with asyncio.timeout(5):
        await looks.wait()
    task.cancel()

    assert pipeline.aside == []


@pytest.mark.parametrize(("stalled", "alive"), [("", True), ("pipeline: nothing was judged for 61 s", False)])
async def test_the_watchdog_is_told_of_life_only_while_what_is_read_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stalled: str, alive: bool
) -> None:
    agent, asked = _agent(), asyncio.Event()

    def state() -> str:
        asked.set()
        return stalled

    agent.stalled = state
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        task = asyncio.create_task(PeriodicJobs(agent).notify_watchdog())
        async with asyncio.timeout(5):
            for _ in range(3):
                await asked.wait()
                asked.clear()
        task.cancel()
        try:
            heard = channel.recv(100)
        except BlockingIOError:
            heard = b""

    assert heard == (b"WATCHDOG=1" if alive else b"")


async def test_a_round_of_monitoring_brings_readings_of_spool_sinks_processes_and_sources(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        agent.tasks.start("monitoring", PeriodicJobs(agent).monitor_itself())
        async with asyncio.timeout(10):
            while agent.store.reading("agent", "", "event_loop_lag_seconds") is None:
                await asyncio.sleep(0)
        found = {(reading.resource, reading.metric): reading.value for reading in agent.store.readings()}

    assert found["", "spool_entries"] == 0
    assert found["", "spool_failed"] == 0
    assert found["", "snmp_engine_held"] == 0
    assert found["noc", "sink_queued"] == 0
    assert (found["", "process_resident_memory_bytes"] or 0) > 0
    assert ("", "pipeline_age_seconds") in found


async def test_ticks_let_the_time_of_a_silence_pass(tmp_path: Path) -> None:
    await declare(tmp_path, EXPIRED)
    async with running(tmp_path) as (agent, sink):
        await sink.until(lambda: sink.kinds == ["RAISED"])
        await OperatorCommands(agent).silence({"seconds": 0.001, "reason": "r"}, 1000)
        agent.tasks.start("ticks", PeriodicJobs(agent, tick_seconds=0.001).tick())

        async with asyncio.timeout(10):
            while agent.pipeline.alarm_state.silences:
                await asyncio.sleep(0)
        await sink.until(lambda: sink.kinds == ["RAISED", "NOTICE", "NOTICE"])


def test_states_go_to_the_socket_that_systemd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify_systemd("READY=1", "STATUS=well")

        assert channel.recv(100) == b"READY=1\nSTATUS=well"


def test_an_abstract_socket_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"hsm-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify_systemd("STOPPING=1")

        assert channel.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)

    notify_systemd("READY=1")
    assert watchdog_seconds() is None


def test_a_socket_that_is_gone_does_not_end_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))

    notify_systemd("READY=1")
    assert "systemd was not told READY=1" in caplog.text


def test_the_watchdog_is_fed_twice_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert watchdog_seconds() == 15.0

    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert watchdog_seconds() is None


def test_a_reload_names_its_moment() -> None:
    first, second = reloading_states()

    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert second.partition("=")[2].isdecimal()


def test_a_word_that_cannot_be_said_is_a_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody-listens"))
    notify_systemd("READY=1")
    with no_descriptor_left():
        notify_systemd("WATCHDOG=1")

    assert "systemd was not told READY=1: No such file or directory" in caplog.text
    assert "systemd was not told WATCHDOG=1: Too many open files" in caplog.text
