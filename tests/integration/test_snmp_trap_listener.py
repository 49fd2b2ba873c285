"""The trap listener and net-snmp's senders: every version, every level, traps and informs, right and wrong secrets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol
from tests.fakes.trap_listener import (
    AUTH,
    AUTH_SECRET,
    COMMUNITY,
    ENGINE_ID,
    PRIVACY,
    PRIVACY_SECRET,
    Polled,
    counted,
    levels,
    listener,
    next_poll,
    secrets,
)
from tests.peers.netsnmp import v2c, v3
from tests.peers.trapsender import LUNA, TrapSender, reference

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.collect.traps.source import TrapListener

UTIMACO = "1.3.6.1.4.1.3159.1.3"
V1 = ("-v1", "-c", COMMUNITY)
PLAIN, LUNA_USER = v3("plain", "SHA", AUTH), v3("luna", "SHA-256", AUTH, "AES-128", PRIVACY)
BY_ENGINE = ("-e", f"0x{ENGINE_ID}")
PROTOCOLS = [(auth, privacy) for auth in AuthProtocol for privacy in (None, *PrivacyProtocol)]


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets(monkeypatch)


def sender(one: TrapListener, state: Path, credentials: tuple[str, ...]) -> TrapSender:
    host, port = one.addresses[0]
    (state / "net-snmp").mkdir(exist_ok=True)
    return TrapSender(f"udp6:[{host}]:{port}" if ":" in host else f"{host}:{port}", credentials, state / "net-snmp")


@pytest.mark.parametrize(
    ("credentials", "tool"),
    [
        pytest.param(v2c(COMMUNITY), "snmptrap", id="v2c trap"),
        pytest.param(v2c(COMMUNITY), "snmpinform", id="v2c inform"),
        pytest.param((*PLAIN, *BY_ENGINE), "snmptrap", id="v3 trap authNoPriv"),
        pytest.param((*LUNA_USER, *BY_ENGINE), "snmptrap", id="v3 trap authPriv"),
        pytest.param(PLAIN, "snmpinform", id="v3 inform authNoPriv"),
        pytest.param(LUNA_USER, "snmpinform", id="v3 inform authPriv"),
    ],
)
async def test_a_luna_fan_raises_and_clears(credentials: tuple[str, ...], tool: str, tmp_path: Path) -> None:
    async with Polled(tmp_path) as polled:
        luna = sender(polled.listener, tmp_path, credentials)
        assert (await luna.luna(2, reference(asserted=True), tool=tool)).code == 0
        raised = await polled.received(1)
        assert (await luna.luna(2, reference(asserted=False, date_first=True), tool=tool)).code == 0
        cleared = await polled.received(2)

    assert levels(raised) == {"luna-a fan": 1}
    assert levels(cleared) == {"luna-a fan": 0}
    assert counted(cleared) == {"received": 2}


async def test_v1_traps_are_understood(tmp_path: Path) -> None:
    one = listener(tmp_path)
    await next_poll(one)
    old = sender(one, tmp_path, V1)

    assert (await old.send_v1(LUNA, 3, f"{LUNA}.1", "s", reference(asserted=True))).code == 0
    assert levels(await next_poll(one)) == {"luna-a power-supply": 1}
    assert (await old.send_v1(UTIMACO, 24, f"{UTIMACO}.1.9.0", "i", "2", f"{UTIMACO}.1.10.0", "i", "900")).code == 0
    poll = await next_poll(one)
    assert levels(poll) == {"luna-a power-supply": 1, "luna-a/2 fan-speed-low": 1}
    assert [r.note for r in poll.readings if "fan-speed-low" in r.note] == ["fan-speed-low: fan 2, fan speed 900"]
    await one.close()


@pytest.mark.parametrize("tool", ["snmptrap", "snmpinform"])
async def test_every_v3_protocol_is_understood(tool: str, tmp_path: Path) -> None:
    users = [
        {
            "name": f"u-{auth.value}-{privacy.value if privacy else 'clear'}",
            "engine_ids": [ENGINE_ID],
            "auth": {"protocol": auth.value, "secret": AUTH_SECRET},
            "privacy": {"protocol": privacy.value, "secret": PRIVACY_SECRET} if privacy else None,
        }
        for auth, privacy in PROTOCOLS
    ]
    own = BY_ENGINE if tool == "snmptrap" else ()
    async with Polled(tmp_path, users=users) as polled:
        for user, (auth, privacy) in zip(users, PROTOCOLS, strict=True):
            credentials = (*v3(str(user["name"]), auth.value, AUTH, privacy.value if privacy else None, PRIVACY), *own)
            luna = sender(polled.listener, tmp_path, credentials)
            said = await luna.luna(2, reference(asserted=True), tool=tool)
            assert said.code == 0, (user["name"], said)
        poll = await polled.received(len(PROTOCOLS))

    assert counted(poll) == {"received": len(PROTOCOLS)}


WRONG = [
    pytest.param(v2c("public"), "snmptrap", "auth-community", id="community"),
    pytest.param((*v3("nobody", "SHA", AUTH), *BY_ENGINE), "snmptrap", "auth-user", id="user"),
    pytest.param((*v3("plain", "SHA", "not-authentic"), *BY_ENGINE), "snmptrap", "auth-digest", id="authentication"),
    pytest.param((*v3("luna", "SHA-256", AUTH, "AES-128", "not-private"), *BY_ENGINE), "snmptrap", "auth-privacy", id="privacy"),
    pytest.param((*v3("luna", "SHA-256", AUTH), *BY_ENGINE), "snmptrap", "auth-level", id="level"),
    pytest.param((*LUNA_USER, "-e", "0x80001f8804aa"), "snmptrap", "auth-engine", id="engine"),
    pytest.param(v3("nobody", "SHA", AUTH), "snmpinform", "auth-user", id="user of an inform"),
    pytest.param(v3("plain", "SHA", "not-authentic"), "snmpinform", "auth-digest", id="authentication of an inform"),
]  # fmt: skip


@pytest.mark.parametrize(("credentials", "tool", "reason"), WRONG)
async def test_a_stranger_is_dropped_with_the_reason(
    credentials: tuple[str, ...], tool: str, reason: str, tmp_path: Path
) -> None:
    one = listener(tmp_path, every="100ms")
    await next_poll(one)

    said = await sender(one, tmp_path, credentials).luna(2, reference(asserted=True), tool=tool)
    poll = await next_poll(one)

    assert levels(poll) == {}
    assert set(counted(poll)) == {reason}
    assert (said.code == 0) is (tool == "snmptrap"), "an inform that was dropped is not acknowledged"
    await one.close()


async def test_a_replayed_v3_trap_is_dropped_also_after_a_restart(tmp_path: Path) -> None:
    first = listener(tmp_path)
    await next_poll(first)
    now = sender(first, tmp_path, (*LUNA_USER, *BY_ENGINE, "-Z", "7,5000"))
    old = sender(first, tmp_path, (*LUNA_USER, *BY_ENGINE, "-Z", "7,100"))
    older = sender(first, tmp_path, (*LUNA_USER, *BY_ENGINE, "-Z", "6,9000"))
    await now.luna(2, reference(asserted=True))
    assert levels(await next_poll(first)) == {"luna-a fan": 1}
    await first.close()

    second = listener(tmp_path, every="100ms")
    await next_poll(second)
    for one in (old, older):
        replayed = TrapSender(f"127.0.0.1:{second.addresses[0][1]}", one.credentials, one.state)
        await replayed.luna(2, reference(asserted=False))

    poll = await next_poll(second)
    assert levels(poll) == {"luna-a fan": 1}
    assert counted(await next_poll(second)) == {"auth-time": 2}
    await second.close()


async def test_a_map_of_ones_own_names_component_and_text(tmp_path: Path) -> None:
    own = "1.3.6.1.4.1.32473.7"
    maps = [
        {"trap": f"{own}.0.1", "alarm": "memory", "severity": "critical", "resource": f"{own}.1", "text": f"{own}.2"},
        {"trap": f"{own}.0.2", "alarm": "memory", "does": "clear", "resource": f"{own}.1"},
    ]
    one = listener(tmp_path, maps=maps)
    await next_poll(one)
    box = sender(one, tmp_path, v2c(COMMUNITY))

    await box.send(f"{own}.0.1", f"{own}.1.0", "i", "3", f"{own}.2.0", "s", "RAM at 91 %\n<b>")
    raised = await next_poll(one)
    await box.send(f"{own}.0.2", f"{own}.1.0", "i", "3")
    cleared = await next_poll(one)

    assert levels(raised) == {"luna-a/3 memory": 2}
    assert [reading.note for reading in raised.readings if reading.note] == ["memory: RAM at 91 % <b>"]
    assert levels(cleared) == {"luna-a/3 memory": 0}
    await one.close()


async def test_a_trap_that_nothing_knows_is_acknowledged_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = listener(tmp_path, every="100ms")
    await next_poll(one)

    said = await sender(one, tmp_path, v2c(COMMUNITY)).send("1.3.6.1.6.3.1.1.5.1", tool="snmpinform")

    assert said.code == 0
    assert counted(await next_poll(one)) == {"received": 1, "unmapped": 1}
    assert "127.0.0.1: trap 1.3.6.1.6.3.1.1.5.1 means nothing here" in caplog.text
    await one.close()


async def test_ipv6_informs_are_acknowledged(tmp_path: Path) -> None:
    async with Polled(tmp_path, listen=["udp6:[::1]:0"]) as polled:
        luna = sender(polled.listener, tmp_path, LUNA_USER)
        said = await luna.luna(4, reference(asserted=True), tool="snmpinform")
        poll = await polled.received(1)

    assert said.code == 0
    assert levels(poll) == {"luna-6 motherboard": 2}


async def test_ten_appliances_at_once_are_all_heard(tmp_path: Path) -> None:
    async with Polled(tmp_path) as polled:
        box = sender(polled.listener, tmp_path, v2c(COMMUNITY))
        said = await asyncio.gather(
            *(box.send(f"{UTIMACO}.0.24", f"{UTIMACO}.1.9.0", "i", str(n), tool="snmpinform") for n in range(10))
        )
        poll = await polled.received(10)

    assert [each.code for each in said] == [0] * 10
    assert levels(poll) == {f"luna-a/{n} fan-speed-low": 1 for n in range(10)}
