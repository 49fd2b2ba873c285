"""What a receiver refuses is set aside, tried again, and given up only if others are taken in between."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from hsm_agent.model import SinkState
from tests.fakes.events import cleared, raised
from tests.fakes.examples import chosen
from tests.fakes.pumping import PumpRig, pumping
from tests.fakes.sinks import ChokingSink, RefusingSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PumpRig]:
    async with pumping(tmp_path) as rig:
        yield rig


async def _letters(rig: PumpRig) -> dict[str, str]:
    return {entry.event.event_id: entry.dead[0].reason for entry in await rig.spool.entries() if entry.dead}


async def test_what_is_refused_though_others_are_taken_is_a_dead_letter(rig: PumpRig) -> None:
    rig.seconds_a_look = 100.0
    sink = RefusingSink({"e2", "e3"})
    await rig.commit("e1", "e2", "e3", "e4")
    rig.pump(sink)
    await rig.empty()

    assert sink.accepted == ["e1", "e4"]
    assert await _letters(rig) == {"e2": "500 not wanted", "e3": "500 not wanted"}
    status = rig.statuses["noc"]
    assert (status.dropped, status.delivered, status.failing_since) == (2, 2, None)
    assert 7 <= sum(batch == ["e2"] for batch in sink.batches) <= 10


@pytest.mark.parametrize(("refusals", "window"), chosen([*product((1, 2, 3, 19, 100), (1, 8, 128))], 4))
async def test_a_receiver_that_refuses_everything_for_a_while_costs_no_event(
    rig: PumpRig, refusals: int, window: int
) -> None:
    rig.seconds_a_look = 1.0
    everything = [f"e{number}" for number in range(20)]
    sink = RefusingSink(set(), refusals=refusals, window=window)
    await rig.commit(*everything)
    rig.pump(sink)
    await rig.empty()

    assert sorted(sink.accepted) == sorted(everything)
    assert rig.spool.stats().sinks["noc"].dead_letters_total == 0
    assert (rig.statuses["noc"].failing_since, rig.statuses["noc"].failed) == (None, refusals)


@pytest.mark.parametrize("every", [2, 3, 5])
async def test_a_receiver_that_refuses_every_other_message_costs_no_event(rig: PumpRig, every: int) -> None:
    rig.seconds_a_look = 1.0
    everything = [f"e{number}" for number in range(20)]
    sink = RefusingSink(set(), every=every)
    await rig.commit(*everything)
    rig.pump(sink)
    await rig.empty()

    assert sorted(sink.accepted) == sorted(everything)


async def test_the_only_event_is_never_given_up_and_said_to_be_refused(rig: PumpRig) -> None:
    rig.seconds_a_look = 10.0
    await rig.commit("e1")
    sink = RefusingSink({"e1"})
    rig.pump(sink)
    await sink.until(lambda: len(sink.batches) > 50)

    status = rig.statuses["noc"]
    assert (status.state, status.last_error, status.refused) == (SinkState.REFUSED, "500 not wanted", 1)
    assert status.failing_since is not None
    assert (status.queued, status.dropped, sink.heartbeats) == (1, 0, 0)


async def test_the_only_event_is_given_up_once_another_one_was_taken(rig: PumpRig) -> None:
    rig.seconds_a_look = 10.0
    await rig.commit("e1")
    sink = RefusingSink({"e1"})
    rig.pump(sink)
    await sink.until(lambda: len(sink.batches) > 20)
    await rig.commit("e2")
    await rig.empty()

    assert sink.accepted.count("e2") == 1
    assert await _letters(rig) == {"e1": "500 not wanted"}
    assert (rig.statuses["noc"].refused, rig.statuses["noc"].dropped) == (1, 1)


async def test_a_refused_event_is_not_overtaken_by_its_own_alarm(rig: PumpRig) -> None:
    rig.seconds_a_look = 1.0
    sink = RefusingSink(set(), refusals=3)
    await rig.spool.commit([raised("r1", "a"), raised("r2", "b"), cleared("c1", "a"), cleared("c2", "b")], {})
    rig.pump(sink)
    await rig.empty()

    assert sorted(sink.accepted) == ["c1", "c2", "r1", "r2"]
    assert sink.accepted.index("r1") < sink.accepted.index("c1")
    assert sink.accepted.index("r2") < sink.accepted.index("c2")


async def test_what_can_never_be_sent_is_a_dead_letter_at_once(rig: PumpRig) -> None:
    sink = RefusingSink({"e1"})
    sink.certain = True
    await rig.commit("e1")
    rig.pump(sink)
    await rig.empty()

    assert len(sink.batches) == 1
    assert await _letters(rig) == {"e1": "500 not wanted"}


async def test_an_event_that_is_dropped_while_it_is_set_aside_is_forgotten(rig: PumpRig) -> None:
    rig.seconds_a_look = 10.0
    await rig.commit("e1")
    sink = RefusingSink({"e1"})
    rig.pump(sink)
    await sink.until(lambda: len(sink.batches) > 3)
    assert await rig.spool.drop("e1")
    await rig.commit("e2")
    await rig.empty()

    assert sink.accepted == ["e2"]


@pytest.mark.parametrize("poison", [{"e1"}, {"e4"}, {"e4", "e5"}, {"e9"}])
async def test_an_event_that_ends_each_session_is_found_within_the_window(rig: PumpRig, poison: set[str]) -> None:
    rig.seconds_a_look = 10.0
    everything = [f"e{number}" for number in range(1, 10)]
    sink = ChokingSink(poison, window=8)
    await rig.commit(*everything, "last")
    rig.pump(sink)
    await rig.empty()

    assert sorted(sink.accepted) == sorted([*(each for each in everything if each not in poison), "last"])
    reason = "3 times others were accepted and it was not: the receiver ended the session"
    assert await _letters(rig) == dict.fromkeys(poison, reason)
    assert rig.statuses["noc"].dropped == len(poison)


async def test_five_sessions_that_end_and_then_a_well_receiver_cost_no_event(rig: PumpRig) -> None:
    """A balancer in front of a receiver that starts lets everybody in and drops them."""
    rig.seconds_a_look = 10.0
    sink = ChokingSink(set(), always=True)
    await rig.commit("e1", "e2", "e3")
    rig.pump(sink)
    await sink.until(lambda: len(sink.batches) >= 6)
    sink.always = False
    await rig.empty()

    assert sorted(sink.accepted) == ["e1", "e2", "e3"]
    assert await _letters(rig) == {}
