"""The running agent on a module that numbers its slots anew, and on one of whose slots one goes on failing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.peers.agent import AgentProcess, source
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _raised(status: dict[str, Any]) -> dict[str, str]:
    return {alarm["rule"]: alarm["severity"] for alarm in status["alarms"]}


def _source(status: dict[str, Any]) -> dict[str, Any]:
    (found,) = [source for source in status["sources"] if source["name"] == "luna"]
    return dict(found)


def _polls(status: dict[str, Any]) -> int:
    return int(status["agent"]["polls"])


async def test_a_slot_that_goes_on_failing_beside_healthy_ones_is_an_alarm(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments", "backup")
    hsm.set_luna()
    hsm.set_audit(0)
    hsm.fault("C_GetTokenInfo", token="backup", rv=0x30)
    # Twenty readings of the audit store for each sweep: what the sweep found has to stand between two of them.
    watched = source("luna", hsm.module, hsm.environment, every="1s", audit_every="50ms")
    async with AgentProcess(tmp_path, sources=[watched], rules=[{"name": "source-errors", "for": "3s"}]) as agent:
        told = await agent.until(lambda status: "source-errors" in _raised(status))
        hsm.mend()
        well = await agent.until(lambda status: not status["alarms"])

    assert _source(told)["status"] == "degraded"
    assert "CKR_DEVICE_ERROR" in _source(told)["last_error"]
    assert _source(well)["status"] == "up"


async def test_a_module_that_numbers_its_slots_anew_raises_nothing(tmp_path: Path) -> None:
    tokens = {"payments": 100_000, "backup": 900_000, "archive": 950_000}
    hsm = FakeHsm(tmp_path / "hsm", *tokens)
    hsm.set("slots.list_first", 1)
    hsm.set("slots.numbering", 0)
    for token, free in tokens.items():
        hsm.set_memory(total=1_000_000, free=free, token=token)
    keys: dict[str, Any] = {"every": "1s", "liveness_every": "300ms", "rediscover_every": "300ms"}
    told: set[tuple[str, str, str]] = set()

    def note(status: dict[str, Any]) -> int:
        told.update((alarm["rule"], alarm["resource"], alarm["severity"]) for alarm in status["alarms"])
        return _polls(status)

    def past(polls: int) -> Callable[[dict[str, Any]], bool]:
        return lambda status: note(status) > polls

    async with AgentProcess(tmp_path, sources=[source("hsm", hsm.module, hsm.environment, **keys)]) as agent:
        await agent.until(lambda status: "token-memory" in _raised(status))
        for numbering in (1, 2, 0):
            hsm.set("slots.numbering", numbering)
            await agent.until(past(note(await agent.status()) + 8))

    assert told == {("token-memory", "payments", "critical")}
