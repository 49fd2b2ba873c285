"""Readings of the agent itself: ordinary readings of the source `agent`, evaluated by ordinary rules."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hsm_agent.collect.certificate import LEFT, FetchedCertificates, parse_fetched
from hsm_agent.model import AGENT_SOURCE, Labels, Reading, SinkState, Usage
from hsm_agent.net.certificates import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hsm_agent.collect.series import Fact, KnownSeries
    from hsm_agent.model import SinkStatus
    from hsm_agent.spool import SpoolStats

CERTIFICATES_SECONDS = 3600.0
AUTHORITIES = "/ca"
"""Behind a sink's name: the certificates it trusts."""
_MOST_AUTHORITIES = 10
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _reading(
    metric: str,
    value: float | None,
    now: float,
    resource: str = "",
    labels: Labels = (),
    reason: str = "not known on this system",
) -> Reading:
    return Reading(
        source=AGENT_SOURCE,
        resource=resource,
        metric=metric,
        value=value,
        time=now,
        labels=labels,
        reason="" if value is not None else reason,
    )


def log_reading(dropped_total: int, now: float) -> Reading:
    """Log lines that were dropped."""
    return _reading("log_dropped_total", dropped_total, now)


def pipeline_reading(age_seconds: float, now: float) -> Reading:
    """Seconds since a reading was evaluated."""
    return _reading("pipeline_age_seconds", age_seconds, now)


def spool_readings(stats: SpoolStats, now: float, problem: str = "") -> Iterable[Reading]:
    """Fill, drops and failure of the spool; `problem` is why a part of the state directory can't be used."""
    yield _reading("spool_entries", stats.entries, now)
    yield _reading("spool_used_percent", stats.used_percent, now)
    yield _reading("spool_dropped_total", stats.dropped_total, now)
    yield replace(_reading("spool_failed", int(stats.failed or bool(problem)), now), note=problem)


def held_reading(because: str, now: float) -> Reading:
    """Whether SNMPv3 is held back; the note says why."""
    return replace(_reading("snmp_engine_held", int(bool(because)), now), note=because)


def sink_readings(sinks: Mapping[str, SinkStatus], now: float, monotonic: float) -> Iterable[Reading]:
    """How each sink is; the resource is its name."""
    for name, sink in sinks.items():
        if sink.state is not SinkState.IDLE or not sink.queued:
            # Only after a first attempt: a restart says nothing about a sink that was down before.
            yield _reading("sink_up", int(sink.failing_since is None), now, name)
            down = 0.0 if sink.failing_since is None else monotonic - sink.failing_since
            yield _reading("sink_down_seconds", down, now, name)
        yield _reading("sink_queued", sink.queued, now, name)
        yield _reading("sink_delivered_total", sink.delivered, now, name)
        yield _reading("sink_failed_total", sink.failed, now, name)
        yield _reading("sink_dropped_total", sink.dropped, now, name)
        yield _reading("sink_refused_total", sink.refused, now, name)


class OwnCertificates:
    """Certificates of the agent's own TLS, as they are loaded: read when they change, and each hour."""

    def __init__(self) -> None:
        self._seen: Mapping[str, bytes] = {}
        self._read_at = -CERTIFICATES_SECONDS
        self._known: Mapping[str, KnownSeries[Fact]] = {}

    def due(self, held: Mapping[str, bytes], monotonic: float) -> bool:
        """Whether the certificates are to be read (again): `held` is PEM by resource."""
        return held != self._seen or (bool(held) and monotonic - self._read_at >= CERTIFICATES_SECONDS)

    def read(self, held: Mapping[str, bytes], now: float, monotonic: float) -> tuple[tuple[Reading, ...], list[str]]:
        """Readings, and the resources that are gone. Blocks: call it on a thread.

        Of a presented chain: the leaf, and the certificate that expires first. Of trusted certificates: each, unless
        there are more than ten (a public bundle, in which some certificate always expires soon).
        """
        fetched = []
        for resource, pem in held.items():
            trusted = resource.endswith(AUTHORITIES)
            parsed = parse(pem)
            # If one certificate of a chain can't be parsed, the first of the others need not be the leaf.
            found = parsed.certificates if trusted or not parsed.errors else ()
            if not trusted or len(found) <= _MOST_AUTHORITIES:
                fetched.append(FetchedCertificates(resource=resource, certificates=found, is_endpoint=not trusted))
        read = parse_fetched(AGENT_SOURCE, fetched, self._known, now)
        left = [each for name, known in self._known.items() if name not in read.known for each in known.resources(LEFT)]
        self._seen, self._read_at, self._known = dict(held), monotonic, read.known
        return read.readings, [*read.gone, *left]


def process_readings(
    workers: Mapping[str, Iterable[int]], now: float, usages: Mapping[int, Usage] | None = None
) -> Iterable[Reading]:
    """CPU and memory of the agent and of each source's workers (the resource is the source's name).

    A worker is not dumpable, so /proc may hide it: `usages` are what its supervisor measured, by process id.
    """
    yield from _process(os.getpid(), "", now, None)
    yield _reading("process_open_fds", _open_descriptors(), now)
    for source, pids in workers.items():
        for pid in pids:
            yield from _process(pid, source, now, (usages or {}).get(pid))


def _open_descriptors() -> int | None:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # no descriptor is left to read it with
        return None


def _process(pid: int, resource: str, now: float, usage: Usage | None) -> Iterable[Reading]:
    reason, started = "", None
    try:
        # After the command's closing bracket, proc(5) counts from field 3: 14 utime, 15 stime, 22 start, 24 rss.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / _TICKS
        usage = Usage((int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE)
    except OSError as error:
        if not _lives(pid):
            return  # it ended meanwhile
        hidden = isinstance(error, FileNotFoundError)
        reason = "/proc hides the process from the agent" if hidden else f"/proc: {error.strerror}"
    cpu, resident = (None, None) if usage is None else (usage.cpu_seconds, usage.resident_bytes)
    yield _reading("process_cpu_seconds_total", cpu, now, resource, reason=reason)
    yield _reading("process_resident_memory_bytes", resident, now, resource, reason=reason)
    if not resource:
        since = None if started is None else round(started, 2)
        yield _reading("process_start_time_seconds", since, now, reason=reason)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # as another user
    return True
