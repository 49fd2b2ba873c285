"""An agent in the test's own process: what it opens, clears, announces, and how it ends."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

from hsm_agent.agent.agent import Agent
from hsm_agent.agent.host import host_name
from hsm_agent.config.tree import load
from hsm_agent.state.files import DirectoryInUseError
from tests.peers.trusted import trusting
from tests.unit.agent.running import EXPIRED, SUPPORTED, declare, polled, running, write

if TYPE_CHECKING:
    from pathlib import Path

import pytest


async def test_a_crossing_is_raised_and_cleared_at_the_sink(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, sink):
        await declare(tmp_path, EXPIRED)
        await polled(agent)
        await declare(tmp_path, SUPPORTED)
        await polled(agent)
        await sink.until(lambda: len(sink.events) == 2)

    assert sink.kinds == ["RAISED", "CLEARED"]
    assert {event.agent for event in sink.events} == {"monitor-1"}


async def test_an_alarm_outlives_the_process_and_a_new_sink_gets_the_same_event(tmp_path: Path) -> None:
    await declare(tmp_path, EXPIRED)
    async with running(tmp_path) as (agent, sink):
        await sink.until(lambda: len(sink.events) == 1)
        (first,) = agent.store.alarms.values()

    async with running(tmp_path) as (agent, sink):
        (second,) = agent.store.alarms.values()
        await sink.until(lambda: len(sink.events) == 1)

    assert second.alarm_id == first.alarm_id
    assert sink.events[0].event_id == first.event.event_id


async def test_an_alarm_of_a_source_that_left_the_configuration_clears_at_the_next_start(tmp_path: Path) -> None:
    await declare(tmp_path, EXPIRED)
    async with running(tmp_path, sources=("dates", "others")) as (agent, sink):
        await sink.until(lambda: len(sink.events) == 2)

    async with running(tmp_path, sources=("others",)) as (agent, _):
        assert {alarm.event.source for alarm in agent.store.alarms.values()} == {"others"}


async def test_it_is_ready_when_every_source_was_polled(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        assert agent.unready() == []
        assert agent.state_problem == ""
        assert not agent.speaks_v3


async def test_a_second_agent_on_the_same_state_is_refused_and_closes_what_it_had_opened(tmp_path: Path) -> None:
    async with running(tmp_path):
        second = Agent(await asyncio.to_thread(lambda: load(write(tmp_path), trusting())))
        with pytest.raises(DirectoryInUseError):
            await second.open()
        await second.close()


async def test_unreadable_rows_of_the_state_are_announced_once_and_deleted(tmp_path: Path) -> None:
    await declare(tmp_path, EXPIRED)
    async with running(tmp_path) as (_, sink):
        await sink.until(lambda: len(sink.events) == 1)

    def damage() -> None:
        with sqlite3.connect(tmp_path / "state" / "spool.db") as database:
            database.execute("INSERT INTO state VALUES ('alarm/broken', '{')")
        database.close()

    await asyncio.to_thread(damage)
    async with running(tmp_path) as (agent, _):
        assert "alarm/broken" not in await agent.spool.states()


async def test_what_a_group_left_behind_is_erased_where_there_is_none_any_more(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        await agent.spool.commit((), {"group/progress": "{}", "group/own/a-1": ""})
    async with running(tmp_path) as (agent, sink):
        assert not [key for key in await agent.spool.states() if key.startswith("group/")]
        assert sink.events == []


@pytest.mark.parametrize("host", ["monitor", "localhost.localdomain"])
async def test_a_host_without_a_full_name_is_called_as_the_agent_is(host: str) -> None:
    assert await host_name(otherwise="monitor-1", find=lambda: host) == "monitor-1"


async def test_a_host_with_a_full_name_keeps_it() -> None:
    assert await host_name(otherwise="monitor-1", find=lambda: "monitor.example.net") == "monitor.example.net"
