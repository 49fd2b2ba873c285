"""An audit trail and a process log, followed by the whole agent while they are written, rotated and forged."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import re
import tempfile
import time
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.agent import COMMUNITY, AgentProcess
from tests.peers.another_user import NOBODY, as_nobody
from tests.peers.netsnmp import NetSnmp, v2c
from tests.peers.processes import until
from tests.peers.require import require
from tests.peers.rsyslog import Rsyslog
from tests.peers.trails import CratonWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.peers.syslog_receiver import Received

OBJECTS = ".1.3.6.1.4.1.8072.9999.9999.4801.1"
PROMISED_SECONDS = 2.0
"""How soon after a line its readings are there."""
KILLS = 20
LOGIN = {"Login": {"user_type": 1}}
WRONG_PIN = {"Failure": 0xA0}


def _sources(folder: Path) -> list[dict[str, Any]]:
    return [
        {"name": "craton", "kind": "audit_trail", "format": "craton", "path": str(folder / "audit.jsonl")},
        {"name": "craton-log", "kind": "process_log", "path": str(folder / "craton.log"), "shipped": "craton"},
    ]


def _append(path: Path, data: bytes) -> float:
    """Write at a file's end; returns when that was done."""
    with path.open("ab", buffering=0) as file:
        file.write(data)
    return time.monotonic()


async def _metrics(agent: AgentProcess) -> dict[str, float]:
    """The samples of /metrics of the two sources, by name and the labels behind source and resource."""

    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{agent.http_port}/metrics", timeout=5) as answer:
            return str(answer.read(), "utf-8")

    found = {}
    for line in (await asyncio.to_thread(get)).splitlines():
        sample = re.fullmatch(r"hsm_((?:trail|log)_\w+)\{(.*)\} (\S+)", line)
        if sample is not None:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', sample[2]))
            kept = [value for name, value in sorted(labels.items()) if name not in {"source", "resource"}]
            found["/".join((sample[1], *kept))] = float(sample[3])
    return found


async def _eventually(agent: AgentProcess, name: str, value: float) -> None:
    async with asyncio.timeout(20):
        while (await _metrics(agent)).get(name) != value:
            await asyncio.sleep(0.02)


async def _is_shown(agent: AgentProcess, name: str, value: float, *, since: float) -> None:
    """Wait for a sample, and see that it came in time."""
    await _eventually(agent, name, value)
    assert time.monotonic() - since < PROMISED_SECONDS


async def test_readings_follow_each_line_at_metrics_and_over_snmp(tmp_path: Path) -> None:
    trail, log, writer = tmp_path / "audit.jsonl", tmp_path / "craton.log", CratonWriter()
    async with AgentProcess(tmp_path, sources=_sources(tmp_path)) as agent:
        await agent.until(lambda status: all(each["status"] != "unknown" for each in status["sources"]))
        written = _append(trail, writer.line("Initialize") + writer.line(LOGIN))
        await _is_shown(agent, "trail_events_total/Login/SUCCESS", 1, since=written)
        written = _append(trail, writer.line(LOGIN, WRONG_PIN))
        await _is_shown(agent, "trail_events_total/Login/CKR_PIN_INCORRECT", 1, since=written)
        written = _append(log, b"2026-11-29T00:00:00Z  INFO craton: ready\n2026-11-29T00:00:01Z ERROR craton: POST ")
        written = _append(log, b"self-test failed: AES KAT\n")
        await _is_shown(agent, "log_matches_total/self-test/critical", 1, since=written)

        manager = NetSnmp(f"127.0.0.1:{agent.snmp_port}", v2c(COMMUNITY))
        audit, readings = await manager.walk(f"{OBJECTS}.4"), await manager.walk(f"{OBJECTS}.5")
        shown = await _metrics(agent)

    columns = {int(name.split(".")[-2]): value for name, value in audit.items() if name.endswith(".1")}
    assert columns[2] == 'STRING: "craton"'
    assert columns[3] == 'STRING: "audit.jsonl"'
    assert (columns[8], columns[9], columns[10]) == ("INTEGER: 2", "Counter64: 3", "Counter64: 1")
    assert shown["trail_chain_intact"] == 1
    indexes = {name.rpartition(".")[2] for name, value in readings.items() if value == 'STRING: "trail_events_total"'}
    values = {readings[f"{OBJECTS}.5.1.9.{index}"]: readings[f"{OBJECTS}.5.1.5.{index}"] for index in indexes}
    assert values == {
        'STRING: "operation=Initialize,result=SUCCESS"': 'STRING: "1"',
        'STRING: "operation=Login,result=SUCCESS"': 'STRING: "1"',
        'STRING: "operation=Login,result=CKR_PIN_INCORRECT"': 'STRING: "1"',
    }


async def _told(rsyslog: Rsyslog, kind: str, rule: str) -> Received:
    async with asyncio.timeout(10):
        while True:
            for each in rsyslog.received():
                if each.message_id == kind and each.data["hsm@32473"]["rule"] == rule:
                    return each
            await asyncio.sleep(0.02)


async def test_a_forged_line_is_told_and_stays_until_an_operator_has_seen_it(tmp_path: Path) -> None:
    trail, writer = tmp_path / "audit.jsonl", CratonWriter()
    lines = list(writer.lines(8))
    trail.write_bytes(b"".join(lines))
    async with (
        Rsyslog(program=require("rsyslogd"), folder=tmp_path) as rsyslog,
        AgentProcess(
            tmp_path,
            sources=_sources(tmp_path),
            deliver=[{"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"}],
        ) as agent,
    ):
        await _eventually(agent, "trail_chain_intact", 1)
        _append(trail, writer.line(LOGIN).replace(b"Login", b"Logon") + writer.line("Logout"))
        raised = await _told(rsyslog, "ALARM_RAISED", "trail-chain")
        (alarm,) = (await agent.until(lambda status: bool(status["alarms"])))["alarms"]
        _append(trail, writer.line("CloseSession"))
        await agent.kill()
        await agent.start()
        await _eventually(agent, "trail_events_total/CloseSession/SUCCESS", 2)
        code, _, err = await agent.run("alarms", "forget", "--config", str(agent.file), alarm["alarm_id"])
        assert (code, err) == (0, "")
        cleared = await _told(rsyslog, "ALARM_CLEARED", "trail-chain")
        await _eventually(agent, "trail_chain_intact", 1)
        assert not (await agent.status())["alarms"]

    assert raised.data["alarm"]["perceivedSeverity"] == "critical"
    assert raised.data["alarm"]["probableCause"] == "corruptData"
    assert "audit.jsonl line 10: expected " in raised.text
    assert cleared.data["hsm@32473"]["alarmId"] == raised.data["hsm@32473"]["alarmId"] == alarm["alarm_id"]


@dataclass
class _Module:
    """A module that writes both files, a piece at a time that need not end with a line, and rotates them."""

    folder: Path
    chance: random.Random
    writer: CratonWriter = field(default_factory=CratonWriter)
    entries: int = 0
    matches: int = 0
    rotations: int = 0
    is_stopped: bool = False

    async def run(self) -> None:
        """Until it is stopped; the last line is whole."""
        trail, log = self.folder / "audit.jsonl", self.folder / "craton.log"
        while not self.is_stopped:
            count = self.chance.randrange(1, 40)
            data = b"".join(self.writer.lines(count))
            cut = self.chance.randrange(len(data))
            for piece in (data[:cut], data[cut:]):
                _append(trail, piece)
                await asyncio.sleep(0.005)
            _append(log, b"WARN craton: mlock failed for %d byte key buffer\n" % self.entries)
            self.entries += count
            self.matches += 1
            if self.chance.random() < 0.02:
                self._rotate(trail)
                self._rotate(log, simply=True)
                self.rotations += 1

    def _rotate(self, path: Path, *, simply: bool = False) -> None:
        """By a new name, or by a copy and an empty file, as logrotate does with `copytruncate`; then compress one.

        `simply`: by a new name alone; a log has no chain by which lines that nobody read yet would be found again.
        """
        older = {
            int(each.name.removesuffix(".gz").rpartition(".")[2]): each for each in path.parent.glob(f"{path.name}.*")
        }
        # All stay: an agent that is down or slow for long is to miss nothing.
        for number in sorted(older, reverse=True):
            ending = ".gz" if older[number].suffix == ".gz" else ""
            older[number].rename(path.with_name(f"{path.name}.{number + 1}{ending}"))
        rotated = path.with_name(f"{path.name}.1")
        if simply or self.chance.random() < 0.5:
            path.rename(rotated)
        else:
            rotated.write_bytes(path.read_bytes())
            os.truncate(path, 0)
        before = path.with_name(f"{path.name}.2")
        if not simply and before.exists() and self.chance.random() < 0.3:
            packed, times = before.with_name(f"{before.name}.gz"), before.stat()
            packed.write_bytes(gzip.compress(before.read_bytes()))
            os.utime(packed, ns=(times.st_atime_ns, times.st_mtime_ns))  # as gzip does
            before.unlink()


@asynccontextmanager
async def _writing(folder: Path) -> AsyncIterator[_Module]:
    module = _Module(folder, random.Random(20))
    task = asyncio.create_task(module.run())
    try:
        yield module
    finally:
        module.is_stopped = True
        await task


@pytest.mark.timeout(180)
async def test_no_line_is_counted_twice_or_missed_when_the_agent_is_killed_again_and_again(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, sources=_sources(tmp_path))
    (tmp_path / "craton.log").touch()  # one that is there before the agent is read from its end on
    await agent.start()
    await agent.until(lambda _: any(agent.state.glob("log-*.json")))
    try:
        async with _writing(tmp_path) as module:
            for _ in range(KILLS):
                await until(_grown(module), 20)
                await agent.kill()
                await agent.start()
            await until(_grown(module), 20)
        await _shows_all(agent, module)
        shown = await _metrics(agent)
    finally:
        if agent.process is not None and agent.process.returncode is None:
            await agent.kill()

    assert module.rotations > KILLS / 2
    events = sum(value for name, value in shown.items() if name.startswith("trail_events_total/"))
    assert (events, shown["log_matches_total/memory-lock/warning"]) == (module.entries, module.matches)
    assert shown["trail_chain_intact"] == 1
    assert shown["trail_bad_lines_total"] == 0


def _grown(module: _Module) -> Callable[[], bool]:
    """Whether it wrote so much more than now: an agent is killed in any phase of its work."""
    least = module.entries + module.chance.randrange(1, 1500)
    return lambda: module.entries >= least


async def _shows_all(agent: AgentProcess, module: _Module) -> None:
    """Wait until it has counted as much as was written; more than that would show, too."""
    async with asyncio.timeout(20):
        while True:
            shown = await _metrics(agent)
            events = sum(value for name, value in shown.items() if name.startswith("trail_events_total/"))
            if events >= module.entries and shown.get("log_matches_total/memory-lock/warning", 0) >= module.matches:
                return
            await asyncio.sleep(0.02)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can read: pytest's own is closed to all others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


async def test_check_config_warns_of_a_trail_that_the_agent_could_write(open_folder: Path) -> None:
    own, others = open_folder / "audit.jsonl", open_folder / "others.jsonl"
    own.touch(0o644)
    others.touch(0o444)
    is_root = os.geteuid() == 0
    sources = [*_sources(open_folder), {**_sources(open_folder)[0], "name": "others", "path": str(others)}]
    agent = AgentProcess(open_folder, sources=sources, command=as_nobody() if is_root else ())
    if is_root:
        os.chown(own, NOBODY, NOBODY)
        os.chown(agent.directory / "community", NOBODY, NOBODY)
    code, out, err = await agent.run("check-config", "--config", str(agent.file))

    assert (code, err) == (0, "")
    warnings = [line.strip() for line in out.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"WARNING: {own} can be written by the agent's own user")
