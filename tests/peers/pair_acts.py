"""What operators do with a pair, and what must then be true: yield, hand over, other configurations. Needs no pytest."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

from hsm_agent.model import EventKind
from tests.peers.pair import AGENTS, LEASE_SECONDS, RULE, is_kind
from tests.peers.pair_scenarios import YIELD_SECONDS
from tests.peers.processes import until

if TYPE_CHECKING:
    import random

    from tests.peers.pair import Pair

HAND_OVER_SECONDS = 10.0
RELOADED = "Configuration loaded"
_HSM = "10.78.0.1"
"""What the source `route` needs a way to."""


async def yielded_by_hand(pair: Pair, chance: random.Random) -> None:
    """Only who leads can; the other leads within a second, and nobody else is asked."""
    leader = await pair.until_led()
    other = pair.other(leader)
    code, _, refusal = await run(pair, other, "group", "yield")
    assert code == 1
    assert leader in refusal, refusal
    pair.levels.set(["r00", "r01"], 90)
    await asyncio.sleep(chance.uniform(0.0, 0.4))
    began = time.monotonic()
    code, out, err = await run(pair, leader, "group", "yield")
    asked = time.monotonic()
    assert code == 0, err
    assert out
    await pair.until_led(by=other, seconds=5)
    assert time.monotonic() - asked <= YIELD_SECONDS, f"{time.monotonic() - began:.2f} s"
    await pair.until_role(leader, "standby")
    await pair.until_judged()
    await pair.cross(up=False)
    await asyncio.sleep(2 * LEASE_SECONDS)
    assert await pair.role(other) == "leader"  # whoever yielded does not take it back


async def acts_of_operators(pair: Pair, chance: random.Random) -> None:
    """Acts on alarms are the leader's; a silence outlives it."""
    leader = await pair.until_led()
    other = pair.other(leader)
    await pair.cross("r00", up=True)
    for words in (
        ("silence", "--for", "1h", "--reason", "test", "--resource", "r01"),
        ("alarms", "forget", f"{await alarm_of(pair, leader, 'r00')}"),
    ):
        code, _, refusal = await run(pair, other, *words)
        assert (code, leader in refusal) == (1, True), (words, code, refusal)
    code, _, err = await run(pair, leader, "silence", "--for", "1h", "--reason", "test", "--resource", "r01")
    assert code == 0, err
    began = await pair.kill(leader)
    await pair.taken_over(began, from_=leader)
    await pair.start(leader)
    await pair.until_followed()
    told = len(pair.receivers.arrivals())
    pair.levels.of["r01"] = 90  # not counted: nobody may hear of it
    pair.levels.write()
    await asyncio.sleep(1.0)
    pair.levels.of["r01"] = 10
    pair.levels.write()
    await asyncio.sleep(0.5)
    assert not [each for each in pair.receivers.arrivals()[told:] if each.resource == "r01"]
    code, out, err = await run(pair, leader, "group", "status", "--format", "json")
    found = json.loads(out)
    assert (found["leader"], found["role"], len(found["members"])) == (other, "standby", 2), (code, found, err)
    await pair.cross(up=False)


async def alarm_of(pair: Pair, name: str, resource: str) -> str:
    status = await pair.agents[name].status()
    return next(str(each["alarm_id"]) for each in status["alarms"] if each["resource"] == resource)


async def run(pair: Pair, name: str, *words: str) -> tuple[int, str, str]:
    """A verb of the command line at one agent."""
    agent = pair.agents[name]
    return await agent.run(*words, "--config", str(agent.file))


# Hand-over.


def route_source() -> dict[str, Any]:
    """A source that is read while there is a way from the agent's site to an address."""
    run = {
        "command": [shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"), "route", "get", _HSM],
        "parser": "regex",
        "patterns": [r"via 10\.77\.(?P<custom_site>[0-9]+)\."],
    }
    return {"name": "route", "kind": "command", "runs": [run], "every": "500ms", "timeout": "5s"}


async def handed_over(pair: Pair, chance: random.Random) -> None:
    """The leader's way to an HSM is cut and the other's is not. For `sources=[route_source()]` and a quick hand-over."""
    leader = await pair.until_led()
    site = AGENTS[leader]
    await pair.sites.route("add", site, _HSM)
    began = time.monotonic()
    try:
        pair.levels.set(["r00"], 90)
        await pair.until_led(not_by=leader, seconds=HAND_OVER_SECONDS + 15.0)
        took = time.monotonic() - began
        assert took >= HAND_OVER_SECONDS, f"{took:.2f} s"
        await pair.until_judged()
    finally:
        await pair.sites.route("del", site, _HSM)
    await pair.cross(up=False)


# Configuration.


async def configurations_differ(pair: Pair, chance: random.Random) -> None:
    """The rule leaves the leader's configuration: its alarms stay until the other has the same. All are told closed."""
    leader = await pair.until_led()
    other = pair.other(leader)
    await pair.cross(up=True)
    await reload(pair, leader, without=RULE)
    differs = is_kind(EventKind.RAISED, "group-config")
    addresses = {pair.sites.address(site) for site in AGENTS.values()}
    for address in addresses:
        await pair.until_told(lambda each, peer=address: differs(each) and each.peer == peer, seconds=30)  # type: ignore[misc]  # a default binds it
    await asyncio.sleep(2.0)
    assert not [each for each in pair.receivers.arrivals() if each.rule == RULE and each.kind is EventKind.CLEARED]
    pair.levels.set(tuple(pair.levels.of), 10)
    await reload(pair, other, without=RULE)
    await pair.until_judged()
    await pair.verdict()


async def reload(pair: Pair, name: str, *, without: str) -> None:
    agent = pair.agents[name]
    agent.settings["rules"] = [rule for rule in agent.settings["rules"] if rule["name"] != without]
    agent.configure()
    before = agent.log.count(RELOADED)
    os.kill(agent.pid, signal.SIGHUP)
    await until(lambda: agent.log.count(RELOADED) > before, seconds=10.0)
