"""What the agent does by the clock beside polling: let time pass, account for itself, reassure systemd."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

from hsm_agent import log as logs
from hsm_agent.agent import systemd
from hsm_agent.agent.self_monitoring import (
    AUTHORITIES,
    SELF_SECONDS,
    OwnCertificates,
    held_reading,
    log_reading,
    own_status,
    pipeline_reading,
    process_readings,
    sink_readings,
    spool_readings,
)
from hsm_agent.collect.certificate.parse import INFO, LEFT
from hsm_agent.config.tree import HTTP_CERTIFICATE
from hsm_agent.deliver.syslog.settings import SyslogSinkSettings
from hsm_agent.log import SparingLog
from hsm_agent.model import AGENT_SOURCE, Reading, Usage
from hsm_agent.pipeline import STALLED_SECONDS
from hsm_agent.threads import Lane, Lanes, StuckError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hsm_agent.agent.agent import Agent
    from hsm_agent.deliver import AnySink
    from hsm_agent.net.tls import TlsSettings

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
PIPELINE_SECONDS = 5.0
LOOK_SECONDS = 5.0
PARSE_SECONDS = 60.0
LAG_SECONDS = 0.1


def held_certificates(sinks: Iterable[AnySink]) -> dict[str, bytes]:
    """What the sinks' TLS shows and trusts, as it was loaded: PEM by resource."""
    held: dict[str, bytes] = {}
    for sink in sinks:
        tls = sink.tls if isinstance(sink, SyslogSinkSettings) else None
        if tls is not None:
            held |= {sink.name: tls.own_certificates, f"{sink.name}{AUTHORITIES}": tls.authorities}
    return {resource: pem for resource, pem in held.items() if pem}


def revocation_readings(sinks: Iterable[AnySink], now: float) -> Iterator[Reading]:
    """How long the revocation lists of the sinks' TLS hold; one that names no end says nothing."""
    for sink in sinks:
        tls = sink.tls if isinstance(sink, SyslogSinkSettings) else None
        if tls is not None and tls.crl_ends is not None and isfinite(tls.crl_ends):
            left = tls.crl_ends - now
            yield Reading(source=AGENT_SOURCE, resource=sink.name, metric="crl_seconds_left", value=left, time=now)


class Rounds:
    """The agent's own loops."""

    def __init__(self, agent: Agent, *, pipeline_seconds: float = PIPELINE_SECONDS) -> None:
        """`pipeline_seconds`: how often it is looked whether something was judged."""
        self._agent = agent
        self._pipeline_seconds = pipeline_seconds
        self._lag = 0.0
        self._certificates = OwnCertificates()
        self._lists = Lanes()
        self._refused: dict[str, str] = {}
        """Revocation lists that were not taken, by sink."""
        self._proc = Lane("reading /proc")
        self._parsing = Lane("reading the agent's own certificates")
        self._sparing = SparingLog(log)

    async def tick(self) -> None:
        """Let time pass for holds, repeats, silences and readings that stay away."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._agent.pipeline.tick()

    async def watch_itself(self) -> None:
        """Readings of the source `agent`, and the age of every source, whether it is polled or hangs."""
        while True:
            began = time.monotonic()
            readings = await self._account()
            refused = await self.renew_lists(self._sinks())
            certificates, gone = await self._own_certificates()
            status = own_status(time.monotonic() - began, refused)
            await self._agent.pipeline.take(status, [*readings, *certificates], gone=gone)
            await asyncio.sleep(SELF_SECONDS)

    async def _account(self) -> list[Reading]:
        agent, now = self._agent, time.time()
        pids = agent.sources.pids()
        processes = await self._look(pids, agent.sources.usages(), now)
        await agent.pipeline.tick()  # a process that was stopped as a whole is late, and not stalled
        lag, self._lag = self._lag, 0.0
        return [
            *spool_readings(agent.spool.stats(), now, agent.state_problem),
            held_reading(agent.held_because if agent.speaks_v3 else "", now),
            *sink_readings(agent.store.sinks, now, time.monotonic()),
            *processes,
            *revocation_readings(self._sinks(), now),
            pipeline_reading(agent.pipeline.age_seconds, now),
            log_reading(logs.dropped_total(), now),
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
        """Have it told that nothing is judged any more, past whatever holds the judging up."""
        pipeline, was_late = self._agent.pipeline, False
        while True:
            await asyncio.sleep(self._pipeline_seconds)
            age = pipeline.age_seconds
            # Late twice: whoever stopped the whole process for a while has not stopped the judging alone.
            is_late = age >= self._pipeline_seconds
            if is_late and was_late:
                await self._tell_late(age)
            was_late = is_late

    async def _tell_late(self, age: float) -> None:
        if age >= STALLED_SECONDS:
            self._sparing.warning("nothing was judged for %.0f s: readings come and no alarm does", age)
        with suppress(TimeoutError):  # the disk hangs too: the next try comes soon
            async with asyncio.timeout(PIPELINE_SECONDS):
                await self._agent.pipeline.judge_aside(pipeline_reading(age, time.time()))

    def _sinks(self) -> list[AnySink]:
        """What those that run were built from: a reload builds only those anew that have changed."""
        return [sink.settings for sink in self._agent.sinks.running.values()]

    async def renew_lists(self, sinks: Iterable[AnySink]) -> str:
        """Take up revocation lists that were renewed on disk; which could not be read, so that the old ones stay."""
        held = {sink.name: sink.tls for sink in sinks if isinstance(sink, SyslogSinkSettings) and sink.tls}
        self._refused = {name: text for name, text in self._refused.items() if name in held}
        await asyncio.gather(*(self._renew_list(name, tls) for name, tls in held.items() if tls.crl is not None))
        return "; ".join(self._refused.values())

    async def _renew_list(self, sink: str, tls: TlsSettings) -> None:
        try:
            is_new = await self._lists.call(sink, f"reading {tls.crl}", tls.renew, seconds=LOOK_SECONDS)
        except StuckError as error:
            self._sparing.warning("sink %s: the revocation list stays as it was read last: %s", sink, error)
        except ValueError as error:
            self._refused[sink] = f"sink {sink}: the new revocation list is refused, the old one stays: {error}"
            log.warning("%s", self._refused[sink])
        else:
            if is_new:
                self._refused.pop(sink, None)
                log.info("sink %s: %s has changed and was read anew", sink, tls.crl)

    async def _own_certificates(self) -> tuple[Sequence[Reading], list[str]]:
        """What of the agent's own TLS is due, and which certificates are no more."""
        agent, monotonic = self._agent, time.monotonic()
        held = held_certificates(self._sinks())
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
        for resource in names.intersection(gone):  # the sink itself is still there, with other readings
            for metric in (LEFT, INFO):
                agent.store.forget((AGENT_SOURCE, resource, metric, ()))
        return readings, [resource for resource in gone if resource not in names]

    async def measure_lag(self) -> None:
        """Note by how much the event loop wakes too late."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._lag = max(self._lag, loop.time() - due)

    async def reassure_systemd(self) -> None:
        """A sign of life for the watchdog, only while polls advance and are judged: one that only answers is ill."""
        interval = systemd.watchdog_seconds()
        if interval is None:
            return
        seen, since = self._agent.store.polls, time.monotonic()
        while True:
            await asyncio.sleep(interval)
            if self._agent.store.polls != seen or not self._agent.sources.running:
                seen, since = self._agent.store.polls, time.monotonic()
            polls = time.monotonic() - since <= self.patience()
            if polls and not self._agent.stalled():
                systemd.notify("WATCHDOG=1")

    def patience(self) -> float:
        """The longest time in which a poll of some source must have ended."""
        intervals = [source.settings.every + source.settings.timeout for source in self._agent.sources.running.values()]
        return 2 * min(intervals, default=0.0) + 5.0
