"""The snmp sinks against a receiver of our own: there, deaf, silent, gone, and far away."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from hsm_agent.deliver.base import Retry
from hsm_agent.wire.snmp.mib import COLD_START
from hsm_agent.wire.snmp.pdu import Pdu, PduType, read_varbinds
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.snmp_messages import engine
from tests.fakes.snmp_sinks import NOC, SECRETS, V2C, VERSIONS, Told, events, ids, nobody, received, sink
from tests.fakes.udp_inform_receiver import served
from tests.peers.processes import until


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setitem(os.environ, name, secret)


@pytest.mark.parametrize("version", VERSIONS)
async def test_traps_are_accepted_once_they_are_gone(version: dict[str, Any]) -> None:
    receiver, told = InformReceiver(user=NOC, engine_id=engine().engine_id, boots=7, started=1000.0), Told()
    sent = events(5)
    async with served(receiver) as server:
        traps = sink(server.address, type="trap", **version)

        await traps.deliver(sent, told)

        await traps.close()
    assert told.ids == ids(sent)
    assert traps.kind == "snmp trap"
    assert traps.guarantee.value == "best effort"
    assert len(server.peers) == 5
    if version is V2C:
        assert received(receiver) == [one.event_id.encode() for one in sent]


async def test_traps_to_a_port_where_nobody_listens_are_kept() -> None:
    to, told = nobody(), Told()
    traps = sink(to, type="trap", **V2C)

    with pytest.raises(Retry, match=f"^{to.replace('.', '[.]')}: connection refused$"):
        await traps.deliver(events(1), told)

    assert told.ids == []
    receiver = InformReceiver()
    async with served(receiver, port=int(to.rpartition(":")[2])):
        await traps.deliver(events(1), told)
        await traps.close()
    assert told.ids == ["event-000"]
    assert len(receiver.traps) == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_informs_are_accepted_when_they_are_acknowledged(version: dict[str, Any]) -> None:
    receiver, told, sent = InformReceiver(user=NOC), Told(), events(40)
    async with served(receiver) as server:
        informs = sink(server.address, type="inform", **version)

        await informs.deliver(sent[:16], told)
        await informs.deliver(sent[16:], told)

        await informs.close()
    assert told.ids == ids(sent)
    assert received(receiver) == [one.event_id.encode() for one in sent]
    assert informs.kind == "snmp inform"
    assert informs.guarantee.value == "at least once"
    assert informs.window == 16


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_lost_answer_is_made_up_for_and_order_is_kept(version: dict[str, Any]) -> None:
    receiver, told, sent = InformReceiver(user=NOC, deaf_to={0, 2}), Told(), events(4)
    async with served(receiver) as server:
        informs = sink(server.address, timeout="100ms", type="inform", **version)

        await informs.deliver(sent, told)

        await informs.close()
    assert told.ids == ids(sent)
    assert sorted(received(receiver)) == [
        b"event-000", b"event-000", b"event-001", b"event-002", b"event-002", b"event-003",
    ]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_silent_receiver_is_given_up_in_time(version: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        informs = sink(f"udp:127.0.0.1:{mute.getsockname()[1]}", timeout="100ms", type="inform", **version)
        began = asyncio.get_running_loop().time()

        with pytest.raises(Retry, match="no answer within") as caught:
            await informs.deliver(events(3), Told())

    assert 0.25 < asyncio.get_running_loop().time() - began < 2
    assert caught.value.sent == (version["version"] == "v2c")  # before a v3 engine is known, no event is sent


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_receiver_that_is_down_is_told_later(version: dict[str, Any]) -> None:
    to, told = nobody(), Told()
    informs = sink(to, type="inform", **version)
    with pytest.raises(Retry, match="connection refused"):
        await informs.deliver(events(2), told)
    async with served(InformReceiver(user=NOC), port=int(to.rpartition(":")[2])):
        await informs.deliver(events(2), told)
        await informs.close()

    assert told.ids == ["event-000", "event-001"]


@pytest.mark.parametrize("kind", ["trap", "inform"])
async def test_a_notification_beside_the_spool_arrives(kind: str) -> None:
    receiver = InformReceiver()
    async with served(receiver) as server:
        one = sink(server.address, type=kind, **V2C)
        await one.notify(COLD_START)
        await until(lambda: receiver.traps or receiver.informs)
        await one.close()

    (pdu,) = receiver.traps + receiver.informs
    assert [varbind.value for varbind in read_varbinds(pdu.varbinds)][1:] == [COLD_START]


@pytest.mark.parametrize("receiver", [InformReceiver(deaf_to={0, 1, 2}), InformReceiver(error_status=5)])
async def test_a_notification_beside_the_spool_that_fails_says_so(receiver: InformReceiver) -> None:
    async with served(receiver) as server:
        one = sink(server.address, timeout="100ms", type="inform", **V2C)
        with pytest.raises(Retry, match=r"no answer|gen err"):
            await one.notify(COLD_START)


async def test_ipv6_names_and_source_addresses_are_understood() -> None:
    told = Told()
    async with served(InformReceiver(), host="::1") as server:
        informs = sink(server.address, type="inform", **V2C)
        await informs.deliver(events(1), told)
        await informs.close()
    async with served(InformReceiver()) as server:
        informs = sink(f"udp:localhost:{server.port}", type="inform", bind="127.0.0.2", **V2C)
        await informs.deliver(events(1), told)
        await informs.close()

    assert told.ids == ["event-000", "event-000"]
    assert server.peers == ["127.0.0.2"]


async def test_a_name_without_address_is_tried_again() -> None:
    informs = sink("udp:receiver.invalid:162", type="inform", timeout="2s", **V2C)
    with pytest.raises(Retry, match=r"receiver\.invalid"):
        await informs.deliver(events(1), Told())


async def test_a_source_address_the_host_does_not_have_is_a_failure() -> None:
    with pytest.raises(Retry, match="assign"):
        await sink("udp:127.0.0.1:162", type="trap", bind="192.0.2.1", **V2C).deliver(events(1), Told())


async def test_an_ipv4_address_is_none_for_udp6() -> None:
    with pytest.raises(Retry, match=r"127\.0\.0\.1 has no IPv6 address"):
        await sink("udp6:127.0.0.1:162", type="trap", **V2C).deliver(events(1), Told())


async def test_a_flood_of_nonsense_does_not_hold_up_the_end() -> None:
    class Noisy(InformReceiver):
        def answer(self, message: bytes, now: float) -> bytes | None:
            self.informs.append(Pdu(PduType.INFORM, 0, 0, 0, b""))
            return os.urandom(40)

    receiver = Noisy()
    async with served(receiver) as server:
        informs = sink(server.address, timeout="100ms", type="inform", **V2C)
        with pytest.raises(Retry, match="no answer"):
            await informs.deliver(events(16), Told())
    assert len(receiver.informs) == 48
