"""The verbs about the group at an agent that is in one, and at one that is in none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.agent.control_client import ControlError
from hsm_agent.agent.group_commands import GroupCommands
from hsm_agent.model import GroupRole
from tests.fakes.groups import WELL
from tests.unit.agent.running import running
from tests.unit.agent.test_group import Joined

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.agent.agent import Agent


async def _ask(agent: Agent, verb: str, **request: Any) -> dict[str, Any]:
    return await GroupCommands(agent).verbs()[verb].handle(request, 1000)


async def test_an_agent_of_no_group_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        for verb in ("group-status", "group-yield"):
            with pytest.raises(ControlError, match="a member of no group"):
                await _ask(agent, verb)


async def test_the_group_is_shown_with_what_is_not_well(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        agent.group, agent.store.group = Joined().membership, replace(WELL, leader="")

        answer = await _ask(agent, "group-status")
        agent.store.group = None

        assert (answer["group"]["name"], answer["troubles"]) == ("emea", ["nobody leads"])
        with pytest.raises(ControlError, match="not looked at yet"):
            await _ask(agent, "group-status")


async def test_the_leader_lets_another_lead_and_a_standby_names_the_leader(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        joined = Joined()
        agent.group = joined.membership
        with pytest.raises(ControlError, match="a leads the group, not b"):
            await _ask(agent, "group-yield")

        joined.member.shown = replace(WELL, role=GroupRole.LEADER)

        assert await _ask(agent, "group-yield", to="c") == {"text": "c may lead"}
        assert await _ask(agent, "group-yield", to=None) == {"text": "any member may lead"}


async def test_an_agent_is_ready_once_its_part_in_the_group_is(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        joined = Joined()
        agent.group = joined.membership
        joined.membership.show(replace(WELL, is_caught_up=False))
        waiting = agent.unready()
        joined.membership.show(WELL)

        assert set(waiting) - set(agent.unready()) == {"group: catching up"}


async def test_the_lead_is_left_after_the_sinks_were_drained(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        joined = Joined()
        agent.group = joined.membership

    assert joined.member.asked == [0.1]
