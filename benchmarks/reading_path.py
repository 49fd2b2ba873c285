"""One reading's way, counted: which files and functions of the agent run between a worker's answer and a trap.

The answer is a recorded poll of opencryptoki; one rule raises one alarm; the trap is an SNMPv2c datagram to a UDP
socket on loopback. Set-up is not counted: configuration, spool, the sink's connection (a test event has passed it),
and what a source takes from its settings once. Nor are the SNMP and HTTP servers.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

import hsm_agent
from hsm_agent.agent.agent import Agent
from hsm_agent.collect.base import Collector, Poll
from hsm_agent.collect.pkcs11.parse import parse
from hsm_agent.collect.pkcs11.poll_state import PollMemory
from hsm_agent.collect.pkcs11.recording import RawPoll
from hsm_agent.collect.pkcs11.source import Pkcs11Settings
from hsm_agent.collect.runner import Runner
from hsm_agent.config.tree import load
from hsm_agent.model import EventKind
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from types import CodeType, FrameType

_PACKAGE = str(Path(hsm_agent.__file__).parent)
_RECORDING = Path(__file__).resolve().parents[1] / "tests/data/pkcs11/opencryptoki.json"
_COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<module>"}
_LARGEST = 65535
_ANSWER_SECONDS = 10.0


@dataclass(slots=True)
class Trace:
    """Functions of the package that were entered while `is_on`, in all threads that began after `install`."""

    calls: Counter[CodeType] = field(default_factory=Counter)
    is_on: bool = False

    @property
    def functions(self) -> int:
        """Distinct functions, methods and lambdas; comprehensions are part of the function they stand in."""
        return len(self.calls)

    @property
    def files(self) -> list[str]:
        """Their files, relative to the package."""
        return sorted({str(Path(code.co_filename).relative_to(_PACKAGE)) for code in self.calls})

    def install(self) -> None:
        """Have this thread and later ones report calls; nothing is counted yet."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def remove(self) -> None:
        """Report no longer."""
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if (
            self.is_on
            and event == "call"
            and code.co_name not in _COMPREHENSIONS
            and code.co_filename.startswith(_PACKAGE)
        ):
            self.calls[code] += 1


class _RecordedSource(Collector):
    """A collector whose polls answer what was recorded."""

    kind = "pkcs11"

    def __init__(self, settings: Pkcs11Settings, recorded: RawPoll) -> None:
        super().__init__(settings)
        self._options = settings.parse_options()
        self._recorded = recorded
        self._memory = PollMemory()

    async def poll(self) -> Poll:
        parsed = parse(self._recorded, self._options, self._memory)
        return Poll(readings=parsed.readings, next_in_seconds=self.every_seconds, errors=parsed.errors, complete=True)


async def trace(directory: Path) -> Trace:
    """Let one recorded poll become a trap."""
    found = Trace()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        agent = Agent(load(_configuration(directory, receiver.getsockname()[1]), trusting()))
        found.install()
        try:
            await agent.open()
            try:
                await _one_alarm(agent, receiver, found)
            finally:
                await agent.close()
        finally:
            found.remove()
    return found


async def _one_alarm(agent: Agent, receiver: socket.socket, found: Trace) -> None:
    config = agent.loaded.config
    (settings,) = config.sources
    assert isinstance(settings, Pkcs11Settings)
    recorded = RawPoll.from_json(json.loads(_RECORDING.read_text(encoding="utf-8")))
    runner = Runner(_RecordedSource(settings, recorded), agent.pipeline.take, on_poll=lambda: None)
    async with agent.tasks, asyncio.timeout(_ANSWER_SECONDS):
        await agent.sinks.replace(agent.sinks.build(config.deliver, agent.sink_context(config), anew=True), [])
        await agent.pipeline.notify([agent.event(EventKind.TEST, "TEST notification")])
        await _received(receiver)
        found.is_on = True
        await runner.once()
        await _received(receiver)
        found.is_on = False
        await agent.sinks.stop(drain_seconds=1.0)


async def _received(receiver: socket.socket) -> None:
    await asyncio.get_running_loop().sock_recv(receiver, _LARGEST)


def report(found: Trace) -> str:
    """The files with their functions, most functions first."""
    by_file: dict[str, list[str]] = {file: [] for file in found.files}
    for code in found.calls:
        by_file[str(Path(code.co_filename).relative_to(_PACKAGE))].append(code.co_qualname)
    lines = [f"{len(by_file)} files, {found.functions} functions, {found.calls.total()} calls"]
    for file, names in sorted(by_file.items(), key=lambda each: -len(each[1])):
        lines.append(f"{file} ({len(names)}): {', '.join(sorted(names))}")
    return "\n".join(lines)


def _configuration(directory: Path, port: int) -> Path:
    community = directory / "community"
    community.write_text("for-benchmarks", encoding="ascii")
    community.chmod(0o600)
    file = directory / "agent.yaml"
    tree = {
        "agent": {"name": "bench", "state_directory": str(directory / "state")},
        "sources": [{"name": "hsm", "kind": "pkcs11", "module": str(directory / "recorded.so")}],
        "serve": {"snmp": None, "http": None},
        "default_rules": False,
        "rules": [{"name": "sessions", "metric": "token_sessions", "above": {"warning": 5}}],
        "deliver": [
            {"name": "noc", "kind": "snmp", "to": f"udp:127.0.0.1:{port}", "version": "v2c", "type": "trap",
             "community": {"file": str(community)}},
        ],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return file


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(report(asyncio.run(trace(Path(folder)))))
