"""A source that runs commands, in the whole agent: what an appliance prints becomes tokens, alarms and their end."""

from __future__ import annotations

from signal import Signals
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.agent import AgentProcess
from tests.peers.appliance import SAMPLES, Appliance
from tests.peers.processes import living, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _raised(rule: str, resource: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: any((alarm["rule"], alarm["resource"]) == (rule, resource) for alarm in status["alarms"])


async def test_partitions_are_tokens_and_what_happens_to_them_is_an_alarm(tmp_path: Path) -> None:
    well = (SAMPLES / "partition_show.txt").read_text(encoding="ascii")
    well = well.replace("Crypto User      Locked Out:               yes", "Crypto User Locked Out: no")
    well = well.replace("None - Crypto User is Locked Out", "3 before Crypto User is Locked Out!")
    first, second = well.split("\n\n", 2)[:2]
    printed = tmp_path / "printed.txt"
    printed.write_text(well, encoding="ascii")
    run = {"command": ["cat", str(printed)], "parser": "lunash-partition-show"}
    source = {"name": "luna", "kind": "command", "every": "200ms", "expected": ["archive"], "runs": [run]}
    async with AgentProcess(tmp_path, sources=[source]) as agent:
        status = await agent.until(lambda status: len(status["tokens"]) == 2)
        assert {token["resource"]: token["status"] for token in status["tokens"]} == {
            "payments": "present",
            "archive": "present",
        }

        zeroized = first.replace("Partition SO Zeroized:                     no", "Partition SO Zeroized: yes")
        printed.write_text(well.replace(first, zeroized), encoding="ascii")
        await agent.until(_raised("partition-zeroized", "payments"))

        printed.write_text(well.replace(second, ""), encoding="ascii")
        status = await agent.until(_raised("token-missing", "archive"))
        assert not _raised("partition-zeroized", "payments")(status)
        (missing,) = status["alarms"]
        assert missing["severity"] == "critical"

        printed.write_text(well, encoding="ascii")
        await agent.until(lambda status: not status["alarms"])


@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
async def test_nothing_of_a_command_outlives_the_agent(tmp_path: Path, number: str) -> None:
    appliance, how = Appliance(tmp_path / "appliance"), Signals[number]
    source = {"name": "luna", "kind": "command", "timeout": "60s", "runs": [appliance.run("tree")]}
    async with AgentProcess(tmp_path, sources=[source]) as agent:
        await agent.until(lambda _: len(appliance.pids("child")) == 2)
        pids = [*appliance.pids("start"), *appliance.pids("child")]
        assert living(pids) == pids

        assert await agent.stop(how) == _exit_status(how)

    await until(lambda: not living(pids))


def _exit_status(number: Signals) -> int:
    return 0 if number.name == "SIGTERM" else -number.value
