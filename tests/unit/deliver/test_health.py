"""The status of a sink, and a log line only when it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.deliver.health import SinkHealth
from hsm_agent.model import Guarantee, SinkState, SinkStatus
from hsm_agent.spool import Spool
from tests.fakes.events import plain
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class _Rig:
    def __init__(self, spool: Spool) -> None:
        self.now = 100.0
        self.reports: list[SinkStatus] = []
        self.health = SinkHealth(FakeSink("noc"), spool, on_status=self.reports.append, clock=lambda: self.now)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[_Rig]:
    spool = await Spool.open(tmp_path, entries=2, size_bytes=10**6)
    await spool.register({"noc": None}, ())
    await spool.commit([plain("t1"), plain("t2"), plain("t3")], {})
    yield _Rig(spool)
    await spool.close()


async def test_down_and_back_are_logged_once_each(rig: _Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    rig.health.failed("connection refused")
    rig.now += 12
    rig.health.failed("timed out")
    rig.health.accepted(1)
    rig.health.accepted(1)

    assert caplog.messages == [
        "sink noc is failing: connection refused",
        "sink noc is back after 12 s, 2 events waiting",
    ]


async def test_the_status_says_all_of_it(rig: _Rig) -> None:
    rig.health.accepted(3)
    rig.health.failed("connection refused")
    rig.now += 5
    rig.health.failed("timed out")

    assert rig.health.failing
    assert rig.reports[-1] == SinkStatus(
        name="noc",
        kind="fake",
        guarantee=Guarantee.AT_LEAST_ONCE,
        state=SinkState.RETRYING,
        queued=2,
        delivered=3,
        failed=2,
        dropped=1,
        failing_since=100.0,
        last_error="timed out",
    )


async def test_a_refusal_is_an_answer(rig: _Rig) -> None:
    rig.health.refused("500 not wanted", failing=False)

    assert not rig.health.failing
    assert (rig.reports[-1].state, rig.reports[-1].failing_since) == (SinkState.REFUSED, None)
    assert (rig.reports[-1].failed, rig.reports[-1].last_error) == (1, "500 not wanted")


async def test_a_receiver_that_refuses_whatever_comes_is_failing(rig: _Rig) -> None:
    rig.health.long_refused = 2
    rig.health.refused("500 no space", failing=True)

    assert rig.health.failing
    assert (rig.reports[-1].state, rig.reports[-1].failing_since) == (SinkState.REFUSED, 100.0)
    assert (rig.reports[-1].failed, rig.reports[-1].last_error, rig.reports[-1].refused) == (1, "500 no space", 2)


async def test_a_dead_letter_does_not_make_a_failing_receiver_well(rig: _Rig) -> None:
    rig.health.failed("connection refused")
    rig.health.gave_up("no notification can carry it")

    assert rig.health.failing
    assert rig.reports[-1].last_error == "no notification can carry it"
