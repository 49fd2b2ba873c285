"""The services of our example for Nagios, each run as Nagios would, against a running agent."""

from __future__ import annotations

import asyncio
import re
import shlex
from typing import TYPE_CHECKING

from tests.peers.agent import AgentProcess, source
from tests.peers.require import ROOT
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

TEXT = (ROOT / "integrations" / "nagios" / "hsm-agent.cfg").read_text(encoding="utf-8")
COMMANDS = dict(re.findall(r"command_name +(\S+)\n +command_line +(.*)", TEXT))
CHECKS = re.findall(r"service_description +(.*)\n +check_command +(check_hsm_agent_metric!.*)", TEXT)


def words(check: str) -> list[str]:
    """What follows `hsm-agent check` once Nagios's macros are filled in and the shell has split it."""
    name, *arguments = check.split("!")
    line = re.sub(r"\$ARG(\d)\$", lambda match: arguments[int(match[1]) - 1], COMMANDS[name])
    return shlex.split(line)[2:]


async def answer(agent: AgentProcess, check: str) -> tuple[int, str]:
    given = words(check)
    given[given.index("--config") + 1] = str(agent.file)
    code, out, _errors = await agent.run("check", *given)
    return code, out.split(":")[0]


async def test_each_service_has_an_answer_of_the_running_agent(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments")
    hsm.set_memory(total=1_000_000, free=200_000)
    hsm.set_session_limit(50)
    hsm.set_luna()
    hsm.set("storage.total", 1_000_000)
    hsm.set("storage.used", 990_000)
    hsm.set_audit(records=100_000)
    async with AgentProcess(tmp_path, sources=[source("luna-a", hsm.module, hsm.environment)]) as agent:
        await agent.until(lambda status: len(status["tokens"]) >= 1)
        answers = await asyncio.gather(*(answer(agent, check) for _service, check in CHECKS))

    services = [service for service, _check in CHECKS]
    assert dict(zip(services, answers, strict=True)) == {
        "HSM source luna-a": (0, "OK"),
        "HSM token payments memory": (1, "WARNING"),
        "HSM token payments storage": (2, "CRITICAL"),
        "HSM token payments sessions": (0, "OK"),
        "HSM audit fill": (1, "WARNING"),
        "HSM audit time to full": (0, "OK"),
    }
