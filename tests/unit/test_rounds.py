"""The agent's own loops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hsm_agent.model import AGENT_SOURCE, SourceState
from hsm_agent.rounds import Rounds, own_status


def _agent(*intervals: tuple[float, float]) -> Any:
    running = {
        str(number): SimpleNamespace(settings=SimpleNamespace(every=every, timeout=timeout))
        for number, (every, timeout) in enumerate(intervals)
    }
    return SimpleNamespace(store=SimpleNamespace(polls=0), sources=SimpleNamespace(running=running))


def test_polls_are_counted_for_the_watchdog_and_for_the_mib() -> None:
    agent = _agent()
    rounds = Rounds(agent)
    rounds.count_poll()
    rounds.count_poll()

    assert agent.store.polls == 2


def test_the_watchdog_is_patient_for_two_rounds_of_the_quickest_source() -> None:
    assert Rounds(_agent((60.0, 10.0), (15.0, 5.0))).patience() == 45.0
    assert Rounds(_agent()).patience() == 5.0


def test_the_agent_is_a_source_that_is_up() -> None:
    status = own_status(0.25)

    assert (status.name, status.kind, status.state) == (AGENT_SOURCE, "agent", SourceState.UP)
    assert cast("float", status.last_success) > 0
    assert status.last_poll_seconds == 0.25
