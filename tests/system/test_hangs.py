"""File systems and resolvers that hang under the whole process: whoever uses them says so, everybody else goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.agent import COMMUNITY, AgentProcess
from tests.peers.hangs import Hangs
from tests.peers.ports import free_port
from tests.peers.processes import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PROMPT_SECONDS = 3.0
STOP_SECONDS = 5.0


def _script(path: Path) -> Path:
    path.write_text("#!/bin/sh\necho objects: 5\n", encoding="ascii")
    path.chmod(0o755)
    return path


def _sources(folder: Path) -> list[dict[str, Any]]:
    """Fourteen that read below a folder, and one that does not."""
    regex = {"parser": "regex", "patterns": ["^objects: (?P<token_objects>[0-9]+)$"]}
    commands = [
        {
            "name": f"command-{number}",
            "kind": "command",
            "every": "200ms",
            "timeout": "1s",
            "runs": [{"command": [str(_script(folder / f"tool-{number}"))], **regex}],
        }
        for number in range(12)
    ]
    mark = folder / "mark"
    mark.write_text("2030-01-01", encoding="ascii")
    day = (dt.datetime.now(dt.UTC) + dt.timedelta(days=900)).date().isoformat()
    return [
        *commands,
        {
            "name": "from-file",
            "kind": "declared",
            "every": "200ms",
            "timeout": "1s",
            "dates": [{"name": "ceremony", "kind": "age", "file": str(mark), "warning": "30d"}],
        },
        {
            "name": "in-file",
            "kind": "certificate",
            "every": "200ms",
            "timeout": "1s",
            "certificates": [{"file": str(mark)}],
        },
        {
            "name": "good",
            "kind": "declared",
            "every": "200ms",
            "timeout": "1s",
            "dates": [{"name": "support", "kind": "expiry", "date": day}],
        },
    ]


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _threads(agent: AgentProcess) -> int:
    return sum(1 for _ in Path(f"/proc/{agent.pid}/task").iterdir())


class _Watch:
    """Each use lasts no longer than an operator waits."""

    def __init__(self, seconds: float = PROMPT_SECONDS) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        assert time.monotonic() - self._began < self._seconds


async def test_many_sources_on_a_file_system_that_hangs_hold_up_nothing_else(tmp_path: Path) -> None:
    hangs, prompt = Hangs(tmp_path), _Watch()
    sinks = [{"name": "siem", "kind": "syslog", "to": "tcp:hangs.example.net:6514", "timeout": "1s"}]
    agent = AgentProcess(tmp_path, sources=_sources(hangs.folder), deliver=sinks, environment=hangs.environment)
    async with agent:
        await agent.until(
            lambda status: all(each["status"] == "up" for each in status["sources"] if each["name"] != "in-file")
        )
        hangs.begin()
        status = await agent.until(lambda status: sum(each["status"] == "down" for each in status["sources"]) >= 14)
        reasons = {each["name"]: each["last_error"] for each in status["sources"]}
        assert all("check the file system it is on" in reasons[f"command-{number}"] for number in range(12))
        assert "check the file system it is on" in reasons["from-file"]

        with prompt:
            silence = await agent.ask("silence", seconds=60, reason="a hang")
        with prompt:
            await agent.ask("silence-end", id=silence["id"])
        for path in ("healthz", "readyz", "metrics"):
            with prompt:
                code, _ = await asyncio.to_thread(_get, f"http://127.0.0.1:{agent.http_port}/{path}")
            assert code == 200
        polls = (await agent.status())["agent"]["polls"]
        await agent.until(lambda status: status["agent"]["polls"] > polls + 10)
        assert _threads(agent) < 40

        assert agent.log.count("source command-3 is down") <= 2

        await _reloads(agent)

        os.kill(agent.pid, signal.SIGHUP)
        began = time.monotonic()
        assert await agent.stop() == 0
        assert time.monotonic() - began < STOP_SECONDS
    hangs.end()


async def _reloads(agent: AgentProcess) -> None:
    """A configuration that names what hangs is refused with the reason; one that does not takes effect."""
    os.kill(agent.pid, signal.SIGHUP)
    await until(lambda: "configuration refused" in agent.log, seconds=40.0)
    assert "reading a file or looking for a command that it names has not come back within 20 s" in agent.log
    agent.settings["sources"] = agent.settings["sources"][-1:]
    agent.configure()
    os.kill(agent.pid, signal.SIGHUP)
    await agent.until(lambda status: {each["name"] for each in status["sources"]} == {"good", "agent"})


async def test_a_resolver_that_hangs_holds_up_neither_the_start_nor_the_stop(tmp_path: Path) -> None:
    hangs = Hangs(tmp_path, own_name=True)
    hangs.begin()
    sinks = [
        {"name": "syslog", "kind": "syslog", "to": "tcp:hangs.example.net:6514", "timeout": "10s"},
        {"name": "udp", "kind": "syslog", "to": "udp:hangs.example.net:514", "timeout": "10s"},
    ]
    endpoint = {
        "name": "tls", "kind": "certificate", "every": "1s", "timeout": "1s",
        "certificates": [{"endpoint": "hangs.example.net:443"}],
    }  # fmt: skip
    began = time.monotonic()
    async with AgentProcess(tmp_path, sources=[endpoint], deliver=sinks, environment=hangs.environment) as agent:
        assert time.monotonic() - began < 10.0
        assert "the look-up of this host's own name has not come back within 3 s: syslog's HOSTNAME is" in agent.log
        await agent.until(lambda status: any("TLS handshake" in each["last_error"] for each in status["sources"]))
        threads = _threads(agent)
        polls = (await agent.status())["agent"]["polls"]
        await agent.until(lambda status: status["agent"]["polls"] >= polls + 3)
        assert _threads(agent) <= threads + 1

        began = time.monotonic()
        assert await agent.stop() == 0
        assert time.monotonic() - began < STOP_SECONDS
    hangs.end()


@contextmanager
def _nobody_reads() -> Iterator[int]:
    """A pipe that takes no more."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write_end, b"x" * 4096)
    os.set_blocking(write_end, True)
    yield write_end
    for end in (read_end, write_end):
        os.close(end)


@asynccontextmanager
async def _started(agent: AgentProcess, errors: int, *, wait: bool) -> AsyncIterator[asyncio.subprocess.Process]:
    try:
        await agent.start(errors=errors, wait=wait)
        assert agent.process is not None
        yield agent.process
    finally:
        if agent.process is not None and agent.process.returncode is None:
            await agent.kill()


@pytest.mark.parametrize("form", ["text", "json"])
async def test_an_error_stream_that_nobody_reads_holds_up_nothing(tmp_path: Path, form: str) -> None:
    agent = AgentProcess(tmp_path, agent={"log": {"level": "debug", "format": form}}, sources=_sources(tmp_path)[-1:])
    with _nobody_reads() as errors:
        async with _started(agent, errors, wait=True):
            for _ in range(20):
                os.kill(agent.pid, signal.SIGHUP)
                await agent.until(lambda status: status["agent"]["polls"] > 0, seconds=PROMPT_SECONDS)
            began = time.monotonic()
            assert await agent.stop() == 0
            assert time.monotonic() - began < STOP_SECONDS


@pytest.mark.parametrize(("listen", "code"), [("192.0.2.1:1", 1), ("nonsense", 2)])
async def test_a_start_that_fails_ends_although_nobody_reads_why(tmp_path: Path, listen: str, code: int) -> None:
    agent = AgentProcess(tmp_path)
    agent.settings["serve"]["http"]["listen"] = listen
    agent.configure()
    with _nobody_reads() as errors:
        async with _started(agent, errors, wait=False) as process, asyncio.timeout(20):
            assert await process.wait() == code


async def test_a_state_disk_that_hangs_is_told_and_holds_up_neither_judging_nor_the_end(tmp_path: Path) -> None:
    hangs, prompt = Hangs(tmp_path, folder="state"), _Watch()
    port = free_port(socket.SOCK_DGRAM)
    community = tmp_path / "of-traps"
    community.write_text(COMMUNITY, encoding="ascii")
    community.chmod(0o600)
    traps = {
        "name": "traps",
        "kind": "snmp_trap_listener",
        "listen": [f"udp:127.0.0.1:{port}"],
        "every": "200ms",
        "communities": [{"name": {"file": str(community)}}],
    }
    sources = [traps, *_sources(tmp_path)[-1:]]
    async with AgentProcess(tmp_path, sources=sources, environment=hangs.environment) as agent:
        await agent.until(lambda status: all(each["status"] == "up" for each in status["sources"]))
        hangs.begin()
        with _Watch(10.0):  # the disk is waited for once, for five seconds
            await agent.ask("silence", seconds=60, reason="a hang")
        await agent.until(lambda status: any(each["rule"] == "spool-failed" for each in status["alarms"]), seconds=30)
        with prompt:
            await agent.ask("silence", seconds=60, reason="another")
        code, missing = await asyncio.to_thread(_get, f"http://127.0.0.1:{agent.http_port}/readyz")
        assert code == 503
        assert "the disk has not answered" in missing
        polls = (await agent.status())["agent"]["polls"]
        await agent.until(lambda status: status["agent"]["polls"] > polls + 5)

        began = time.monotonic()
        assert await agent.stop() == 0
        assert time.monotonic() - began < 9.0  # two for what may still be flushed, five for the disk
    hangs.end()
