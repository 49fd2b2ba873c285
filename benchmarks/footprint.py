"""Figure 5: start to first answer, memory, and CPU a day at the defaults."""

from __future__ import annotations

import asyncio
import compileall
import resource
import socket
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hsm_agent
from benchmarks.messages import Asker
from benchmarks.process import children, cpu_seconds, private_mib, rss_mib
from benchmarks.report import median, number, show, times
from benchmarks.responders import TOKEN_TABLE, credentials, invented_tokens, secret, whole_table
from hsm_agent.collect.child_common import PKCS11_COMMAND
from hsm_agent.collect.child_process import ChildProcess, Launch
from hsm_agent.wire.snmp.pdu import Version
from tests.peers.agent import AgentProcess
from tests.peers.ports import free_port
from tests.peers.require import require
from tests.peers.rsyslog import Rsyslog
from tests.peers.snmpd import Snmpd
from tests.peers.softhsm import SoftHsm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_STARTS = 5
_ANSWER_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.001
_SETTLE_SECONDS = 4.0
_WATCHED_SECONDS = 60.0
"""One interval of the sweep: whatever the phase, exactly one falls into it."""
_DAY_SECONDS = 86400
_RENEWALS_A_DAY = 144  # rediscover_every: 10m
_SYS_UP_TIME = (1, 3, 6, 1, 2, 1, 1, 3, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """An agent at rest."""

    what: str
    agent: AgentProcess


async def run(directory: Path, *, quick: bool) -> None:
    """Measure and print."""
    softhsm = SoftHsm(directory / "softhsm")
    softhsm.create_token("token-0")
    await _starts(directory, softhsm, starts=1 if quick else _STARTS)
    invented = invented_tokens(directory, 4 if quick else 64)
    folder = directory / "rsyslog"
    folder.mkdir()
    async with Rsyslog(program=require("rsyslogd"), folder=folder) as rsyslog:
        one = agent_at_defaults(directory / "one", softhsm.module, softhsm.environment, rsyslog)
        many = agent_at_defaults(directory / "many", invented.module, invented.environment, rsyslog)
        async with one, many:
            agents = [
                _Watched(what="1 SoftHSM token", agent=one),
                _Watched(what=f"{4 if quick else 64} invented tokens, Luna's functions", agent=many),
            ]
            await _at_rest(agents, tokens=4 if quick else 64, seconds=2.0 if quick else _WATCHED_SECONDS)
    await _a_worker_life(softhsm.module, softhsm.environment)


def agent_at_defaults(
    directory: Path,
    module: Path,
    environment: Mapping[str, str],
    rsyslog: Rsyslog | None,
    *,
    own_environment: Mapping[str, str] | None = None,
) -> AgentProcess:
    """Everything at its default but ports: both SNMP versions, HTTP, and two sinks.

    `environment` is the module's, `own_environment` is added to the agent's.
    """
    directory.mkdir()
    sinks: list[dict[str, Any]] = []
    if rsyslog is not None:
        sinks = [
            {"name": "trap", "kind": "snmp", "to": f"udp:127.0.0.1:{free_port(socket.SOCK_DGRAM)}", "version": "v2c",
             "community": secret(directory, "trap-community", "for-traps")},
            {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"},
        ]  # fmt: skip
    source = {"name": "bench", "kind": "pkcs11", "module": str(module), "environment": dict(environment)}
    agent = AgentProcess(directory, sources=[source], deliver=sinks, environment=own_environment)
    agent.settings["serve"]["snmp"] |= credentials(directory)
    agent.configure()
    return agent


async def _starts(directory: Path, softhsm: SoftHsm, *, starts: int) -> None:
    answers, tokens, peers, interpreters = [], [], [], []
    # As an installed package has it; a tree whose bytecode is not written is compiled anew at each start: 0.1 s.
    compileall.compile_dir(Path(hsm_agent.__file__).parent, quiet=1)
    for turn in range(starts):
        agent = agent_at_defaults(directory / f"start-{turn}", softhsm.module, softhsm.environment, None)
        began = time.perf_counter()
        await agent.start(wait=False)
        try:
            answers.append(await first_answer(agent.snmp_port, began))
            tokens.append(await first_token(agent.snmp_port, began))
        finally:
            await agent.kill()
        place = directory / f"snmpd-{turn}"
        place.mkdir()
        snmpd = Snmpd(place, ["rocommunity for-benchmarks 127.0.0.1"])
        began = time.perf_counter()
        starting = asyncio.create_task(snmpd.start())
        await asyncio.sleep(0)
        peers.append(await first_answer(snmpd.port, began))
        await starting
        await snmpd.stop()
        interpreters.append(await _interpreter())
    floor = median(interpreters)
    rows = [
        ["an interpreter that does nothing, start to end", number(floor), times(1)],
        ["snmpd, first answer", number(median(peers)), times(median(peers) / floor)],
        ["hsm-agent, first answer (sysUpTime, v2c)", number(median(answers)), times(median(answers) / floor)],
        ["hsm-agent, first token in the table", number(median(tokens)), times(median(tokens) / floor)],
    ]
    note = (
        "Medians. The first poll waits a little by design: polls are spread by up to 2 s, the same for a source's name."
    )
    show("Start", ("what", "ms", "to an interpreter"), rows, note)


async def _interpreter() -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    return (time.perf_counter() - began) * 1e3


async def first_answer(port: int, began: float) -> float:
    """Milliseconds until a GET is answered."""
    asker = Asker.meet(port, Version.V2C)
    request = asker.get(_SYS_UP_TIME)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))

        async def answered() -> bool:
            try:
                client.send(request)
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                client.recv(65535)
            except (ConnectionRefusedError, BlockingIOError):
                return False
            return True

        await _until(answered)
        return (time.perf_counter() - began) * 1e3


async def first_token(port: int, began: float) -> float:
    """Milliseconds until the table has a token."""
    asker = Asker.meet(port, Version.V2C)

    async def seen() -> bool:
        return bool(asker.walk(TOKEN_TABLE)[1])

    await _until(seen)
    return (time.perf_counter() - began) * 1e3


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_ANSWER_SECONDS):
        while not await holds():
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _at_rest(agents: list[_Watched], *, tokens: int, seconds: float) -> None:
    for watched in agents:
        await whole_table(watched.agent.snmp_port, 1 if watched is agents[0] else tokens)
        await _use(watched.agent)
    await asyncio.sleep(_SETTLE_SECONDS)
    before = [_cpu(watched.agent) for watched in agents]
    began = time.monotonic()
    await asyncio.sleep(seconds)
    days = _DAY_SECONDS / (time.monotonic() - began)
    rows = []
    for watched, (agent_before, worker_before) in zip(agents, before, strict=True):
        agent_after, worker_after = _cpu(watched.agent)
        pid, (worker,) = watched.agent.pid, children(watched.agent.pid)
        rows.append(
            [
                watched.what,
                *(f"{rss(process):.1f}" for process in (pid, worker) for rss in (rss_mib, private_mib)),
                *(number(spent * days) for spent in (agent_after - agent_before, worker_after - worker_before)),
            ]
        )
    show(
        "At rest",
        ("agent with", "RSS MiB", "anonymous", "worker RSS", "anonymous", "CPU s a day", "worker CPU s a day"),
        rows,
        "After a walk by v2c and by v3, a scrape of /metrics and a notification to a trap and a RELP sink each; CPU"
        f" from {seconds:g} s of rest at the default intervals, nobody asking; the worker's renewals come on top.",
    )


async def _use(agent: AgentProcess) -> None:
    """Have every part loaded and used once."""
    for version in (Version.V2C, Version.V3):
        await asyncio.to_thread(Asker.meet(agent.snmp_port, version).walk, (1, 3))
    await asyncio.to_thread(_fetch, f"http://127.0.0.1:{agent.http_port}/metrics")
    await agent.ask("test-notification")


def _fetch(url: str) -> None:
    with urllib.request.urlopen(url, timeout=10) as answer:
        answer.read()


def _cpu(agent: AgentProcess) -> tuple[float, float]:
    """CPU seconds of the agent and of its workers so far."""
    return cpu_seconds(agent.pid), cpu_seconds(*children(agent.pid))


async def _a_worker_life(module: Path, environment: Mapping[str, str]) -> None:
    """What a fresh worker costs: started, module loaded, asked once, ended."""
    spent, began = _of_children(), time.perf_counter()
    worker = await ChildProcess.start(Launch(source="bench", command=PKCS11_COMMAND, environment=environment))
    worker.send({"do": "load", "module": str(module), "luna": False})
    await worker.answer(_ANSWER_SECONDS)
    worker.send({"do": "slots"})
    await worker.answer(_ANSWER_SECONDS)
    ready = time.perf_counter() - began
    await worker.end(_ANSWER_SECONDS)
    life = _of_children() - spent
    rows = [[number(ready * 1e3), number(life * 1e3), number(life * _RENEWALS_A_DAY)]]
    show(
        "A fresh worker",
        ("start to slot list ms", "CPU ms", f"CPU s a day ({_RENEWALS_A_DAY} renewals)"),
        rows,
        "SoftHSM, 1 token: an interpreter, ctypes, the module, one question, the end.",
    )


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
