"""`hsm-agent check --metric`: the plugin's question to the running agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.peers.agent import AgentProcess, source
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

METRIC = "token_memory_private_used_percent"


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[AgentProcess]:
    hsm = FakeHsm(tmp_path / "hsm", "payments", "archive")
    hsm.set_memory(total=1000, free=200, token="payments")
    hsm.set_memory(total=1000, free=900, token="archive")
    async with AgentProcess(tmp_path, sources=[source("fake", hsm.module, hsm.environment)]) as process:
        await process.until(lambda status: len(status["tokens"]) == 2)
        yield process


async def test_the_running_agents_reading_is_judged_by_the_ranges_given(agent: AgentProcess) -> None:
    async def ask(*words: str) -> tuple[int, str]:
        code, out, _ = await agent.run("check", "--config", str(agent.file), *words)
        return code, out

    place = ("--metric", METRIC, "--source", "fake", "--resource", "payments")
    assert await ask(*place, "-w", "75", "-c", "90") == (
        1,
        f"WARNING: fake payments: {METRIC} 80 percent | '{METRIC}'=80%;75;90\n",
    )
    assert (await ask(*place, "-w", "85", "-c", "90"))[0] == 0
    assert (await ask(*place, "-c", "10"))[0] == 2
    assert (await ask(*place))[0] == 0
    code, out = await ask("--metric", METRIC, "--source", "fake")
    assert code == 3
    assert "2 readings, say which: fake/archive, fake/payments" in out
    assert await ask("--metric", f"hsm_{METRIC}", "resource=archive", "-w", "75", "source=fake") == (
        0,
        f"OK: fake archive: {METRIC} 10 percent | '{METRIC}'=10%;75\n",
    )
    assert (await ask("--metric", METRIC, "pay")) == (
        3,
        "UNKNOWN: not a label: 'pay' (write name=value); see hsm-agent check --help\n",
    )
    assert (await ask("--metric", "source_up", "--source", "fake"))[1].startswith("OK: fake: source_up 1 |")
    assert (await ask("--metric", "no_such_metric"))[0] == 3
    code, out = await ask("--metric", "token_memory_private_used_percents")
    assert (code, f"did you mean {METRIC}" in out) == (3, True)
    there = "the agent has no such reading; of that metric there is fake/{}fake/payments{}"
    assert there.format("archive, ", "") in (await ask("--metric", METRIC, "--resource", "payment"))[1]
    code, out = await ask("--metric", "token_present", "--resource", "payments", "expected=true")
    assert (code, there.format("archive expected=false, ", " expected=false") in out) == (3, True)
    code, out = await ask("--metric", "token_objects", "--source", "fake", "--resource", "payments")
    assert code == 3
    code, out = await ask("--metric", "token_sessions", "--source", "fake", "--resource", "payments")
    assert (code, "unavailable" in out) == (3, True)
    await agent.stop()
    code, out = await ask(*place)
    assert code == 3
    assert out.startswith("UNKNOWN: the agent is not running")
