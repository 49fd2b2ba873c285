"""A receiver that answers with errors for a while gets everything afterwards; one bad event costs only itself."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.fakes.relp_server import RelpPeer, RelpScript
from tests.fakes.stream_server import StreamServer
from tests.fakes.syslog_oracle import read
from tests.peers.agent import AgentProcess, source
from tests.peers.processes import until
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = 20
REFUSES_SECONDS = 6.0


@pytest.fixture
def hsm(tmp_path: Path) -> FakeHsm:
    made = FakeHsm(tmp_path / "hsm", "payments")
    made.set_memory(total=1_000_000, free=900_000)
    made.set_extra_slots(TOKENS - 1)
    return made


class _Receiver:
    """Answers 500 to every alarm until `well_at`, and to alarms of one resource for ever."""

    def __init__(self, *, picky: bool = False) -> None:
        """`picky`: of what is the first to come of the tokens' memory, nothing is taken, ever."""
        self.well_at = 0.0
        self.picky = picky
        self.never = ""
        self.accepted: list[tuple[str, str, str]] = []

    async def __call__(self, session: RelpPeer) -> None:
        while True:
            frame = await session.syslog()
            message = read(frame.data)
            data = message.data["hsm@32473"]
            if self.picky and not self.never and data["rule"] == "token-memory":
                self.never = data["resource"]
            if time.monotonic() < self.well_at or (self.never and data["resource"] == self.never):
                await session.answer(frame.txnr, b"500 queue full")
                continue
            self.accepted.append((message.message_id or "", data["rule"], data["resource"]))
            await session.answer(frame.txnr)

    async def until(self, count: int, *, seconds: float) -> list[tuple[str, str, str]]:
        """What was accepted of the tokens' memory, once it is so much."""
        async with asyncio.timeout(seconds):
            while True:
                found = [each for each in self.accepted if each[1] == "token-memory"]
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.05)


def _agent(folder: Path, hsm: FakeHsm, server: StreamServer) -> AgentProcess:
    sink = {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{server.port}"}
    fake = source("fake", hsm.module, hsm.environment, luna="off")
    return AgentProcess(folder, sources=[fake], deliver=[sink])


async def test_a_relp_server_that_answers_500_for_six_seconds_loses_no_alarm(tmp_path: Path, hsm: FakeHsm) -> None:
    receiver = _Receiver()
    async with StreamServer(script=RelpScript([receiver])) as server, _agent(tmp_path, hsm, server) as agent:
        await agent.until(lambda status: len(status["tokens"]) == TOKENS)
        receiver.well_at = time.monotonic() + REFUSES_SECONDS
        hsm.set_memory(free=50_000)
        status = await agent.until(lambda status: status["sinks"][0]["status"] == "refused")
        assert "500 queue full" in status["sinks"][0]["last_error"]
        raised = await receiver.until(TOKENS, seconds=40)
        status = await agent.until(lambda status: status["spool"]["entries"] == 0)
        await agent.stop()

    assert len({resource for _, _, resource in raised}) == TOKENS
    (sink,) = status["sinks"]
    assert (sink["status"], sink["dropped"], sink["last_error"]) == ("up", 0, "")


async def test_one_event_that_is_never_taken_holds_up_no_other_and_is_an_alarm(tmp_path: Path, hsm: FakeHsm) -> None:
    receiver = _Receiver(picky=True)
    async with StreamServer(script=RelpScript([receiver])) as server, _agent(tmp_path, hsm, server) as agent:
        await agent.until(lambda status: len(status["tokens"]) == TOKENS)
        began = time.monotonic()
        hsm.set_memory(free=50_000)
        await receiver.until(TOKENS - 1, seconds=15)
        assert time.monotonic() - began < 10
        status = await agent.until(lambda status: status["sinks"][0]["dropped"] == 1, seconds=30)
        undelivered = ("ALARM_RAISED", "events-undelivered", "siem")
        await until(lambda: undelivered in receiver.accepted, seconds=30.0)
        code, out, _ = await agent.run("spool", "list", "-c", str(agent.file))
        await agent.stop()

    assert status["sinks"][0]["queued"] == 0
    assert code == 0
    assert "siem: relp:127.0.0.1" in " ".join(out.split())
