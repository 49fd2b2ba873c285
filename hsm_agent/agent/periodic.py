"""Periodic jobs beside polling: ticks, readings of the agent itself, the pipeline check, systemd's watchdog."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from contextlib import suppress
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Protocol

from hsm_agent import log as logs
from hsm_agent.agent.agent import SELF_SECONDS, own_status
from hsm_agent.agent.self_monitoring import (
    AUTHORITIES,
    OwnCertificates,
    held_reading,
    log_reading,
    pipeline_reading,
    process_readings,
    sink_readings,
    spool_readings,
)
from hsm_agent.collect.certificate import INFO, LEFT
from hsm_agent.config.tree import HTTP_CERTIFICATE, tls_uses
from hsm_agent.log import SparingLog
from hsm_agent.model import AGENT_SOURCE, Reading, Usage
from hsm_agent.pipeline import STALLED_SECONDS
from hsm_agent.threads import Lane, Lanes, StuckError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hsm_agent.agent.agent import Agent
    from hsm_agent.config.tree import TlsUse
    from hsm_agent.deliver.base import SinkSettings
    from hsm_agent.net.tls import TlsSettings

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
PIPELINE_SECONDS = 5.0
LOOK_SECONDS = 5.0
PARSE_SECONDS = 60.0
LAG_SECONDS = 0.1


def notify_systemd(*states: str) -> None:
    """Send states such as `READY=1` to systemd (sd_notify(3)). Without systemd there is no socket: nothing is sent."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto("\n".join(states).encode(), name)
    except OSError as error:
        log.warning("systemd was not told %s: %s", states[0], error.strerror)


def reloading_states() -> tuple[str, str]:
    """The states of a reload; systemd wants the monotonic time with it (Type=notify-reload)."""
    return ("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_seconds() -> float | None:
    """How often systemd wants a sign of life: half of $WATCHDOG_USEC, None where it wants none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or owner != str(os.getpid()):
        return None
    return int(microseconds) / 2e6


class MayUseTls(Protocol):
    """Settings of a sink, or another use of TLS."""

    @property
    def name(self) -> str:
        """The resource of readings about its TLS."""

    def own_tls(self) -> TlsSettings | None:
        """How its connections are secured; None without TLS."""


def loaded_certificates(users: Iterable[MayUseTls]) -> dict[str, bytes]:
    """Certificates that their TLS presents and trusts, as loaded: PEM by resource."""
    held: dict[str, bytes] = {}
    for user in users:
        if (tls := user.own_tls()) is not None:
            held |= {user.name: tls.own_certificates, f"{user.name}{AUTHORITIES}": tls.authorities}
    return {resource: pem for resource, pem in held.items() if pem}


def revocation_readings(users: Iterable[MayUseTls], now: float) -> Iterator[Reading]:
    """Seconds until their revocation lists expire; a list without nextUpdate has no reading."""
    for user in users:
        tls = user.own_tls()
        if tls is not None and tls.crl_ends is not None and isfinite(tls.crl_ends):
            left = tls.crl_ends - now
            yield Reading(source=AGENT_SOURCE, resource=user.name, metric="crl_seconds_left", value=left, time=now)


class PeriodicJobs:
    """The periodic jobs of one agent; each is a task that runs until it is cancelled."""

    def __init__(
        self, agent: Agent, *, tick_seconds: float = TICK_SECONDS, pipeline_seconds: float = PIPELINE_SECONDS
    ) -> None:
        """`pipeline_seconds`: interval of the check that readings are evaluated."""
        self._agent = agent
        self._tick_seconds = tick_seconds
        self._pipeline_seconds = pipeline_seconds
        self._lag = 0.0
        self._certificates = OwnCertificates()
        self._lists = Lanes()
        self._refused: dict[str, str] = {}
        """Revocation lists that were not taken, by whose they are."""
        self._proc = Lane("reading /proc")
        self._parsing = Lane("reading the agent's own certificates")
        self._sparing = SparingLog(log)

    async def tick(self) -> None:
        """Advance the clock of hold times, repeats, silences and stale readings."""
        while True:
            await asyncio.sleep(self._tick_seconds)
            await self._agent.pipeline.tick()

    async def monitor_itself(self) -> None:
        """Readings of the source `agent`, and the age of every source, whether it is polled or hangs."""
        while True:
            began = time.monotonic()
            readings = await self._own_readings()
            refused = await self.renew_lists(self._sinks(), self._tls_uses())
            certificates, gone = await self._own_certificates()
            status = own_status(time.monotonic() - began, refused)
            await self._agent.pipeline.take(status, [*readings, *certificates], gone=gone)
            await asyncio.sleep(SELF_SECONDS)

    async def _own_readings(self) -> list[Reading]:
        agent, now = self._agent, time.time()
        pids = agent.sources.pids()
        processes = await self._look(pids, agent.sources.usages(), now)
        await agent.pipeline.tick()  # after SIGSTOP and SIGCONT the last tick is old although nothing is stalled
        lag, self._lag = self._lag, 0.0
        return [
            *spool_readings(agent.spool.stats(), now, agent.state_problem),
            held_reading(agent.v3_held_reason if agent.speaks_v3 else "", now),
            *sink_readings(agent.store.sinks, now, time.monotonic()),
            *processes,
            *revocation_readings([*self._sinks(), *self._tls_uses()], now),
            pipeline_reading(agent.pipeline.age_seconds, now),
            log_reading(logs.dropped_total(), now),
            *([] if agent.publisher is None else [agent.publisher.reading()]),
            *([] if agent.group is None else agent.group.readings(now)),
            Reading(source=AGENT_SOURCE, resource="", metric="event_loop_lag_seconds", value=lag, time=now),
            *(age for source in agent.sources.running.values() for age in source.runner.age()),
        ]

    async def _look(self, pids: Mapping[str, Sequence[int]], usages: Mapping[int, Usage], now: float) -> list[Reading]:
        def look() -> list[Reading]:
            return list(process_readings(pids, now, usages))

        try:
            return await self._proc.call(look, seconds=LOOK_SECONDS)
        except StuckError as error:
            self._sparing.warning("CPU and memory of the processes are not known: %s", error)
            return []

    async def watch_pipeline(self) -> None:
        """Raise the alarm that no reading is evaluated, past the lock that the stalled evaluation holds."""
        pipeline, was_late = self._agent.pipeline, False
        while True:
            await asyncio.sleep(self._pipeline_seconds)
            age = pipeline.age_seconds
            # Twice in a row: once may be a process that was stopped as a whole and has just been resumed.
            is_late = age >= self._pipeline_seconds
            if is_late and was_late:
                await self._report_stalled(age)
            was_late = is_late

    async def _report_stalled(self, age: float) -> None:
        if age >= STALLED_SECONDS:
            self._sparing.warning("nothing was judged for %.0f s: readings come and no alarm does", age)
        with suppress(TimeoutError):  # the disk hangs too; the next check retries
            async with asyncio.timeout(PIPELINE_SECONDS):
                await self._agent.pipeline.evaluate_aside(pipeline_reading(age, time.time()))

    def _sinks(self) -> list[SinkSettings]:
        """Settings of the running sinks: after a reload unchanged sinks still use their old objects."""
        return [sink.settings for sink in self._agent.sinks.running.values()]

    def _tls_uses(self) -> list[TlsUse]:
        """The others, likewise."""
        agent = self._agent
        publish = None if agent.publisher is None else agent.publisher.settings
        sources = (source.settings for source in agent.sources.running.values())
        return list(tls_uses(publish, sources, None if agent.group is None else agent.group.settings))

    async def renew_lists(self, sinks: Iterable[SinkSettings], others: Iterable[TlsUse] = ()) -> str:
        """Reload revocation lists that changed on disk. Returns why some were refused, so that the old ones stay."""
        held = {f"sink {sink.name}": tls for sink in sinks if (tls := sink.own_tls()) is not None}
        held |= {use.name: use.tls for use in others}
        self._refused = {whose: text for whose, text in self._refused.items() if whose in held}
        await asyncio.gather(*(self._renew_list(whose, tls) for whose, tls in held.items() if tls.crl is not None))
        return "; ".join(self._refused.values())

    async def _renew_list(self, whose: str, tls: TlsSettings) -> None:
        try:
            is_new = await self._lists.call(whose, f"reading {tls.crl}", tls.renew, seconds=LOOK_SECONDS)
        except StuckError as error:
            self._sparing.warning("%s: the revocation list stays as it was read last: %s", whose, error)
        except ValueError as error:
            self._refused[whose] = f"{whose}: the new revocation list is refused, the old one stays: {error}"
            log.warning("%s", self._refused[whose])
        else:
            if is_new:
                self._refused.pop(whose, None)
                log.info("%s: %s has changed and was read anew", whose, tls.crl)

    async def _own_certificates(self) -> tuple[Sequence[Reading], list[str]]:
        """Readings of the agent's own certificates when they are due, and the resources that are gone."""
        agent, monotonic = self._agent, time.monotonic()
        held = loaded_certificates([*self._sinks(), *self._tls_uses()])
        if agent.http is not None and (shown := await agent.http.certificates()):
            held[HTTP_CERTIFICATE] = shown
        if not self._certificates.due(held, monotonic):
            return (), []
        read = partial(self._certificates.read, held, time.time(), monotonic)
        try:
            readings, gone = await self._parsing.call(read, seconds=PARSE_SECONDS)
        except StuckError as error:
            self._sparing.warning("the agent's own certificates are not looked at: %s", error)
            return (), []
        names = {sink.name for sink in agent.loaded.config.deliver}
        for resource in names.intersection(gone):  # the sink still exists and has other readings
            for metric in (LEFT, INFO):
                agent.store.forget((AGENT_SOURCE, resource, metric, ()))
        return readings, [resource for resource in gone if resource not in names]

    async def measure_lag(self) -> None:
        """Measure how late the event loop wakes."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._lag = max(self._lag, loop.time() - due)

    async def notify_watchdog(self) -> None:
        """Notify systemd's watchdog while polls advance and are evaluated, not merely while the loop runs."""
        interval = watchdog_seconds()
        if interval is None:
            return
        seen, since = self._agent.store.polls, time.monotonic()
        while True:
            await asyncio.sleep(interval)
            if self._agent.store.polls != seen or not self._agent.sources.running:
                seen, since = self._agent.store.polls, time.monotonic()
            polls = time.monotonic() - since <= self.poll_limit_seconds()
            if polls and not self._agent.stalled():
                notify_systemd("WATCHDOG=1")

    def poll_limit_seconds(self) -> float:
        """Seconds within which a poll of some source must have ended."""
        intervals = [source.settings.every + source.settings.timeout for source in self._agent.sources.running.values()]
        return 2 * min(intervals, default=0.0) + 5.0
