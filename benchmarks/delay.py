"""Figure 3: from a crossing seen to the trap on the wire and to the record acknowledged through RELP.

The agent's own parts in this process (`Agent.open`: pipeline, spool on disk, responder, control socket), a real worker
process with the test module, a UDP socket whose datagrams the kernel stamps, and a real rsyslog.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any

from benchmarks.report import number, percentile, show
from benchmarks.responders import credentials, invented_tokens, secret
from benchmarks.wire import TrapWire
from hsm_agent.agent.agent import Agent
from hsm_agent.agent.periodic import PeriodicJobs
from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.pkcs11.source import Pkcs11Collector, Pkcs11Settings
from hsm_agent.collect.runner import Runner
from hsm_agent.config.tree import load
from hsm_agent.deliver.base import always
from tests.peers.agent import AgentProcess, source
from tests.peers.require import require
from tests.peers.rsyslog import Rsyslog
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hsm_agent.collect.pkcs11.fetch import PollRequest
    from hsm_agent.collect.pkcs11.recording import RawPoll
    from hsm_agent.deliver.base import MaySend, Sink
    from hsm_agent.model import Event

_WARM_UP = 10
_CROSSINGS = 300
_REST_SECONDS = 0.1
"""Between two polls, which never follow each other at once: the SNMP tables are encoded anew meanwhile."""
_TOTAL, _WELL, _FULL = 2_097_152, 1_500_000, 50_000
_DELIVERED_SECONDS = 10.0


class _StampedCollector(Pkcs11Collector):
    """The collector, noting when a poll's answers are all in this process; parsing comes after."""

    began = 0.0
    arrived = 0.0

    async def _fetch(self, wish: PollRequest, deadline: float) -> RawPoll:
        self.began = time.time()
        raw = await super()._fetch(wish, deadline)
        self.arrived = time.time()
        return raw


class _StampedSink:
    """A sink, noting when the receiver accepted each event."""

    def __init__(self, sink: Sink) -> None:
        self.name, self.kind, self.guarantee, self.window = sink.name, sink.kind, sink.guarantee, sink.window
        self.accepted: list[float] = []
        self._sink = sink

    async def deliver(
        self, events: Sequence[Event], accepted: Callable[[Event], None], may_send: MaySend = always
    ) -> None:
        def note(event: Event) -> None:
            self.accepted.append(time.time())
            accepted(event)

        await self._sink.deliver(events, note, may_send)

    async def close(self) -> None:
        await self._sink.close()


class _Chain:
    """An agent whose polls are made on demand."""

    def __init__(self, agent: Agent, sinks: Sequence[_StampedSink], wire: TrapWire) -> None:
        self._agent = agent
        self.sinks = sinks
        self._wire = wire
        (settings,) = agent.loaded.config.sources
        assert isinstance(settings, Pkcs11Settings)
        state = agent.loaded.config.agent.state_directory
        self.collector = _StampedCollector(settings, CollectorContext(state_directory=state))
        self.runner = Runner(self.collector, agent.pipeline.take, on_poll=lambda: None)

    async def crossing(self) -> None:
        """One poll that brings a crossing, and its delivery everywhere."""
        before = (self._wire.read(), *(len(sink.accepted) for sink in self.sinks))
        await self.runner.once()
        wanted = tuple(count + 1 for count in before)
        async with asyncio.timeout(_DELIVERED_SECONDS):
            while (self._wire.read(), *(len(sink.accepted) for sink in self.sinks)) != wanted:
                await asyncio.sleep(0.001)
        await asyncio.sleep(_REST_SECONDS)


async def run(directory: Path, *, quick: bool) -> None:
    """Measure and print."""
    rows = []
    crossings = 20 if quick else _CROSSINGS
    for tokens in (1,) if quick else (1, 8, 64):
        place = directory / str(tokens)
        place.mkdir()
        rows += await _measure(place, tokens, crossings)
    show(
        "Delay of a notification",
        ("tokens", "from", "to", "p50 ms", "p99 ms", "longest ms"),
        rows,
        f"{crossings} crossings, raises and clears in turn, one a poll; by one wall clock. *Answers in*: the"
        " last answer of the sweep has reached the agent's process; from there they are parsed, judged, written"
        " to the spool with fsync, and sent. *Sweep begins*: the worker is asked for the slot list. *On the wire*: the"
        " kernel's receive stamp of the trap's datagram. *RELP acknowledged*: rsyslog's answer is taken in by the sink;"
        " its queue is Direct, so the record is in its file by then.",
    )


async def _measure(directory: Path, tokens: int, crossings: int) -> list[list[str]]:
    hsm = invented_tokens(directory, tokens)
    hsm.set_luna(present=False)  # where a token reports its storage too, its memory raises no alarm
    wire = TrapWire()
    async with Rsyslog(program=require("rsyslogd"), folder=directory) as rsyslog:
        agent = Agent(load(_configuration(directory, hsm.module, hsm.environment, wire, rsyslog), trusting()))
        await agent.open()
        try:
            async with agent.tasks:
                chain = await _start(agent, wire)
                began, arrived = [], []
                await chain.runner.once()
                for number_ in range(_WARM_UP + crossings):
                    hsm.set_memory(free=_WELL if number_ % 2 else _FULL, token=f"extra-{number_ // 2 % tokens:02}")
                    await chain.crossing()
                    began.append(chain.collector.began)
                    arrived.append(chain.collector.arrived)
                await chain.collector.close()
        finally:
            await agent.close()
            wire.close()
    acknowledged = next(sink.accepted for sink in chain.sinks if "relp" in sink.kind)
    return [
        _row(tokens, "answers in", "trap on the wire", arrived, wire.arrived),
        _row(tokens, "answers in", "RELP acknowledged", arrived, acknowledged),
        _row(tokens, "sweep begins", "trap on the wire", began, wire.arrived),
    ]


def _configuration(
    directory: Path, module: Path, environment: dict[str, str], wire: TrapWire, rsyslog: Rsyslog
) -> Path:
    process = AgentProcess(  # for the file only; it is not started
        directory,
        sources=[source("bench", module, environment, every="10ms", timeout="10s")],
        deliver=[
            {"name": "trap", "kind": "snmp", "to": wire.address, "version": "v2c", "type": "trap",
             "community": secret(directory, "trap-community", "for-traps")},
            {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"},
        ],
    )  # fmt: skip
    process.settings["serve"]["snmp"] |= credentials(directory)
    process.configure()
    return process.file


async def _start(agent: Agent, wire: TrapWire) -> _Chain:
    """The sinks, each with its pump, and what else goes on in an agent; polls are made by hand."""
    config = agent.loaded.config
    built: dict[str, Any] = agent.sinks.build(config.deliver, agent.sink_context(config), anew=True)
    stamped = {name: (settings, _StampedSink(sink)) for name, (settings, sink) in built.items()}
    await agent.sinks.replace(stamped, [])
    gc.collect()
    gc.freeze()  # as `Service.run` does
    jobs = PeriodicJobs(agent)
    for work in (jobs.tick, jobs.monitor_itself, jobs.measure_lag):
        agent.tasks.start(work.__name__, work())
    return _Chain(agent, [sink for _, sink in stamped.values()], wire)


def _row(tokens: int, begin: str, end: str, begins: Sequence[float], ends: Sequence[float]) -> list[str]:
    if len(begins) != len(ends):
        raise ValueError(f"{len(begins)} crossings, {len(ends)} arrivals: something else was told besides")
    delays = [(ended - began) * 1e3 for began, ended in zip(begins, ends, strict=True)][_WARM_UP:]
    return [
        str(tokens),
        begin,
        end,
        *(number(value) for value in (percentile(delays, 50), percentile(delays, 99), max(delays))),
    ]
