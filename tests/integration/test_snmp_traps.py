"""The snmp sinks and a real snmptrapd: every protocol, both types, down and up again, IPv6."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.deliver.base import Retry, SinkContext
from hsm_agent.deliver.snmp import SnmpSink, SnmpSinkSettings
from hsm_agent.model import AgentIdentity, EventKind
from hsm_agent.wire.snmp.engine import Engine
from hsm_agent.wire.snmp.mib import AUTHENTICATION_FAILURE, BASE, COLD_START
from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol
from tests.fakes.snmp_sinks import Told, ids
from tests.fakes.syslog_events import event, numbered
from tests.peers.snmptrapd import TRAP_OID, Notification, Snmptrapd

if TYPE_CHECKING:
    from pathlib import Path

ENGINE_ID = bytes.fromhex("80001f8805") + b"hsmagent"
ALARM = ".1.3.6.1.4.1.8072.9999.9999.4801.1.8"
LEVELS = [(auth, privacy) for auth in AuthProtocol for privacy in (None, *PrivacyProtocol)]


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TEST_COMMUNITY", "noc-traps")
    monkeypatch.setitem(os.environ, "TEST_AUTH", "authentic-1")
    monkeypatch.setitem(os.environ, "TEST_PRIVACY", "encrypted-1")


def context(*, boots: int = 1, started: float | None = None) -> SinkContext:
    began = time.monotonic() - 100 if started is None else started
    return SinkContext(
        origin=AgentIdentity(agent_name="a", host_name="h", version="1", enterprise_id=32473),
        engine=Engine(engine_id=ENGINE_ID, boots=boots, started=began),
        base_oid=BASE,
    )


def settings(to: str, **others: Any) -> SnmpSinkSettings:
    read = {"name": "noc", "kind": "snmp", "to": to, "timeout": "500ms", "retries": 1, **others}
    return SnmpSinkSettings.model_validate(read)


def user(auth: AuthProtocol, privacy: PrivacyProtocol | None) -> dict[str, Any]:
    return {
        "name": f"noc-{auth.value}-{privacy.value if privacy else 'clear'}",
        "auth": {"protocol": auth.value, "secret": {"env": "TEST_AUTH"}},
        "privacy": {"protocol": privacy.value, "secret": {"env": "TEST_PRIVACY"}} if privacy else None,
    }


def line(sink: SnmpSinkSettings) -> str:
    """The line check-config prints, its gaps filled in as an operator would."""
    _, printed = sink.about(ENGINE_ID)
    return (
        printed.removeprefix("snmptrapd.conf: ")
        .replace("<authentication pass-phrase>", "authentic-1")
        .replace("<privacy pass-phrase>", "encrypted-1")
    )


V2C = {"version": "v2c", "community": {"env": "TEST_COMMUNITY"}}
LISTENS = ["authCommunity log noc-traps"]


def texts(notifications: list[Notification]) -> list[str]:
    return [one.text(f"{ALARM}.9.0") for one in notifications]


async def told(sink: SnmpSink, count: int, *, first: int = 0) -> None:
    """Deliver that many events; all must be accepted."""
    duplicates, sent = Told(), numbered(count, first=first)
    await sink.deliver(sent, duplicates)
    assert duplicates.ids == ids(sent)


@pytest.mark.parametrize("kind", ["trap", "inform"])
async def test_an_event_arrives_whole_by_v2c(kind: str, tmp_path: Path) -> None:
    one = event(kind=EventKind.CLEARED, text="Füllstand\n of the token")
    async with Snmptrapd(tmp_path, LISTENS) as trapd:
        sink = settings(trapd.address, type=kind, **V2C).build(context())
        await sink.deliver([one], Told())
        (found,) = await trapd.wait_for(1)
        await sink.close()

    assert found.inform is (kind == "inform")
    assert found.security.endswith("SNMP v2c, community noc-traps")
    uptime = found.varbinds.pop(".1.3.6.1.2.1.1.3.0")
    assert isinstance(uptime, int)
    assert 10000 <= uptime < 11000
    assert found.varbinds == {
        TRAP_OID: ".1.3.6.1.4.1.8072.9999.9999.4801.0.3",
        f"{ALARM}.1.0": one.event_id.encode(),
        f"{ALARM}.2.0": 3,
        f"{ALARM}.3.0": b"luna-a",
        f"{ALARM}.4.0": b"SIGN",
        f"{ALARM}.5.0": b"token_memory_private_used_percent",
        f"{ALARM}.6.0": b"91",
        f"{ALARM}.7.0": b"90",
        f"{ALARM}.8.0": b"token-memory",
        f"{ALARM}.9.0": "Füllstand  of the token".encode(),
        f"{ALARM}.10.0": one.alarm_id.encode(),
        f"{ALARM}.11.0": bytes((7, 231, 11, 14, 22, 13, 20, 2)) + b"+\x00\x00",
        f"{ALARM}.12.0": b"%",
        f"{ALARM}.13.0": b"hsm-monitor-1",
        f"{ALARM}.14.0": b"https://wiki.example.net/hsm/memory",
        f"{ALARM}.15.0": b"cleared",
    }
    assert list(found.varbinds)[1:] == [f"{ALARM}.{n}.0" for n in range(1, 16)]


@pytest.mark.parametrize("kind", ["trap", "inform"])
async def test_every_v3_protocol_is_understood_with_the_line_that_check_config_prints(
    kind: str, tmp_path: Path
) -> None:
    sinks = [settings("udp:127.0.0.1:1", version="v3", type=kind, user=user(*level)) for level in LEVELS]
    access = [f"authUser log {one.user.name} {'priv' if one.user.privacy else 'auth'}" for one in sinks if one.user]
    async with Snmptrapd(tmp_path, [*map(line, sinks), *access]) as trapd:
        for number, one in enumerate(sinks):
            sink = one.model_copy(update={"to": trapd.address}).build(context())
            await told(sink, 2, first=number * 2)
            await sink.close()
        found = await trapd.wait_for(len(LEVELS) * 2)

    assert texts(found) == [f"number {number}" for number in range(40)]
    assert [one.security for one in found[::2]] == [
        f"{'INFORM' if kind == 'inform' else 'TRAP2'}, SNMP v3, user {one.user.name}, context "
        for one in sinks
        if one.user
    ]


@pytest.mark.parametrize("version", ["v2c", "v3"])
async def test_informs_to_a_receiver_that_is_down_are_accepted_once_it_is_up(version: str, tmp_path: Path) -> None:
    made = settings(
        "udp:127.0.0.1:1", version="v3", type="inform", user=user(AuthProtocol.SHA256, PrivacyProtocol.AES128)
    )
    assert made.user is not None
    trapd = Snmptrapd(tmp_path, [*LISTENS, line(made), f"authUser log {made.user.name} priv"])
    if version == "v2c":
        made = settings("udp:127.0.0.1:1", type="inform", **V2C)
    sink = made.model_copy(update={"to": trapd.address}).build(context())
    with pytest.raises(Retry, match="connection refused"):
        await told(sink, 3)

    async with trapd:
        await told(sink, 3)
        await trapd.stop(kill=True)
        with pytest.raises(Retry, match="connection refused"):
            await told(sink, 1, first=3)
        await trapd.start()
        await told(sink, 1, first=3)
        await trapd.stop()
        trapd.forget()
        await trapd.start()
        await told(sink, 1, first=4)
        found = await trapd.wait_for(5)
        await sink.close()

    assert texts(found) == [f"number {number}" for number in range(5)]


async def test_a_receiver_that_does_not_know_the_user_says_so(tmp_path: Path) -> None:
    made = {"version": "v3", "type": "inform", "user": user(AuthProtocol.SHA256, PrivacyProtocol.AES128)}
    known = "createUser noc-SHA-256-AES-128 SHA-256 other-secret AES encrypted-1"
    async with Snmptrapd(tmp_path / "stranger", LISTENS) as stranger, Snmptrapd(tmp_path / "other", [known]) as other:
        with pytest.raises(Retry, match="usmStatsUnknownUserNames"):
            await told(settings(stranger.address, **made).build(context()), 1)
        with pytest.raises(Retry, match="usmStatsWrongDigests"):
            await told(settings(other.address, **made).build(context()), 1)


async def test_a_community_the_receiver_does_not_know_is_never_acknowledged(tmp_path: Path) -> None:
    async with Snmptrapd(tmp_path, ["authCommunity log another"]) as trapd:
        with pytest.raises(Retry, match="no answer"):
            await told(settings(trapd.address, type="inform", **V2C).build(context()), 1)


async def test_traps_after_a_restart_are_taken_because_boots_went_up(tmp_path: Path) -> None:
    made = settings("udp:127.0.0.1:1", version="v3", type="trap", user=user(AuthProtocol.SHA256, None))
    assert made.user is not None
    now = time.monotonic()
    async with Snmptrapd(tmp_path, [line(made), f"authUser log {made.user.name} auth"]) as trapd:
        made = made.model_copy(update={"to": trapd.address})
        for number, (boots, age) in enumerate([(5, 1000), (5, 10), (6, 1)]):
            sink = made.build(context(boots=boots, started=now - age))
            await told(sink, 1, first=number)
            await sink.close()
        found = await trapd.wait_for(2)

    assert texts(found) == ["number 0", "number 2"]


@pytest.mark.parametrize("kind", ["trap", "inform"])
async def test_notifications_beside_the_spool_and_ipv6(kind: str, tmp_path: Path) -> None:
    async with Snmptrapd(tmp_path, LISTENS, host="::1") as trapd:
        assert trapd.address.startswith("udp6:[::1]:")
        sink = settings(trapd.address, type=kind, **V2C).build(context())
        await sink.notify(COLD_START)
        await sink.notify(AUTHENTICATION_FAILURE)
        found = await trapd.wait_for(2)
        await sink.close()

    assert [one.oid for one in found] == [".1.3.6.1.6.3.1.1.5.1", ".1.3.6.1.6.3.1.1.5.5"]
    assert found[0].source.startswith("UDP/IPv6: [::1]")


async def test_a_thousand_informs_arrive_in_order_and_once(tmp_path: Path) -> None:
    made = settings(
        "udp:127.0.0.1:1", version="v3", type="inform", user=user(AuthProtocol.SHA256, PrivacyProtocol.AES128)
    )
    assert made.user is not None
    async with Snmptrapd(tmp_path, [line(made), f"authUser log {made.user.name} priv"]) as trapd:
        sink = made.model_copy(update={"to": trapd.address, "timeout": 5.0}).build(context())
        for first in range(0, 1008, 16):
            await told(sink, 16, first=first)
        found = await trapd.wait_for(1008)
        await sink.close()
        await asyncio.sleep(0)

    assert texts(found) == [f"number {number}" for number in range(1008)]
