"""The agent: builds its components from a configuration, starts them and closes them in order."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.agent.components import Sinks, Sources, TaskSupervisor, idle_sinks, unread_sources
from hsm_agent.agent.host import host_name
from hsm_agent.agent.known_objects import ObjectMemory
from hsm_agent.deliver.base import SinkContext
from hsm_agent.evaluate.hsms import Hsms
from hsm_agent.evaluate.messages import counted
from hsm_agent.evaluate.rules import Ruleset
from hsm_agent.evaluate.state import AlarmState, active
from hsm_agent.model import AGENT_SOURCE, AgentIdentity, Event, EventKind, Reading, Severity, SourceState, SourceStatus
from hsm_agent.pipeline import STALLED_SECONDS, Pipeline, new_id
from hsm_agent.serve.settings import HttpError, SnmpServerSettings
from hsm_agent.serve.snapshot import Snapshot, missing, snapshot
from hsm_agent.serve.snmp.responder import Responder
from hsm_agent.spool import Spool
from hsm_agent.spool.shared import GROUP_STATES
from hsm_agent.state import hide_key
from hsm_agent.state.files import DamagedFileError
from hsm_agent.state.snmp_engine import EngineStateError, held_engine, start_engine
from hsm_agent.store import Store
from hsm_agent.threads import Lane, Lanes, StuckError
from hsm_agent.version import VERSION
from hsm_agent.wire.snmp.mib import AUTHENTICATION_FAILURE, COLD_START

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.agent.group import Membership
    from hsm_agent.agent.publisher import Publisher
    from hsm_agent.config.tree import Config, Loaded
    from hsm_agent.deliver.base import Sink, SinkSettings
    from hsm_agent.serve.http.server import HttpServer
    from hsm_agent.wire.snmp.engine import Engine

log = logging.getLogger(__name__)

SELF_SECONDS = 10.0
"""How often the agent reads itself."""
STATE_SECONDS = 10.0
LAST_KEEP_SECONDS = 1.0
"""For a last note of which tokens there are; the queues have the rest of the time to drain."""
PUBLISHER, PUBLISHER_SECONDS = "publisher", 1.0
"""The task that publishes the status, and how long it may take to end."""
ENGINE_RETRY_SECONDS = 5.0
"""Pause between attempts to store the engine's boots."""


def own_status(seconds: float, errors: str = "") -> SourceStatus:
    """The status of the source `agent`: up for as long as it can say so."""
    return SourceStatus(
        name=AGENT_SOURCE,
        kind="agent",
        every_seconds=SELF_SECONDS,
        state=SourceState.UP,
        last_success=time.monotonic(),
        last_poll_seconds=seconds,
        last_error=errors,
    )


def _http_server() -> type[HttpServer]:
    # Loaded on a thread while SNMP is answered already: with TLS and HTTP's grammar it takes a tenth of the start.
    from hsm_agent.serve.http.server import HttpServer  # noqa: PLC0415

    return HttpServer


class Agent:
    """All components. `open` opens the state and binds the sockets; `start` polls, evaluates and delivers."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        config = loaded.config
        self.tasks = TaskSupervisor()
        self.store = Store(agent_name=config.agent.name, started=time.time(), labels=config.labels_by_source())
        self.objects: ObjectMemory
        self.pipeline: Pipeline
        self.spool: Spool
        self.sources: Sources
        self.sinks: Sinks
        self.responder: Responder | None = None
        self.http: HttpServer | None = None
        self._opened_spool: Spool | None = None
        self._unreadable: tuple[str, ...] = ()
        self._state_disk = Lane(f"reading and writing {config.agent.state_directory}")
        self.v3_held_reason = ""
        """Why SNMPv3 neither answers nor sends; empty while it does."""
        self.control_problem = ""
        """Why there is no control socket; empty while there is one."""
        self._auth_failures = asyncio.Event()
        self.hide_key = b""
        """Of the pseudonyms that views show; empty until one is to."""
        self.publisher: Publisher | None = None
        self.group: Membership | None = None
        self.reading = Lanes()
        """Threads that read a new configuration and the files it names; one that hangs does not block the next."""

    async def open(self) -> None:
        """Open the state directory and bind every socket. Nothing is polled or sent yet."""
        config = self.loaded.config
        state = config.agent.state_directory
        self.spool = self._opened_spool = await Spool.open(
            state, entries=config.agent.spool.entries, size_bytes=config.agent.spool.size
        )
        self.engine = await self._make_engine(time.monotonic())
        states = await self.spool.states()
        of_group = {key: text for key, text in states.items() if key.startswith(GROUP_STATES)}
        alarm_state, unreadable = AlarmState.load({key: each for key, each in states.items() if key not in of_group})
        if of_group and config.group is None:
            await self.spool.unshare_all(dict.fromkeys(of_group))  # it left its group: should it join again, it is new
        self._unreadable = tuple(unreadable)
        self.store.sources = {AGENT_SOURCE: own_status(0.0), **unread_sources(config)}
        self.store.sinks = idle_sinks(config, self.spool)
        self.objects = ObjectMemory(self.store, state)
        await self.objects.load(config.is_configured(), active(alarm_state).values())
        self.store.update([self._spooled_events()])
        await self.load_hide_key(config)
        self.responder = self._make_responder(config)
        self.group = self._join(config)
        self.pipeline = self._make_pipeline(config, alarm_state, of_group)
        self.sources = Sources(self.tasks, self.pipeline, state_directory=state, on_poll=self._count_poll)
        self.sinks = Sinks(self.tasks, self.spool, self.store, make_heartbeat=self._make_heartbeat)
        self.pipeline.show_alarms()
        if self.responder is not None:
            await self.responder.start()
        if config.serve.http is not None:
            self.http = await self.make_http(config)
        # Last, as a resolver may take its time, and only the sinks name the host.
        self.origin = AgentIdentity(
            agent_name=config.agent.name,
            host_name=await host_name(otherwise=config.agent.name),
            version=VERSION,
            enterprise_id=config.agent.enterprise_id,
        )

    def _make_pipeline(self, config: Config, alarm_state: AlarmState, of_group: Mapping[str, str]) -> Pipeline:
        make = Pipeline if self.group is None else self.group.pipeline_with(of_group)
        return make(
            alarm_state=alarm_state,
            rules=Ruleset(config.effective_rules(), self.store.labels),
            store=self.store,
            spool=self.spool,
            refresh=self.responder.changed if self.responder is not None else None,
            hsms=Hsms(config.hsms),
        )

    def _join(self, config: Config) -> Membership | None:
        if config.group is None:
            return None
        from hsm_agent.agent.group import Membership  # noqa: PLC0415 - only where it is configured

        return Membership(
            config.group, config, spool=self.spool, store=self.store, announce=self.announce, refresh=self._show_members
        )

    def _show_members(self) -> None:
        if self.responder is not None:
            self.responder.changed({AGENT_SOURCE}, alarms=False)

    def _spooled_events(self) -> Reading:
        """How much waits in the spool, for the first answer: the agent reads itself only later."""
        entries = self.spool.stats().entries
        return Reading(source=AGENT_SOURCE, resource="", metric="spool_entries", value=entries, time=time.time())

    def _make_responder(self, config: Config) -> Responder | None:
        if config.serve.snmp is None:
            return None
        return Responder(
            config.serve.snmp,
            self.store,
            self.engine,
            state_directory=config.agent.state_directory,
            hide_key=lambda: self.hide_key,
            on_authentication_failure=self._note_auth_failure,
        )

    async def load_hide_key(self, config: Config) -> None:
        """Load the key of the pseudonyms, if a view is to show any; a random one where it can't be read or stored."""
        if self.hide_key or not config.serve.hides_anything():
            return
        load = partial(hide_key.load, config.agent.state_directory)
        try:
            self.hide_key = await self._state_disk.call(load, seconds=STATE_SECONDS)
        except (OSError, DamagedFileError) as error:
            log.warning("what views show instead of hidden names is new with each start: %s", error)
            self.hide_key = secrets.token_bytes(32)

    async def _make_engine(self, now: float) -> Engine:
        """The SNMP engine with its boots stored, or a held one where they can't be stored (RFC 3414 section 2.2)."""
        config = self.loaded.config
        engine_id = config.serve.snmp.engine_id if config.serve.snmp is not None else None
        try:
            start = partial(start_engine, config.agent.state_directory, engine_id=engine_id, now=now)
            return await self._state_disk.call(start, seconds=STATE_SECONDS)
        except (OSError, EngineStateError) as error:
            if str(error) != self.v3_held_reason:
                log.error("SNMPv3 is held back: %s", error)  # noqa: TRY400 - no bug of the agent's
            self.v3_held_reason = str(error)
            return held_engine(engine_id=engine_id, now=now)

    async def _release_engine(self) -> None:
        """Retry until the engine's boots are stored; then start SNMPv3 in the responder and the sinks."""
        while self.engine.is_held:
            await asyncio.sleep(ENGINE_RETRY_SECONDS)
            engine = await self._make_engine(self.engine.started)
            if engine.is_held:
                continue
            self.engine, self.v3_held_reason = engine, ""
            if self.responder is not None:
                await self.responder.adopt(engine)
            await self.sinks.renew_v3(self.sink_context(self.loaded.config))
            log.warning("SNMPv3 is no longer held back: engine %s, boots %d", engine.engine_id.hex(), engine.boots)

    @property
    def speaks_v3(self) -> bool:
        """Whether the configuration has an SNMPv3 user."""
        config = self.loaded.config
        users = config.serve.snmp.users if config.serve.snmp is not None else ()
        return bool(users) or any(sink.speaks_v3() for sink in config.deliver)

    @property
    def state_problem(self) -> str:
        """Why a part of the state directory can't be used; empty if all of it can."""
        rows = self.responder.problem if self.responder is not None else ""
        return self.spool.stats().reason or rows or self.control_problem

    async def _announce_damage(self) -> None:
        """Announce what was found damaged at the start, once, and delete unreadable rows."""
        found = [self.spool.recovered, self.responder.recovered if self.responder is not None else ""]
        if self._unreadable:
            log.error("rows of the state can't be read and are left out: %s", " ".join(self._unreadable)[:2000])
            found.append(f"{len(self._unreadable)} rows of the state could not be read and are left out")
            await self.spool.commit((), dict.fromkeys(self._unreadable))
        for text in found:
            if text:
                await self.announce(text)

    def _count_poll(self) -> None:
        self.store.polls += 1

    def sink_context(self, config: Config) -> SinkContext:
        """What the sinks of a configuration are built with."""
        snmp = config.serve.snmp or SnmpServerSettings()
        return SinkContext(origin=self.origin, engine=self.engine, base_oid=snmp.base_oid)

    async def make_http(self, config: Config) -> HttpServer:
        """A started HTTP server. Raises HttpError."""
        assert config.serve.http is not None
        try:
            http_server = await self.reading.call("http", "loading HTTP", _http_server, seconds=STATE_SECONDS)
        except StuckError as error:
            raise HttpError(f"serve.http: {error}") from error
        server = http_server(
            config.serve.http,
            snapshot=self.snapshot,
            missing=self.unready,
            stalled=self.stalled,
            hide_key=lambda: self.hide_key,
        )
        await server.start()
        return server

    def snapshot(self) -> Snapshot:
        """The present state, for the servers and the command line."""
        return snapshot(
            self.store,
            spool=self.spool.stats(),
            silences=self.pipeline.alarm_state.silences.values(),
            now=time.time(),
            monotonic=time.monotonic(),
            histories=self.pipeline.alarm_state.points,
        )

    def unready(self) -> list[str]:
        """What start-up still waits for, and what stops the agent from working."""
        stats = self.spool.stats()
        waiting = missing(self.store, [source.name for source in self.loaded.config.sources])
        troubles = [f"spool: {stats.reason}" if stats.failed else "", self.stalled()]
        troubles.append("" if self.group is None else self.group.unready())
        return [*waiting, *filter(None, troubles)]

    def stalled(self) -> str:
        """How long nothing was evaluated, if too long; else empty."""
        age = self.pipeline.age_seconds
        return f"pipeline: nothing was judged for {age:.0f} s" if age >= STALLED_SECONDS else ""

    async def start(self) -> None:
        """Start sinks, sources and servers; clear the alarms of objects that left the configuration."""
        config = self.loaded.config
        await self.replace_sinks(self.sinks.build(config.deliver, self.sink_context(config), anew=True))
        await self.withdraw(config, self.pipeline.rules)
        await self.sources.replace(self.sources.build(config.sources))
        await self.replace_publisher()
        await self._announce_damage()
        if self.group is not None:
            self.tasks.start("group", self.group.run())
        self.tasks.start("cold start", self.sinks.notify(COLD_START))
        self.tasks.start("known objects", self.objects.run())
        self.tasks.start("snmp engine", self._release_engine())
        self.tasks.start("authentication failures", self._report_auth_failures())
        if self.responder is not None:
            self.tasks.start("snmp", self.responder.run())
        log.info("hsm-agent %s watches %s", VERSION, counted(len(self.sources.running), "sources"))

    async def stop(self, end: float) -> None:
        """Stop polling, and drain the queues until `end` on the monotonic clock."""
        log.info("stopping: polls end, what can be delivered is")
        await self.sources.stop()
        await self.objects.keep(seconds=LAST_KEEP_SECONDS)
        drained = end if self.group is None else end - self.group.drain_seconds
        queued_by_sink = await self.sinks.stop(drain_seconds=max(0.0, drained - time.monotonic()))
        if self.group is not None:
            await self.group.drain(end)
        for name, queued in queued_by_sink.items():
            if queued:
                stay = "stays" if queued == 1 else "stay"
                log.warning("%s for sink %s %s spooled until the next start", counted(queued, "events"), name, stay)

    async def close(self) -> None:
        """Close sockets and files; safe at any point of opening."""
        if self.http is not None:
            await self.http.close()
        if self.responder is not None:
            await self.responder.close()
        if self._opened_spool is not None:
            await self._opened_spool.close()
            self._opened_spool = None
            log.info("stopped")

    async def replace_sinks(self, built: Mapping[str, tuple[SinkSettings, Sink | None]]) -> None:
        """Start new and changed sinks, stop the others; new ones are told what is raised."""
        more = await self.sinks.replace(built, self.pipeline.events_for_new_sinks())
        await self.pipeline.bring_up_to_date(more)

    async def replace_publisher(self) -> None:
        """Publish as the configuration in force says. What was published is withdrawn where it says so no more."""
        settings, before = self.loaded.config.publish, self.publisher
        if settings == (None if before is None else before.settings):
            return
        await self.tasks.stop([PUBLISHER], within=PUBLISHER_SECONDS)
        self.publisher = None
        if before is not None and settings is None:
            self.store.forget((AGENT_SOURCE, "", "publish_age_seconds", ()))
            self.tasks.start(PUBLISHER, before.withdraw())
        elif settings is not None:
            from hsm_agent.agent.publisher import Publisher  # noqa: PLC0415 - only where it is configured

            self.publisher = Publisher(settings, self.store, problem=lambda: next(iter(self.unready()), ""))
            self.tasks.start(PUBLISHER, self.publisher.run())

    async def withdraw(self, config: Config, rules: Ruleset) -> None:
        """Replace the rules; clear the alarms of objects that are not in the configuration."""
        await self.pipeline.reconfigure(config.is_configured(), rules, Hsms(config.hsms))

    def _note_auth_failure(self, address: str) -> None:
        log.warning("snmp: a request from %s failed authentication", address)
        self._auth_failures.set()

    async def _report_auth_failures(self) -> None:
        while True:
            await self._auth_failures.wait()
            self._auth_failures.clear()
            await self.sinks.notify(AUTHENTICATION_FAILURE)

    async def announce(self, text: str) -> None:
        """Send every sink a NOTICE of what the agent or an operator did."""
        if self.sinks.running:
            await self.pipeline.notify([self.event(EventKind.NOTICE, text)])

    def _make_heartbeat(self) -> Event:
        raised = len(self.store.alarms)
        sources = counted(len(self.loaded.config.sources), "sources")
        return self.event(EventKind.HEARTBEAT, f"{sources}, {counted(raised, 'active alarms')}")

    def event(self, kind: EventKind, text: str) -> Event:
        """An event of the agent itself, of no alarm."""
        return Event(
            event_id=new_id(),
            kind=kind,
            severity=Severity.CLEARED,
            time=time.time(),
            text=text,
            agent=self.store.agent_name,
            source=AGENT_SOURCE,
            labels=self.store.labels.get(AGENT_SOURCE, ()),
        )
