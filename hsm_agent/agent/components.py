"""The sources and the sinks that run, and how one set gives way to another while the rest goes on."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.collect.base import Collector, CollectorContext, HasKeepers
from hsm_agent.collect.runner import Runner
from hsm_agent.deliver.base import Announcer, Retry, Sink
from hsm_agent.deliver.pump import Pump
from hsm_agent.deliver.snmp.settings import SnmpSinkSettings
from hsm_agent.spool import SinkSpec
from hsm_agent.wire.snmp.notification import AUTHENTICATION_FAILURE, COLD_START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from hsm_agent.agent.tasks import Crew
    from hsm_agent.collect import AnySource
    from hsm_agent.deliver import AnySink
    from hsm_agent.deliver.base import SinkContext
    from hsm_agent.model import Event, SinkStatus, Usage
    from hsm_agent.pipeline import Pipeline
    from hsm_agent.spool import Spool
    from hsm_agent.store import Store

log = logging.getLogger(__name__)

STOP_SECONDS = 2.0
_NAMES = {COLD_START: "coldStart", AUTHENTICATION_FAILURE: "authenticationFailure"}
CUT_SECONDS = 0.5  # for a goodbye at the end of the agent, when the time to drain is over


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSource:
    """A source that is polled, and the settings it was built from."""

    settings: AnySource
    runner: Runner


class Sources:
    """Every source that is polled, by name."""

    def __init__(self, crew: Crew, pipeline: Pipeline, *, state_directory: Path, on_poll: Callable[[], None]) -> None:
        self._crew = crew
        self._pipeline = pipeline
        self._context = CollectorContext(state_directory=state_directory)
        self._on_poll = on_poll
        self.running: dict[str, RunningSource] = {}

    def build(self, wanted: Iterable[AnySource]) -> dict[str, tuple[AnySource, Collector | None]]:
        """Collectors for what is new or changed; None for what goes on as it is. Starts nothing."""
        built: dict[str, tuple[AnySource, Collector | None]] = {}
        for settings in wanted:
            before = self.running.get(settings.name)
            unchanged = before is not None and before.settings == settings
            built[settings.name] = (settings, None if unchanged else settings.build(self._context))
        return built

    async def replace(self, built: Mapping[str, tuple[AnySource, Collector | None]]) -> list[str]:
        """Stop what is gone or changed, start what is new; returns the names of what was stopped."""
        ending = [name for name in self.running if name not in built or built[name][1] is not None]
        await self._crew.stop([f"source {name}" for name in ending], within=STOP_SECONDS)
        for name in ending:
            del self.running[name]
        for name, (settings, collector) in built.items():
            if collector is not None:
                runner = Runner(collector, self._pipeline.take, on_poll=self._on_poll, timeout_seconds=settings.timeout)
                self.running[name] = RunningSource(settings=settings, runner=runner)
                self._crew.start(f"source {name}", runner.run())
        return ending

    def pids(self) -> dict[str, tuple[int, ...]]:
        """Processes that run for each source."""
        return {name: source.runner.collector.pids() for name, source in self.running.items()}

    def usages(self) -> dict[int, Usage]:
        """What their keepers saw of them, by pid."""
        collectors = [source.runner.collector for source in self.running.values()]
        return {pid: use for one in collectors if isinstance(one, HasKeepers) for pid, use in one.usages().items()}

    async def stop(self) -> None:
        """Stop polling, and end every worker."""
        await self._crew.stop([f"source {name}" for name in self.running], within=STOP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSink:
    """A sink that is told, and the settings it was built from."""

    settings: AnySink
    sink: Sink
    pump: Pump


class Sinks:
    """Every sink that is told, by name."""

    def __init__(self, crew: Crew, spool: Spool, store: Store, *, make_heartbeat: Callable[[], Event]) -> None:
        self._crew = crew
        self._spool = spool
        self._store = store
        self._make_heartbeat = make_heartbeat
        self.running: dict[str, RunningSink] = {}

    def build(
        self, wanted: Iterable[AnySink], context: SinkContext, *, anew: bool
    ) -> dict[str, tuple[AnySink, Sink | None]]:
        """Sinks for what is new or changed (or `anew`, all); None for what goes on as it is. Connects nowhere."""
        built: dict[str, tuple[AnySink, Sink | None]] = {}
        for settings in wanted:
            before = self.running.get(settings.name)
            unchanged = not anew and before is not None and before.settings == settings
            built[settings.name] = (settings, None if unchanged else settings.build(context))
        return built

    async def renew_v3(self, context: SinkContext) -> None:
        """Build anew what speaks SNMPv3, as another engine; the rest goes on undisturbed."""
        built: dict[str, tuple[AnySink, Sink | None]] = {}
        for name, running in self.running.items():
            settings = running.settings
            speaks = isinstance(settings, SnmpSinkSettings) and settings.user is not None
            built[name] = (settings, settings.build(context) if speaks else None)
        await self.replace(built, [])

    async def replace(self, built: Mapping[str, tuple[AnySink, Sink | None]], active: list[Event]) -> None:
        """Stop what is gone or changed, tell new sinks what is raised, start what is new."""
        ending = [name for name in self.running if name not in built or built[name][1] is not None]
        await self._crew.stop([f"sink {name}" for name in ending], within=STOP_SECONDS)
        for name in ending:
            del self.running[name]
        specs = [
            SinkSpec(name=name, minimum_severity=settings.minimum_severity) for name, (settings, _) in built.items()
        ]
        registered = await self._spool.register(specs, active)
        if registered.forgotten_events:
            log.warning("%d events for removed sinks will not be delivered", registered.forgotten_events)
        for name in registered.removed:
            log.info("sink %s left the configuration: what it was still to be told is dropped", name)
            self._store.sinks.pop(name, None)
        for settings, sink in built.values():
            if sink is not None:
                self._start(settings, sink)

    def _start(self, settings: AnySink, sink: Sink) -> None:
        pump = Pump(
            sink,
            self._spool,
            heartbeat=settings.heartbeat,
            make_heartbeat=self._make_heartbeat,
            on_status=self._note,
            patience_seconds=settings.patience_seconds,
        )
        self.running[settings.name] = RunningSink(settings=settings, sink=sink, pump=pump)
        self._crew.start(f"sink {settings.name}", pump.run())

    def _note(self, status: SinkStatus) -> None:
        self._store.sinks[status.name] = status

    async def notify(self, oid: tuple[int, ...]) -> None:
        """Send one of SNMP's own notifications to the sinks that speak it: at once, once, not spooled."""
        sinks = [running.sink for running in self.running.values()]
        await asyncio.gather(*(_announce(sink.name, sink, oid) for sink in sinks if isinstance(sink, Announcer)))

    async def stop(self, *, drain_seconds: float) -> dict[str, int]:
        """Deliver for so long what can be delivered, then stop; returns how much each sink was still to be told."""
        await asyncio.gather(*(running.pump.drain(drain_seconds) for running in self.running.values()))
        await self._crew.stop([f"sink {name}" for name in self.running], within=CUT_SECONDS)
        return self.waiting()

    def waiting(self) -> dict[str, int]:
        """How many events each sink is still to be told."""
        sinks = self._spool.stats().sinks
        return {name: sinks[name].queued for name in self.running if name in sinks}


async def _announce(name: str, sink: Announcer, oid: tuple[int, ...]) -> None:
    try:
        await sink.notify(oid)
    except Retry as error:
        log.info("sink %s was not told %s: %s", name, _NAMES.get(oid, ".".join(map(str, oid))), error)
