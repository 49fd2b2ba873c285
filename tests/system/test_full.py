"""A full disk and a full spool: events still go out, the agent says what is wrong, and it mends itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peers import private_mounts
from tests.peers.agent import AgentProcess, source
from tests.peers.ports import free_port
from tests.peers.require import require
from tests.peers.rights import needs_private_mounts
from tests.peers.rsyslog import Rsyslog
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.peers.syslog_receiver import Received

ON_A_SMALL_DISK = 'mount -t tmpfs -o size=8m,mode=700 tmpfs "$1" && shift && exec "$@"'


@pytest.fixture
def hsm(tmp_path: Path) -> FakeHsm:
    made = FakeHsm(tmp_path / "hsm", "payments")
    made.set_memory(total=1_000_000, free=900_000)
    return made


@pytest.fixture
async def rsyslog(tmp_path: Path) -> AsyncIterator[Rsyslog]:
    async with Rsyslog(program=require("rsyslogd"), folder=tmp_path) as peer:
        yield peer


async def _told(rsyslog: Rsyslog, kind: str, rule: str, count: int = 1) -> list[Received]:
    async with asyncio.timeout(20):
        while True:
            found = [r for r in rsyslog.received() if r.message_id == kind and r.data["hsm@32473"]["rule"] == rule]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


@needs_private_mounts
async def test_on_a_full_disk_events_go_out_from_memory_and_are_written_when_there_is_room(
    tmp_path: Path, hsm: FakeHsm, rsyslog: Rsyslog
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    prefix = private_mounts.command("sh", "-c", ON_A_SMALL_DISK, "sh")
    async with AgentProcess(
        tmp_path,
        sources=[source("fake", hsm.module, hsm.environment)],
        deliver=[{"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"}],
        command=[*prefix, str(state)],
    ) as agent:
        await agent.until(lambda s: bool(s["tokens"]))
        filler = Path(f"/proc/{agent.pid}/root{state}/filler")
        await asyncio.to_thread(_fill, filler)
        hsm.set_memory(free=50_000)
        await _told(rsyslog, "ALARM_RAISED", "token-memory")
        await _told(rsyslog, "ALARM_RAISED", "spool-failed")
        status = await agent.until(lambda s: s["spool"]["failed"])
        assert {a["rule"] for a in status["alarms"]} >= {"token-memory", "spool-failed"}

        filler.unlink()
        await _told(rsyslog, "ALARM_CLEARED", "spool-failed")
        await agent.until(lambda s: not s["spool"]["failed"] and s["spool"]["entries"] == 0)
        hsm.set_memory(free=900_000)
        (cleared,) = await _told(rsyslog, "ALARM_CLEARED", "token-memory")
        (raised,) = await _told(rsyslog, "ALARM_RAISED", "token-memory")

    assert cleared.data["hsm@32473"]["alarmId"] == raised.data["hsm@32473"]["alarmId"]


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2


async def test_a_full_spool_drops_what_nobody_was_told_of_first_and_says_so(
    tmp_path: Path, hsm: FakeHsm, rsyslog: Rsyslog
) -> None:
    """A sink that never answers fills the spool with raises and clears; the live one is told of the drops."""
    hsm.set_extra_slots(30)
    async with AgentProcess(
        tmp_path,
        sources=[source("fake", hsm.module, hsm.environment, luna="off", every="200ms")],
        agent={"spool": {"entries": 100, "size": "1MiB"}},
        deliver=[
            {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"},
            {"name": "dead", "kind": "syslog", "to": f"relp:127.0.0.1:{free_port()}"},
        ],
    ) as agent:
        await agent.until(lambda s: len(s["tokens"]) >= 31)
        for round_ in range(1, 4):
            hsm.set_memory(free=50_000)
            await _told(rsyslog, "ALARM_RAISED", "token-memory", 31 * round_)
            hsm.set_memory(free=900_000)
            await _told(rsyslog, "ALARM_CLEARED", "token-memory", 31 * round_)
        status = await agent.until(lambda s: s["spool"]["dropped_total"] > 0)
        await _told(rsyslog, "ALARM_RAISED", "events-dropped")
        await _told(rsyslog, "ALARM_RAISED", "spool-filling")

    assert status["spool"]["entries"] <= 100
    # the live sink lost nothing
    events = [
        r.data["hsm@32473"]["eventId"] for r in rsyslog.received() if r.data["hsm@32473"]["rule"] == "token-memory"
    ]
    assert len(set(events)) == 6 * 31
