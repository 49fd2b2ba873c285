"""`kind: snmp` against snmpsim: SNMPv3, failures, and the event loop meanwhile."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator  # noqa: TC003 - pytest-asyncio looks at it
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol
from tests.fakes import appliances
from tests.integration.snmp_source import WALKS, poll, reading, set_secrets, table, v2c, v3
from tests.peers.netsnmp import NetSnmp
from tests.peers.netsnmp import v2c as by_community
from tests.peers.snmpd import Snmpd
from tests.peers.snmpsim import AUTH_SECRET, PRIVACY_SECRET, Snmpsim

if TYPE_CHECKING:
    from pathlib import Path


USER_LINES = [f'createUser nms SHA-256 "{AUTH_SECRET}" AES "{PRIVACY_SECRET}"', "rouser nms authpriv"]


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    set_secrets(monkeypatch)


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Snmpsim]:
    async with Snmpsim(tmp_path / "snmpsim", WALKS, ipv6=True) as made:
        yield made


# SNMPv3


async def test_v3_reads_the_same_as_v2c_and_over_ipv6(peer: Snmpsim) -> None:
    plain = table(await poll(v2c(peer.port, "luna")))

    assert table(await poll(v3(peer.port, "luna"))) == plain
    assert table(await poll(v3(peer.port, "luna", to=f"udp6:[::1]:{peer.port}"))) == plain


@pytest.mark.parametrize("privacy", [None, *PrivacyProtocol], ids=str)
@pytest.mark.parametrize("auth", AuthProtocol, ids=str)
async def test_every_protocol_is_spoken(tmp_path: Path, auth: AuthProtocol, privacy: PrivacyProtocol | None) -> None:
    user: dict[str, Any] = {"name": "nms", "auth": {"protocol": auth.value, "secret": {"env": "AUTH"}}}
    if privacy is not None:
        user["privacy"] = {"protocol": privacy.value, "secret": {"env": "PRIVACY"}}
    walks = {"luna-legacy": appliances.luna_legacy()}

    async with Snmpsim(tmp_path / "snmpsim", walks, auth=auth, privacy=privacy) as peer:
        found = await poll(v3(peer.port, "luna-legacy", user=user))

    assert table(found)["", "ntls_clients"] == 4


async def test_v3_polls_go_on_when_our_clock_and_the_appliances_part(peer: Snmpsim) -> None:
    ahead = 0.0
    settings = v3(peer.port, "luna")
    async with reading(settings, connect=lambda: settings.client(lambda: time.monotonic() + ahead)) as collector:
        first = await collector.poll()
        ahead = 400.0
        second = await collector.poll()
        third = await collector.poll()

    assert table(first).keys() <= table(second).keys()
    assert first.calls["discovery"] == 2
    assert "discovery" not in second.calls
    assert second.calls["GETBULK"] > first.calls["GETBULK"] == third.calls["GETBULK"]


async def test_v3_polls_go_on_after_the_appliance_restarted(peer: Snmpsim) -> None:
    async with reading(v3(peer.port, "luna")) as collector:
        first = await collector.poll()
        await peer.stop()
        await peer.start()
        second = await collector.poll()

    assert table(first).keys() <= table(second).keys()


async def test_net_snmps_own_agent_is_read(tmp_path: Path) -> None:
    async with Snmpd(tmp_path, [*USER_LINES, "rocommunity probe 127.0.0.1"]) as snmpd:
        found = await poll(v3(snmpd.port, "net-snmp-host", context=""))
        tool = NetSnmp(f"127.0.0.1:{snmpd.port}", by_community("probe"))
        listed = await tool.run("snmpwalk", "1.3.6.1.2.1.25.2.3.1.2")
        interfaces = await tool.run("snmpwalk", "1.3.6.1.2.1.2.2.1.3")

    metrics = {reading.metric for reading in found.readings if reading.value is not None}
    assert found.errors == ()
    assert metrics >= {
        "host_uptime_seconds",
        "host_load",
        "host_memory_used_percent",
        "host_network_received_bytes_total",
    }
    links = [reading for reading in found.readings if reading.metric == "host_link_up"]
    kinds = re.findall(r"= INTEGER: (?:\D*\()?(\d+)", interfaces.out)
    assert len(links) == len(kinds) - kinds.count("24")  # softwareLoopback
    assert all(reading.value in {0, 1} or reading.reason for reading in links)
    # A container or a chroot may have no fixed disk to show.
    assert ("host_disk_used_percent" in metrics) == (".1.3.6.1.2.1.25.2.1.4\n" in f"{listed.out}\n")
    memory = next(reading.value for reading in found.readings if reading.metric == "host_memory_used_percent")
    assert memory is not None
    assert 0 < memory < 100


# Failures


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auth": "WRONG"}, "wrong authentication key of user 'nms'"),
        ({"privacy": "WRONG"}, "user.privacy"),
        ({"privacy": None}, "is not allowed at this level"),
        ({"user": {"name": "who", "auth": {"protocol": "SHA", "secret": {"env": "AUTH"}}}}, "it knows no user 'who'"),
    ],
    ids=["authentication", "privacy", "level", "user"],
)
async def test_wrong_credentials_are_named(peer: Snmpsim, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceFailure) as caught:
        await poll(v3(peer.port, "luna", timeout="2s", **change))

    assert said in str(caught.value)
    assert "secret" not in str(caught.value).replace("secret of user", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auth": "WRONG"}, "wrong authentication key of user 'nms'"),
        (
            {"privacy": "WRONG"},
            "though it takes the authentication of user 'nms': check protocol and secret of user.privacy",
        ),
        ({"privacy": None}, "authorization error; check what its agent lets this user or community see"),
        ({"context": "elsewhere"}, "user.privacy, and `context`"),
        ({"profile": "luna"}, "nothing of profile 'luna' is there"),
    ],
    ids=["authentication", "privacy", "level", "context", "profile"],
)
async def test_what_net_snmps_own_agent_refuses_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    async with Snmpd(tmp_path, USER_LINES) as snmpd:
        with pytest.raises(SourceFailure) as caught:
            await poll(v3(snmpd.port, "net-snmp-host", **{"context": "", "timeout": "1s", **change}))

    assert said in str(caught.value)


async def test_a_wrong_community_is_suspected_after_silence(peer: Snmpsim) -> None:
    began = time.monotonic()

    with pytest.raises(SourceFailure, match=r"udp:127.0.0.1:\d+: no answer within .*community"):
        await poll(v2c(peer.port, "luna", community={"env": "WRONG"}, timeout="600ms"))

    assert time.monotonic() - began < 1.5


async def test_an_agent_that_does_not_run_is_known_at_once(tmp_path: Path) -> None:
    dead = Snmpsim(tmp_path / "snmpsim", {})

    with pytest.raises(SourceFailure, match="connection refused"):
        await poll(v2c(dead.port, "luna"))


async def test_the_wrong_profile_is_named(peer: Snmpsim) -> None:
    with pytest.raises(SourceFailure, match="nothing of profile 'utimaco' is there"):
        await poll(v3(peer.port, "luna", profile="utimaco"))


# The loop


async def test_polls_never_hold_up_the_event_loop(peer: Snmpsim) -> None:
    busy: list[float] = []

    async def tick() -> None:
        # The loop's own thread: what else this machine does is no business of ours. Blocking calls are found elsewhere.
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            busy.append(now - last)
            last = now

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(poll(v3(peer.port, name)) for name in WALKS))
    ticking.cancel()

    assert len(busy) > len(WALKS)
    assert max(busy) < 0.05


async def test_one_that_is_silent_delays_none(peer: Snmpsim) -> None:
    silent = poll(v2c(peer.port, "luna", community={"env": "WRONG"}, timeout="1s"))
    waiting = asyncio.create_task(silent)
    began = time.monotonic()

    await poll(v2c(peer.port, "luna-legacy"))

    assert time.monotonic() - began < 0.9
    with pytest.raises(SourceFailure):
        await waiting
