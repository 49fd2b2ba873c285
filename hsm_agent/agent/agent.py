"""The agent: builds everything from a configuration, starts it, and lets go of it in the right order."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.agent.components import Sinks, Sources
from hsm_agent.agent.self_monitoring import own_status
from hsm_agent.agent.tasks import Crew
from hsm_agent.deliver.base import Origin, SinkContext
from hsm_agent.deliver.snmp.settings import SnmpSinkSettings
from hsm_agent.evaluate.hsms import Hsms
from hsm_agent.evaluate.messages import counted
from hsm_agent.evaluate.rules import Ruleset
from hsm_agent.evaluate.state import Book, active
from hsm_agent.model import AGENT_SOURCE, Event, EventKind, Severity
from hsm_agent.pipeline import STALLED_SECONDS, Pipeline, new_id
from hsm_agent.serve.http.server import HttpServer
from hsm_agent.serve.snapshot import Snapshot, missing, snapshot
from hsm_agent.serve.snmp.responder import Responder, SnmpServerSettings
from hsm_agent.spool import Spool
from hsm_agent.state.snmp_engine import EngineStateError, held_engine, start_engine
from hsm_agent.store import Store
from hsm_agent.threads import Lane, Lanes, StuckError
from hsm_agent.version import VERSION
from hsm_agent.wire.snmp.notification import AUTHENTICATION_FAILURE, COLD_START

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hsm_agent.config.load import Loaded
    from hsm_agent.config.tree import Config
    from hsm_agent.wire.snmp.engine import Engine

log = logging.getLogger(__name__)

STATE_SECONDS = 10.0
HOST_NAME_SECONDS = 3.0
HELD_SECONDS = 5.0
"""A pause after which it is tried again to store the engine's boots."""


async def host_name(*, otherwise: str, find: Callable[[], str] = socket.getfqdn) -> str:
    """The host's full name; where no resolver knows it, or none answers soon, `otherwise`."""
    host = socket.gethostname()
    try:
        host = await Lane("the look-up of this host's own name").call(find, seconds=HOST_NAME_SECONDS)
    except StuckError as error:
        log.warning("%s: syslog's HOSTNAME is %s", error, host if _is_full(host) else otherwise)
    return host if _is_full(host) else otherwise


def _is_full(host: str) -> bool:
    return "." in host and not host.startswith("localhost")


class Agent:
    """Everything that runs. `open` makes it ready to answer and to tell; `start` polls, judges and delivers."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        config = loaded.config
        self.crew = Crew()
        self.store = Store(agent_name=config.agent.name, started=time.time(), labels=config.labels_by_source())
        self.pipeline: Pipeline
        self.spool: Spool
        self.sources: Sources
        self.sinks: Sinks
        self.responder: Responder | None = None
        self.http: HttpServer | None = None
        self._opened_spool: Spool | None = None
        self._unreadable: tuple[str, ...] = ()
        self._state_disk = Lane(f"reading and writing {config.agent.state_directory}")
        self.held_because = ""
        """Why SNMPv3 is held back; empty while it is not."""
        self.control_problem = ""
        """Why there is no control socket; empty while there is one."""
        self._strangers = asyncio.Event()
        self.reading = Lanes()
        """Where a new configuration is read, and the files it names; what hangs there keeps no other one away."""

    async def open(self) -> None:
        """Open the state, bind every socket. Nothing is polled or sent yet."""
        config = self.loaded.config
        state = config.agent.state_directory
        self.spool = self._opened_spool = await Spool.open(
            state, entries=config.agent.spool.entries, size=config.agent.spool.size
        )
        self.engine = await self._make_engine(time.monotonic())
        book, unreadable = Book.load(await self.spool.states())
        self._unreadable = tuple(unreadable)
        rules = Ruleset(config.effective_rules(), self.store.labels)
        self.pipeline = Pipeline(
            book=book,
            rules=rules,
            store=self.store,
            spool=self.spool,
            refresh=self._show_changes,
            hsms=Hsms(config.hsms),
        )
        self.sources = Sources(self.crew, self.pipeline, state_directory=state, on_poll=self._count_poll)
        self.origin = Origin(
            agent_name=config.agent.name,
            host_name=await host_name(otherwise=config.agent.name),
            version=VERSION,
            enterprise_id=config.agent.enterprise_id,
        )
        self.sinks = Sinks(self.crew, self.spool, self.store, make_heartbeat=self._make_heartbeat)
        self.pipeline.show_alarms()
        if config.serve.snmp is not None:
            self.responder = await self.make_responder(config)
        if config.serve.http is not None:
            self.http = await self.make_http(config)

    async def _make_engine(self, now: float) -> Engine:
        """The engine with its boots stored; one that is held where they can't be."""
        config = self.loaded.config
        engine_id = config.serve.snmp.engine_id if config.serve.snmp is not None else None
        try:
            start = partial(start_engine, config.agent.state_directory, engine_id=engine_id, now=now)
            return await self._state_disk.call(start, seconds=STATE_SECONDS)
        except (OSError, EngineStateError) as error:
            if str(error) != self.held_because:
                log.error("SNMPv3 is held back: %s", error)  # noqa: TRY400 - no bug of the agent's
            self.held_because = str(error)
            return held_engine(engine_id=engine_id, now=now)

    async def _release_engine(self) -> None:
        """Try on until the engine's boots are stored; then whatever speaks SNMPv3 begins."""
        while self.engine.is_held:
            await asyncio.sleep(HELD_SECONDS)
            engine = await self._make_engine(self.engine.started)
            if engine.is_held:
                continue
            self.engine, self.held_because = engine, ""
            if self.responder is not None:
                await self.responder.adopt(engine)
            await self.sinks.renew_v3(self.sink_context(self.loaded.config))
            log.warning("SNMPv3 is no longer held back: engine %s, boots %d", engine.engine_id.hex(), engine.boots)

    @property
    def speaks_v3(self) -> bool:
        """Whether anybody is to speak SNMPv3."""
        config = self.loaded.config
        users = config.serve.snmp.users if config.serve.snmp is not None else ()
        return bool(users) or any(isinstance(sink, SnmpSinkSettings) and sink.user for sink in config.deliver)

    @property
    def state_problem(self) -> str:
        """Why something of the state directory can't be used; empty while all of it can."""
        rows = self.responder.problem if self.responder is not None else ""
        return self.spool.stats().reason or rows or self.control_problem

    async def _tell_damage(self) -> None:
        """Say what was found damaged at the start, and let go of it: once is enough."""
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
        server = HttpServer(config.serve.http, snapshot=self.snapshot, missing=self.unready, stalled=self.stalled)
        await server.start()
        return server

    def snapshot(self) -> Snapshot:
        """The present, for the servers and the command line."""
        return snapshot(
            self.store,
            spool=self.spool.stats(),
            silences=self.pipeline.book.silences.values(),
            now=time.time(),
            monotonic=time.monotonic(),
        )

    def unready(self) -> list[str]:
        """What start-up still waits for, and what keeps the agent from its work."""
        stats = self.spool.stats()
        waiting = missing(self.store, [source.name for source in self.loaded.config.sources])
        stalled = self.stalled()
        return [*waiting, *([f"spool: {stats.reason}"] if stats.failed else []), *([stalled] if stalled else [])]

    def stalled(self) -> str:
        """Since when nothing was judged, if that is too long; else empty."""
        age = self.pipeline.age_seconds
        return f"pipeline: nothing was judged for {age:.0f} s" if age >= STALLED_SECONDS else ""

    async def make_responder(self, config: Config) -> Responder:
        """A started SNMP responder. Raises SnmpServerError."""
        assert config.serve.snmp is not None
        responder = Responder(
            config.serve.snmp,
            self.store,
            self.engine,
            state_directory=config.agent.state_directory,
            on_authentication_failure=self._note_stranger,
        )
        await responder.start()
        return responder

    async def start(self) -> None:
        """Start to tell what is still untold and to poll; what left the configuration since the last run clears."""
        config = self.loaded.config
        self.store.sources[AGENT_SOURCE] = own_status(0.0)
        await self.sinks.replace(
            self.sinks.build(config.deliver, self.sink_context(config), anew=True), self.raised_events()
        )
        await self.withdraw(config, self.pipeline.rules)
        await self.sources.replace(self.sources.build(config.sources))
        await self._tell_damage()
        self.crew.start("cold start", self.sinks.notify(COLD_START))
        self.crew.start("snmp engine", self._release_engine())
        self.crew.start("strangers", self._report_strangers())
        if self.responder is not None:
            self.crew.start("snmp", self.responder.run())
        log.info("hsm-agent %s watches %s", VERSION, counted(len(self.sources.running), "sources"))

    async def stop(self, end: float) -> None:
        """Stop polling, and deliver what can be delivered until `end` on the monotonic clock."""
        log.info("stopping: polls end, what can be delivered is")
        await self.sources.stop()
        for name, queued in (await self.sinks.stop(drain_seconds=max(0.0, end - time.monotonic()))).items():
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

    async def withdraw(self, config: Config, rules: Ruleset) -> None:
        """Go on with these rules; alarms of what is not in the configuration clear."""
        await self.pipeline.withdraw(config.keeper(), rules, Hsms(config.hsms))

    def _note_stranger(self, address: str) -> None:
        log.warning("snmp: a request from %s failed authentication", address)
        self._strangers.set()

    async def _report_strangers(self) -> None:
        while True:
            await self._strangers.wait()
            self._strangers.clear()
            await self.sinks.notify(AUTHENTICATION_FAILURE)

    async def announce(self, text: str) -> None:
        """Tell every sink what the agent or an operator did."""
        if self.sinks.running:
            await self.pipeline.tell([self.event(EventKind.NOTICE, text)])

    def raised_events(self) -> list[Event]:
        """The latest event of every alarm that is raised and not silenced."""
        return [alarm.event for alarm in active(self.pipeline.book).values() if not alarm.silenced]

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

    def show_gone(self, sources: Collection[str]) -> None:
        """Take sources that left the configuration out of what SNMP shows."""
        if self.responder is not None and sources:
            self.responder.changed(sources, alarms=False)

    async def _show_changes(self, sources: Collection[str], *, alarms: bool) -> None:
        if self.responder is not None:
            self.responder.changed(sources, alarms=alarms)
