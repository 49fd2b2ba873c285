"""What the agent does by the clock beside polling: let time pass, account for itself, reassure systemd."""

from __future__ import annotations

import asyncio
import time
from math import isfinite
from typing import TYPE_CHECKING

from hsm_agent import systemd
from hsm_agent.collect.certificate.parse import INFO, LEFT
from hsm_agent.config.tree import HTTP_CERTIFICATE
from hsm_agent.deliver.syslog import SyslogSinkSettings
from hsm_agent.model import AGENT_SOURCE, Reading
from hsm_agent.selfwatch import (
    AUTHORITIES,
    SELF_SECONDS,
    OwnCertificates,
    own_status,
    process_readings,
    sink_readings,
    spool_readings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hsm_agent.agent import Agent
    from hsm_agent.deliver import AnySink

TICK_SECONDS = 1.0
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

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._lag = 0.0
        self._certificates = OwnCertificates()

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
            certificates, gone = await self._own_certificates()
            status = own_status(time.monotonic() - began)
            await self._agent.pipeline.take(status, [*readings, *certificates], gone=gone)
            await asyncio.sleep(SELF_SECONDS)

    async def _account(self) -> list[Reading]:
        agent, now = self._agent, time.time()
        pids = agent.sources.pids()
        processes = await asyncio.to_thread(lambda: list(process_readings(pids, now)))
        lag, self._lag = self._lag, 0.0
        return [
            *spool_readings(agent.spool.stats(), now),
            *sink_readings(agent.store.sinks, now, time.monotonic()),
            *processes,
            *revocation_readings(agent.loaded.config.deliver, now),
            Reading(source=AGENT_SOURCE, resource="", metric="event_loop_lag_seconds", value=lag, time=now),
            *(age for source in agent.sources.running.values() for age in source.runner.age()),
        ]

    async def _own_certificates(self) -> tuple[Sequence[Reading], list[str]]:
        """What of the agent's own TLS is due, and which certificates are no more."""
        agent, monotonic = self._agent, time.monotonic()
        held = held_certificates(agent.loaded.config.deliver)
        if agent.http is not None and (shown := await agent.http.certificates()):
            held[HTTP_CERTIFICATE] = shown
        if not self._certificates.due(held, monotonic):
            return (), []
        readings, gone = await asyncio.to_thread(self._certificates.read, held, time.time(), monotonic)
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
        """A sign of life for the watchdog, only while polls advance: an agent that answers but does not poll is ill."""
        interval = systemd.watchdog_seconds()
        if interval is None:
            return
        seen, since = self._agent.store.polls, time.monotonic()
        while True:
            await asyncio.sleep(interval)
            if self._agent.store.polls != seen or not self._agent.sources.running:
                seen, since = self._agent.store.polls, time.monotonic()
            if time.monotonic() - since <= self.patience():
                systemd.notify("WATCHDOG=1")

    def patience(self) -> float:
        """The longest time in which a poll of some source must have ended."""
        intervals = [source.settings.every + source.settings.timeout for source in self._agent.sources.running.values()]
        return 2 * min(intervals, default=0.0) + 5.0
