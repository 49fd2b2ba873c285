"""The agent's own loops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hsm_agent.rounds import Rounds


def _agent(*intervals: tuple[float, float]) -> Any:
    running = {
        str(number): SimpleNamespace(settings=SimpleNamespace(every=every, timeout=timeout))
        for number, (every, timeout) in enumerate(intervals)
    }
    return SimpleNamespace(store=SimpleNamespace(polls=0), sources=SimpleNamespace(running=running))


def test_the_watchdog_is_patient_for_two_rounds_of_the_quickest_source() -> None:
    assert Rounds(_agent((60.0, 10.0), (15.0, 5.0))).patience() == 45.0
    assert Rounds(_agent()).patience() == 5.0
