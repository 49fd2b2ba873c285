"""The agent's account of itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import trustme

from hsm_agent.agent.agent import own_status
from hsm_agent.agent.self_monitoring import OwnCertificates, process_readings, sink_readings, spool_readings
from hsm_agent.metrics import METRICS
from hsm_agent.model import AGENT_SOURCE, Guarantee, SinkState, SinkStatus, SourceState, Usage
from hsm_agent.spool import SpoolStats
from tests.fakes.descriptors import no_descriptor_left
from tests.peers import pki

if TYPE_CHECKING:
    from pathlib import Path

PROCESS_METRICS = ("process_cpu_seconds_total", "process_resident_memory_bytes")
NOW = 1_700_000_000.0


def test_the_spool_is_four_readings() -> None:
    stats = SpoolStats(entries=7, bytes=100, used_percent=12.5, dropped_total=3, reason="No space left on device")
    values = {reading.metric: reading.value for reading in spool_readings(stats, NOW)}

    assert values == {"spool_entries": 7, "spool_used_percent": 12.5, "spool_dropped_total": 3, "spool_failed": 1}


def test_a_failing_sink_says_for_how_long() -> None:
    well = SinkStatus(name="noc", kind="snmp inform", guarantee=Guarantee.AT_LEAST_ONCE, delivered=5)
    ill = SinkStatus(
        name="siem", kind="syslog relp", guarantee=Guarantee.AT_LEAST_ONCE, state=SinkState.RETRYING, queued=4,
        failed=9, dropped=1, refused=2, failing_since=100.0,
    )  # fmt: skip
    readings = {(r.resource, r.metric): r.value for r in sink_readings({"noc": well, "siem": ill}, NOW, 160.0)}

    assert readings["noc", "sink_up"] == 1
    assert readings["noc", "sink_down_seconds"] == 0.0
    assert readings["noc", "sink_delivered_total"] == 5
    assert readings["siem", "sink_up"] == 0
    assert readings["siem", "sink_down_seconds"] == 60.0
    assert readings["siem", "sink_queued"] == 4
    assert readings["siem", "sink_failed_total"] == 9
    assert readings["siem", "sink_dropped_total"] == 1
    assert readings["siem", "sink_refused_total"] == 2


def test_a_sink_that_was_not_tried_yet_is_neither_up_nor_down() -> None:
    waiting = SinkStatus(name="noc", kind="k", guarantee=Guarantee.BEST_EFFORT, queued=3)
    idle = SinkStatus(name="siem", kind="k", guarantee=Guarantee.BEST_EFFORT)
    told = {(r.resource, r.metric) for r in sink_readings({"noc": waiting, "siem": idle}, NOW, 0.0)}

    assert ("noc", "sink_up") not in told
    assert ("noc", "sink_down_seconds") not in told
    assert ("siem", "sink_up") in told


def test_processes_are_the_agent_and_the_workers_that_live() -> None:
    readings = list(process_readings({"luna-a": (os.getpid(), 2**22 + 1)}, NOW))
    memory = {r.resource: r.value for r in readings if r.metric == "process_resident_memory_bytes"}

    assert set(memory) == {"", "luna-a"}
    assert memory[""] == memory["luna-a"]
    assert 1_000_000 < (memory[""] or 0) < 10**10
    started = next(r.value for r in readings if r.metric == "process_start_time_seconds")
    assert started is not None
    assert started > NOW


def test_every_reading_is_in_the_table_of_metrics() -> None:
    stats = SpoolStats(entries=0, bytes=0, used_percent=0.0, dropped_total=0, reason="")
    sink = SinkStatus(name="x", kind="k", guarantee=Guarantee.BEST_EFFORT)
    readings = [*spool_readings(stats, NOW), *sink_readings({"x": sink}, NOW, 0.0), *process_readings({}, NOW)]

    assert {reading.metric for reading in readings} <= set(METRICS)


def test_without_a_descriptor_left_nothing_is_known_and_nothing_fails() -> None:
    with no_descriptor_left():
        found = list(process_readings({"hsm": [os.getpid()]}, NOW))

    assert {reading.value for reading in found} == {None}
    assert {(reading.resource, reading.metric) for reading in found} == {
        *((resource, name) for resource in ("", "hsm") for name in PROCESS_METRICS),
        ("", "process_start_time_seconds"),
        ("", "process_open_fds"),
    }
    assert {reading.reason for reading in found} == {"/proc: Too many open files", "not known on this system"}


def test_what_its_keeper_saw_of_a_worker_is_not_needed_while_proc_shows_it() -> None:
    usage = Usage(cpu_seconds=1.5, resident_bytes=4096)
    gone = 2**22 + 1
    found = list(process_readings({"hsm": [os.getpid()], "gone": [gone]}, NOW, {os.getpid(): usage, gone: usage}))

    assert all(reading.value not in {1.5, 4096} for reading in found)
    with no_descriptor_left():
        kept = {
            r.metric: r.value for r in process_readings({"hsm": [os.getpid()]}, NOW, {os.getpid(): usage}) if r.resource
        }
    assert kept == {"process_cpu_seconds_total": 1.5, "process_resident_memory_bytes": 4096}


def test_the_agent_is_a_source_that_is_up() -> None:
    status = own_status(0.25)

    assert (status.name, status.kind, status.state) == (AGENT_SOURCE, "agent", SourceState.UP)
    assert cast("float", status.last_success) > 0
    assert status.last_poll_seconds == 0.25


def _pem(folder: Path) -> dict[str, bytes]:
    made = pki.make(folder)
    return {"siem": made.expired_server.certificate.read_bytes(), "siem/ca": made.ca.read_bytes()}


def test_own_certificates_are_read_on_change_and_each_hour(tmp_path: Path) -> None:
    own, held = OwnCertificates(), _pem(tmp_path)
    assert own.due(held, 5.0)
    readings, gone = own.read(held, NOW, 5.0)

    left = {r.resource: r.value for r in readings if r.metric == "certificate_seconds_left"}
    assert set(left) == {"siem", "siem/ca"}
    assert {r.source for r in readings} == {AGENT_SOURCE}
    assert gone == []
    assert not own.due(held, 3604.0)
    assert own.due(held, 3605.0)
    assert own.due({**held, "siem": held["siem/ca"]}, 6.0)
    assert not OwnCertificates().due({}, 1e9)


def test_own_certificates_that_are_no_more_are_gone(tmp_path: Path) -> None:
    own, held = OwnCertificates(), _pem(tmp_path)
    own.read(held, NOW, 5.0)

    assert own.due({}, 6.0)
    assert own.read({}, NOW, 6.0) == ((), ["siem", "siem/ca"])
    assert not own.due({}, 1e9)


def test_a_public_bundle_is_not_watched(tmp_path: Path) -> None:
    many = b"".join(trustme.CA().cert_pem.bytes() for _ in range(11))

    assert OwnCertificates().read({"siem/ca": many}, NOW, 0.0) == ((), [])
    readings, _ = OwnCertificates().read({"siem/ca": many[: many.index(b"END") * 3]}, NOW, 0.0)
    assert 2 <= len(readings) <= 6
