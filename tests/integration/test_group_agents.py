"""The set-up of docs/group.md as it stands there, and two agents that use it: what operators and managers see of them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from hsm_agent.net.etcd_messages import EtcdRefused
from tests.integration.test_etcd_setup import BLOCK, Documented, documented
from tests.peers.agent import COMMUNITY, AgentProcess
from tests.peers.etcd import settings
from tests.peers.netsnmp import NetSnmp, v2c
from tests.peers.require import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["documented"]

PAGE = (ROOT / "docs" / "group.md").read_text(encoding="utf-8")
SCALARS, MEMBERS = (f"1.3.6.1.4.1.8072.9999.9999.4801.1.{arc}" for arc in (1, 9))
NAMES = ("hsm-a", "hsm-b")
DATES = {"name": "support", "kind": "expiry", "date": "2001-01-01"}
Pair = tuple[AgentProcess, AgentProcess]


def member(made: Documented, name: str) -> AgentProcess:
    folder = made.folder / name
    folder.mkdir()
    source = {"name": "dates", "kind": "declared", "every": "1s", "timeout": "5s", "dates": [DATES]}
    agent = AgentProcess(folder, sources=[source], agent={"name": name})
    password = {"file": str(made.folder / f"{name}.password")}
    etcd = settings(made.cluster, user=name, password=password)
    agent.settings["group"] = {"name": "emea", "lease": "2s", "etcd": etcd}
    agent.configure()
    return agent


@pytest.fixture
async def users(documented: Documented) -> Documented:
    found = BLOCK.search(PAGE, PAGE.index("### A user for each agent"))
    assert found is not None
    await documented.run(found[2])
    return documented


@pytest.fixture
async def pair(users: Documented) -> AsyncIterator[Pair]:
    """Of which the first leads, and the second has caught up."""
    a, b = (member(users, name) for name in NAMES)
    async with a:
        await until(a, role="leader")
        async with b:
            await until(b, role="standby", caught_up=True)
            await a.until(lambda found: len(found["group"]["members"]) == 2)
            yield a, b


async def until(agent: AgentProcess, *, seconds: float = 15.0, **wanted: Any) -> dict[str, Any]:
    """The status, once what it says of the group is as wanted."""
    return await agent.until(lambda found: wanted.items() <= found["group"].items(), seconds=seconds)


async def ready(agent: AgentProcess) -> list[str]:
    def look() -> bytes:
        with urlopen(f"http://127.0.0.1:{agent.http_port}/readyz", timeout=5) as answer:
            return bytes(answer.read())

    found: list[str] = json.loads(await asyncio.to_thread(look))
    return found


async def test_a_user_of_the_page_may_use_what_is_the_groups_and_nothing_else(users: Documented) -> None:
    client = await users.client("hsm-a")

    await client.put(b"/hsm-agent/emea/lock", b"{}")
    for key in (b"/hsm-agent/emea", b"/hsm-agent/emea2/lock", b"/hsm-agent-fleet/hsm-a"):
        with pytest.raises(EtcdRefused, match="permission denied"):
            await client.put(key, b"{}")
    await client.close()


async def test_a_pair_does_as_the_page_says(pair: Pair) -> None:
    a, b = pair
    await managers_see_roles_epoch_and_members(pair)
    await a_stopped_leader_leaves_the_lead_and_comes_back_as_a_standby(a, b)
    await operators_act_at_the_leader(b, a)


async def operators_act_at_the_leader(leader: AgentProcess, standby: AgentProcess) -> None:
    there, here = (("--config", str(agent.file)) for agent in (leader, standby))
    code, out, err = await standby.run("group", "status", *here)
    assert (code, err) == (0, "")
    assert "group emea: standby, hsm-b leads" in out
    assert [await ready(agent) for agent in (leader, standby)] == [[], []]

    silence = ("silence", "--rule", "declared-date", "--for", "1h", "--reason", "work")
    code, _, err = await standby.run(*silence, *here)
    assert (code, "hsm-b" in err) == (1, True)
    assert (await leader.run(*silence, *there))[0] == 0
    await standby.until(lambda found: [each["reason"] for each in found["silences"]] == ["work"])

    code, _, err = await standby.run("group", "yield", *here)
    assert (code, "hsm-b" in err) == (1, True)
    assert (await leader.run("group", "yield", "--to", "hsm-a", *there))[:2] == (0, "the lead is left to hsm-a\n")
    await until(standby, role="leader", seconds=6.0)


async def a_stopped_leader_leaves_the_lead_and_comes_back_as_a_standby(a: AgentProcess, b: AgentProcess) -> None:
    (alarm,) = {one["alarm_id"] for one in (await until(b, leader="hsm-a"))["alarms"] if one["source"] == "dates"}

    began = time.monotonic()
    stopping = asyncio.ensure_future(a.stop())
    status = await until(b, role="leader", seconds=6.0)
    took = time.monotonic() - began

    assert await stopping == 0
    assert took < 4.0, f"{took}\n{a.log}\n{b.log}"  # 0.1 s, unless the machine is busy
    assert {one["alarm_id"] for one in status["alarms"] if one["source"] == "dates"} == {alarm}
    await b.until(lambda found: [one["up"] for one in found["group"]["members"]] == [False, True])
    code, _, err = await b.run("group", "status", "--config", str(b.file))
    assert (code, err) == (2, "hsm-agent: hsm-a is not there\n")
    await a.start()
    await until(a, role="standby", caught_up=True, leader="hsm-b")
    await b.until(lambda found: [one["up"] for one in found["group"]["members"]] == [True, True])


async def managers_see_roles_epoch_and_members(pair: Pair) -> None:
    walks = []
    for agent in pair:
        snmp = NetSnmp(f"udp:127.0.0.1:{agent.snmp_port}", v2c(COMMUNITY))
        await agent.until(lambda found: len(found["group"]["members"]) == 2)
        async with asyncio.timeout(5):
            while len(found := await snmp.walk(MEMBERS)) < 16:
                await asyncio.sleep(0.1)
        walks.append((found, await snmp.walk(SCALARS)))

    roles = [scalars[f".{SCALARS}.9.0"] for _, scalars in walks]
    assert roles == ["INTEGER: 2", "INTEGER: 3"]
    epochs = {scalars[f".{SCALARS}.10.0"] for _, scalars in walks}
    assert len(epochs) == 1
    for members, _ in walks:
        names = {value for name, value in members.items() if name.startswith(f".{MEMBERS}.1.2.")}
        assert names == {'STRING: "hsm-a"', 'STRING: "hsm-b"'}
