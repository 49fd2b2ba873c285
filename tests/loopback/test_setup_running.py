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
        self.configured = 1.0
        self.refuses = False

    async def status(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        return {"sinks": self.sinks, "agent": {"configured": self.configured}}

    def reload(self) -> None:
        self.sinks = SINKS
        self.configured = 2.0

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
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, desk.reload)
    await server.start()
    yield desk
    await server.close()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


async def test_the_agent_reloads_and_says_what_became_of_the_test(desk: Desk, tmp_path: Path) -> None:
    agent = RunningAgent(tmp_path / "control")

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
    agent = RunningAgent(tmp_path / "control")

    assert await asyncio.to_thread(agent.prove, ["siem", "loud", "gone"]) == ([], ("not now",))


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Who was sent which signal; nobody is."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: found.append((pid, number)))
    return found


async def test_only_the_process_behind_the_socket_is_told(
    desk: Desk, tmp_path: Path, killed: list[tuple[int, int]]
) -> None:
    (tmp_path / "lock").write_text("-1")  # every process, were it believed
    await asyncio.to_thread(RunningAgent(tmp_path / "control", reload_seconds=0.1).prove, ["siem"])

    assert killed == [(os.getpid(), signal.SIGHUP)]


async def test_sinks_of_the_same_names_prove_nothing_before_the_new_configuration_is_in_force(
    desk: Desk, tmp_path: Path, killed: list[tuple[int, int]]
) -> None:
    desk.sinks = SINKS
    agent = RunningAgent(tmp_path / "control", reload_seconds=0.3)
    proofs, [failure] = await asyncio.to_thread(agent.prove, ["siem", "loud", "gone"])

    assert (proofs, len(killed)) == ([], 1)
    assert failure.startswith("the running agent has not taken the new configuration within 0.3 s")


async def test_an_agent_with_other_sinks_is_named(desk: Desk, tmp_path: Path) -> None:
    _, [failure] = await asyncio.to_thread(RunningAgent(tmp_path / "control").prove, ["another"])

    assert failure.startswith("the running agent has other sinks")


async def test_nonsense_behind_the_socket_is_named(desk: Desk, tmp_path: Path) -> None:
    desk.configured = None  # type: ignore[assignment]
    desk.sinks = [{"name": "siem"}]
    desk.reload = lambda: setattr(desk, "configured", 2.0)  # type: ignore[method-assign]
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, desk.reload)
    _, [failure] = await asyncio.to_thread(RunningAgent(tmp_path / "control").prove, ["siem"])

    assert failure.endswith("not an answer of an agent (KeyError)")


def test_where_none_runs_there_is_none(tmp_path: Path) -> None:
    assert not RunningAgent(tmp_path / "control").is_there()
