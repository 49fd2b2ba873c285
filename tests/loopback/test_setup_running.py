"""What setup asks of an agent that runs already: to reload, and to prove its new sinks."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.agent.control_client import ControlError
from hsm_agent.agent.control_socket import ControlServer, Verb
from hsm_agent.cli.setup.running import RunningAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

SINKS = [
    {"name": "siem", "guarantee": "at least once"},
    {"name": "loud", "guarantee": "best effort"},
    {"name": "gone", "guarantee": "at least once"},
]


class Desk:
    """Answers as the agent does; has its new sinks once SIGHUP came."""

    def __init__(self) -> None:
        self.sinks: list[dict[str, str]] = []
        self.refuses = False

    async def status(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        return {"sinks": self.sinks}

    async def test(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        if self.refuses:
            raise ControlError("not now")
        return {
            "accepted": False,
            "sinks": {"siem": "accepted", "loud": "accepted", "gone": "not accepted yet (refused)"},
        }


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk()
    verbs = {"status": Verb(desk.status, changes_state=False), "test-notification": Verb(desk.test, changes_state=True)}
    server = ControlServer(tmp_path / "control", verbs)
    (tmp_path / "lock").write_text(f"{os.getpid()}\n")
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: desk.sinks.extend(SINKS))
    await server.start()
    yield desk
    await server.close()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


async def test_the_agent_reloads_and_says_what_became_of_the_test(desk: Desk, tmp_path: Path) -> None:
    agent = RunningAgent(tmp_path / "control", tmp_path)

    assert await asyncio.to_thread(agent.is_there)
    proofs, failures = await asyncio.to_thread(agent.prove, ["siem", "loud", "gone"])

    assert proofs == [
        "siem: accepted, the receiver acknowledged it",
        "loud: sent; receivers of this kind acknowledge nothing: look there for the TEST",
        "gone: not accepted yet (refused)",
    ]
    assert failures == ("not every receiver could be proved",)


async def test_what_the_agent_refuses_is_told(desk: Desk, tmp_path: Path) -> None:
    desk.refuses = True
    agent = RunningAgent(tmp_path / "control", tmp_path)

    assert await asyncio.to_thread(agent.prove, ["siem", "loud", "gone"]) == ([], ("not now",))


async def test_an_agent_that_cannot_be_told_is_named(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("nobody")
    _, [failure] = await asyncio.to_thread(RunningAgent(tmp_path / "control", tmp_path).prove, ["siem"])

    assert failure.startswith("the running agent could not be told to reload: ")


async def test_an_agent_that_keeps_its_configuration_is_named(desk: Desk, tmp_path: Path) -> None:
    agent = RunningAgent(tmp_path / "control", tmp_path, reload_seconds=0.3)
    _, [failure] = await asyncio.to_thread(agent.prove, ["another"])

    assert failure.startswith("the running agent has not taken the new configuration within 0.3 s")


def test_where_none_runs_there_is_none(tmp_path: Path) -> None:
    assert not RunningAgent(tmp_path / "control", tmp_path).is_there()
