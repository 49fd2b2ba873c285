"""The running tasks, sources and sinks, and how a new set replaces the old one while unchanged ones go on."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from hsm_agent.collect.base import Collector, CollectorContext
from hsm_agent.collect.runner import Runner
from hsm_agent.deliver.base import Announcer, Retry, Sink, ToldAlarm
from hsm_agent.deliver.pump import Pump
from hsm_agent.model import SinkStatus, SourceStatus
from hsm_agent.wire.snmp.mib import AUTHENTICATION_FAILURE, COLD_START

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from hsm_agent.collect.base import AnySource
    from hsm_agent.config.tree import Config
    from hsm_agent.deliver.base import SinkContext, SinkSettings
    from hsm_agent.model import Event, Usage
    from hsm_agent.pipeline import Pipeline
    from hsm_agent.spool import Spool
    from hsm_agent.store import Store

log = logging.getLogger(__name__)

CANCEL_SECONDS = 2.0
STOP_SECONDS = 2.0
_NAMES = {COLD_START: "coldStart", AUTHENTICATION_FAILURE: "authenticationFailure"}
CLOSE_SECONDS = 0.5
"""How long a sink may take to close when the time to drain is over."""


class TaskSupervisor:
    """A task group whose tasks have names: started and stopped while the agent runs, as a new configuration asks.

    A task that ends with an error ends the whole group.
    """

    def __init__(self, *, cancel_seconds: float = CANCEL_SECONDS) -> None:
        """`cancel_seconds`: how long the tasks that still run at the end may take to clean up."""
        self._group = asyncio.TaskGroup()
        self._cancel_seconds = cancel_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._late: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(list(self._tasks), within=self._cancel_seconds)
        for task in self._late:
            task.cancel()  # second cancel: aborts a clean-up that is still waiting
        await self._group.__aexit__(kind, error, trace)

    def start(self, name: str, work: Coroutine[object, object, None]) -> None:
        """Start a task. Raises ValueError if a task of that name runs."""
        if name in self._tasks:
            work.close()
            raise ValueError(f"a task called {name} is running")
        task = self._group.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._forget)

    async def stop(self, names: Iterable[str], *, within: float) -> None:
        """Cancel tasks and wait at most `within` seconds until they have cleaned up.

        Then their names are free, also of tasks that are still cleaning up: their successors need not wait for them.
        """
        ending = [self._tasks[name] for name in names if name in self._tasks]
        for task in ending:
            task.cancel()
        if ending:
            _, late = await asyncio.wait(ending, timeout=within)
            for task in late:
                log.warning("%s has not ended within %g s; going on without it", task.get_name(), within)
                self._forget(task)
                self._late.add(task)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if self._tasks.get(task.get_name()) is task:
            del self._tasks[task.get_name()]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSource:
    """A source with a running poll task, and the settings it was built from."""

    settings: AnySource
    runner: Runner


def unread_sources(config: Config) -> dict[str, SourceStatus]:
    """The sources of a configuration before their first polls: a table that lacks them would say they are gone."""
    return {
        source.name: SourceStatus(name=source.name, kind=source.kind, every_seconds=source.every)
        for source in config.sources
    }


class Sources:
    """The running sources by name."""

    def __init__(
        self, tasks: TaskSupervisor, pipeline: Pipeline, *, state_directory: Path, on_poll: Callable[[], None]
    ) -> None:
        self._tasks = tasks
        self._pipeline = pipeline
        self._context = CollectorContext(state_directory=state_directory)
        self._on_poll = on_poll
        self.running: dict[str, RunningSource] = {}

    def build(self, wanted: Iterable[AnySource]) -> dict[str, tuple[AnySource, Collector | None]]:
        """Collectors for new and changed sources; None for a source that goes on unchanged. Starts nothing."""
        built: dict[str, tuple[AnySource, Collector | None]] = {}
        for settings in wanted:
            before = self.running.get(settings.name)
            unchanged = before is not None and before.settings == settings
            built[settings.name] = (settings, None if unchanged else settings.build(self._context))
        return built

    async def replace(self, built: Mapping[str, tuple[AnySource, Collector | None]]) -> list[str]:
        """Stop removed and changed sources, start new and changed ones. Returns the names of the stopped ones."""
        ending = [name for name in self.running if name not in built or built[name][1] is not None]
        await self._tasks.stop([f"source {name}" for name in ending], within=STOP_SECONDS)
        for name in ending:
            del self.running[name]
        for name, (settings, collector) in built.items():
            if collector is not None:
                runner = Runner(collector, self._pipeline.take, on_poll=self._on_poll, timeout_seconds=settings.timeout)
                self.running[name] = RunningSource(settings=settings, runner=runner)
                self._tasks.start(f"source {name}", runner.run())
        return ending

    def pids(self) -> dict[str, tuple[int, ...]]:
        """Process ids of the workers by source."""
        return {name: source.runner.collector.pids() for name, source in self.running.items()}

    def usages(self) -> dict[int, Usage]:
        """CPU and memory of the workers as their supervisors saw them, by process id."""
        collectors = [source.runner.collector for source in self.running.values()]
        return {pid: use for one in collectors for pid, use in one.usages().items()}

    async def stop(self) -> None:
        """Stop every poll task; each ends its worker."""
        await self._tasks.stop([f"source {name}" for name in self.running], within=STOP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSink:
    """A sink with a running pump, and the settings it was built from."""

    settings: SinkSettings
    sink: Sink
    pump: Pump


def idle_sinks(config: Config, spool: Spool) -> dict[str, SinkStatus]:
    """The sinks of a configuration before they are built, which waits for the host's name; and what waits for each."""
    found = {}
    for settings in config.deliver:
        queue = spool.stats().sinks.get(settings.name)
        found[settings.name] = SinkStatus(
            name=settings.name,
            kind=settings.transport,
            guarantee=settings.guarantee,
            queued=queue.queued if queue else 0,
            dropped=queue.dead_letters_total + queue.dropped_total if queue else 0,
        )
    return found


class Sinks:
    """The running sinks by name."""

    def __init__(
        self, tasks: TaskSupervisor, spool: Spool, store: Store, *, make_heartbeat: Callable[[], Event]
    ) -> None:
        self._tasks = tasks
        self._spool = spool
        self._store = store
        self._make_heartbeat = make_heartbeat
        self.running: dict[str, RunningSink] = {}

    def build(
        self, wanted: Iterable[SinkSettings], context: SinkContext, *, anew: bool
    ) -> dict[str, tuple[SinkSettings, Sink | None]]:
        """Sinks that are new or changed (all with `anew`); None for a sink that goes on unchanged. Opens no socket."""
        built: dict[str, tuple[SinkSettings, Sink | None]] = {}
        for settings in wanted:
            before = self.running.get(settings.name)
            unchanged = not anew and before is not None and before.settings == settings
            built[settings.name] = (settings, None if unchanged else settings.build(context))
        return built

    async def renew_v3(self, context: SinkContext) -> None:
        """Rebuild the sinks that speak SNMPv3 with another engine; the others go on."""
        built: dict[str, tuple[SinkSettings, Sink | None]] = {}
        for name, running in self.running.items():
            settings = running.settings
            built[name] = (settings, settings.build(context) if settings.speaks_v3() else None)
        await self.replace(built, [])

    async def replace(
        self, built: Mapping[str, tuple[SinkSettings, Sink | None]], active: list[Event]
    ) -> tuple[str, ...]:
        """Stop removed and changed sinks, queue the `active` events for new ones, start new and changed ones.

        Returns the names of those that the events were queued for: that are new, or get more than before.
        """
        ending = [name for name in self.running if name not in built or built[name][1] is not None]
        await self._tasks.stop([f"sink {name}" for name in ending], within=STOP_SECONDS)
        for name in ending:
            del self.running[name]
        minima = {name: settings.minimum_severity for name, (settings, _) in built.items()}
        registered = await self._spool.register(minima, active)
        if registered.forgotten_events:
            log.warning("%d events for removed sinks will not be delivered", registered.forgotten_events)
        for name in registered.removed:
            log.info("sink %s left the configuration: what it was still to be told is dropped", name)
            self._store.sinks.pop(name, None)
        for settings, sink in built.values():
            if sink is not None:
                self._start(settings, sink)
        return registered.resynced

    def _start(self, settings: SinkSettings, sink: Sink) -> None:
        pump = Pump(
            sink,
            self._spool,
            heartbeat_seconds=settings.heartbeat,
            make_heartbeat=self._make_heartbeat,
            on_status=self._store.set_sink,
            patience_seconds=settings.patience_seconds,
            told_alarms=partial(self._told_alarms, settings.name),
        )
        self.running[settings.name] = RunningSink(settings=settings, sink=sink, pump=pump)
        self._tasks.start(f"sink {settings.name}", pump.run())

    def _told_alarms(self, sink: str) -> list[ToldAlarm]:
        """What is raised now, of which the sink was told."""
        waits = self._spool.notified(sink)
        return [
            ToldAlarm(
                event=alarm.event,
                since=alarm.since,
                is_last_word=not alarm.silenced and not waits[alarm.alarm_id],
            )
            for alarm in self._store.alarms.values()
            if alarm.alarm_id in waits
        ]

    async def notify(self, oid: tuple[int, ...]) -> None:
        """Send a standard SNMP notification (RFC 3418) to every SNMP sink: once, at once, without the spool."""
        sinks = [running.sink for running in self.running.values()]
        await asyncio.gather(*(_announce(sink.name, sink, oid) for sink in sinks if isinstance(sink, Announcer)))

    async def stop(self, *, drain_seconds: float) -> dict[str, int]:
        """Drain the queues for at most `drain_seconds`, then stop. Returns the number of queued events by sink."""
        await asyncio.gather(*(running.pump.drain(drain_seconds) for running in self.running.values()))
        await self._tasks.stop([f"sink {name}" for name in self.running], within=CLOSE_SECONDS)
        return self.queued()

    def queued(self) -> dict[str, int]:
        """The number of undelivered events by sink."""
        sinks = self._spool.stats().sinks
        return {name: sinks[name].queued for name in self.running if name in sinks}


async def _announce(name: str, sink: Announcer, oid: tuple[int, ...]) -> None:
    try:
        await sink.notify(oid)
    except Retry as error:
        log.info("sink %s was not told %s: %s", name, _NAMES.get(oid, ".".join(map(str, oid))), error)
