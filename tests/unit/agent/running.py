"""An agent that runs in the test's own process: a source that reads a date from a file, no server, a sink by hand."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hsm_agent.agent.agent import Agent
from hsm_agent.config.tree import load
from hsm_agent.deliver.syslog import SyslogSinkSettings
from tests.fakes.sinks import FakeSink
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hsm_agent.config.tree import Loaded
    from hsm_agent.model import Event

SINK: dict[str, Any] = {"name": "noc", "kind": "syslog", "to": "udp:127.0.0.1:514"}
SUPPORTED, EXPIRED = "2999-01-01", "2001-01-01"


class RecordingSink(FakeSink):
    """Accepts everything and keeps it."""

    def __init__(self, name: str = "noc") -> None:
        super().__init__(name)
        self.events: list[Event] = []

    @property
    def kinds(self) -> list[str]:
        """The kinds of what it accepted, in order."""
        return [event.kind.name for event in self.events]

    async def take(self, event: Event) -> None:
        self.events.append(event)


def write(folder: Path, *, sources: tuple[str, ...] = ("dates",), **sections: Any) -> Path:
    """A configuration file with these sources, each with the date in the file `support`."""
    path = folder / "agent.yaml"
    date = {"name": "support", "kind": "expiry", "file": str(folder / "support"), "read": "first-line"}
    document = {
        "agent": {"name": "monitor-1", "state_directory": str(folder / "state")},
        "sources": [{"name": name, "kind": "declared", "every": "1h", "dates": [date]} for name in sources],
        "serve": {"snmp": None, "http": None},
        **sections,
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    path.chmod(0o600)
    return path


async def declare(folder: Path, date: str) -> None:
    """What the source reads at its next poll."""
    await asyncio.to_thread((folder / "support").write_text, f"{date}\n", encoding="utf-8")


def _prepare(folder: Path, sections: dict[str, Any]) -> Loaded:
    support = folder / "support"
    if not support.exists():
        support.write_text(f"{SUPPORTED}\n", encoding="utf-8")
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    return load(write(folder, **sections), trusting())


@asynccontextmanager
async def running(folder: Path, **sections: Any) -> AsyncIterator[tuple[Agent, RecordingSink]]:
    """A started agent whose first poll is over, and the sink that it tells."""
    agent = Agent(await asyncio.to_thread(_prepare, folder, sections))
    sink = RecordingSink()
    try:
        await agent.open()
        async with agent.tasks:
            await agent.start()
            await agent.sinks.replace(
                {"noc": (SyslogSinkSettings.model_validate(SINK), sink)}, agent.pipeline.events_for_new_sinks()
            )
            for name in agent.sources.running:
                await polled(agent, name)
            yield agent, sink
            await agent.stop(0.0)
    finally:
        await agent.close()


async def polled(agent: Agent, name: str = "dates") -> None:
    """Poll the source once more."""
    await agent.sources.running[name].runner.once()
