"""Pump and sink together against receivers that answer with errors: their state costs no event, a bad event only itself."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from hsm_agent.model import SinkState
from hsm_agent.wire.snmp.pdu import ErrorStatus
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.pumping import PumpRig, pumping
from tests.fakes.relp_server import RelpPeer, RelpScript
from tests.fakes.snmp_sinks import NOC, SECRETS, V2C, VERSIONS, received
from tests.fakes.snmp_sinks import sink as snmp_sink
from tests.fakes.stream_server import StreamServer
from tests.fakes.syslog_oracle import read
from tests.fakes.syslog_sinks import build
from tests.fakes.udp_inform_receiver import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hsm_agent.wire.snmp.usm import User

EVENTS = [f"e{number:02}" for number in range(20)]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PumpRig]:
    async with pumping(tmp_path) as rig:
        rig.seconds_a_look = 1.0
        yield rig


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setitem(os.environ, name, secret)


class _Relp:
    """A RELP server that answers as `status` says of each event id; remembers what it accepted."""

    def __init__(self, status: Callable[[str], bytes]) -> None:
        self.status = status
        self.asked = 0
        self.accepted: list[str] = []

    async def __call__(self, session: RelpPeer) -> None:
        while True:
            frame = await session.syslog()
            self.asked += 1
            event_id = read(frame.data).data["hsm@32473"]["eventId"]
            status = self.status(event_id)
            if status.startswith(b"200"):
                self.accepted.append(event_id)
            await session.answer(frame.txnr, status)


async def _dead(rig: PumpRig, sink: str) -> list[str]:
    return [
        entry.event.event_id for entry in await rig.spool.entries() if any(letter.sink == sink for letter in entry.dead)
    ]


@pytest.mark.parametrize("refusals", [1, 7, 60])
async def test_a_relp_server_that_answers_500_for_a_while_loses_nothing(rig: PumpRig, refusals: int) -> None:
    relp = _Relp(lambda _: b"500 disk full" if relp.asked <= refusals else b"200 OK")
    async with StreamServer(script=RelpScript([relp])) as server:
        rig.pump(build(f"relp:127.0.0.1:{server.port}"))
        await rig.commit(*EVENTS)
        await rig.empty("siem")
        await rig.stop()

    assert sorted(set(relp.accepted)) == EVENTS
    assert await _dead(rig, "siem") == []


@pytest.mark.parametrize("least", [4, 6, 10])
async def test_a_relp_server_that_takes_only_so_many_loses_nothing(rig: PumpRig, least: int) -> None:
    relp = _Relp(lambda _: b"200 OK" if relp.asked % least == 0 else b"500 too many")
    async with StreamServer(script=RelpScript([relp])) as server:
        rig.pump(build(f"relp:127.0.0.1:{server.port}"))
        await rig.commit(*EVENTS)
        await rig.empty("siem")
        await rig.stop()

    assert sorted({each for each in relp.accepted if each.startswith("e")}) == EVENTS
    assert await _dead(rig, "siem") == []


async def test_a_relp_server_that_wants_one_event_never_gets_all_others(rig: PumpRig) -> None:
    relp = _Relp(lambda event_id: b"500 no" if event_id == "e03" else b"200 OK")
    async with StreamServer(script=RelpScript([relp])) as server:
        rig.pump(build(f"relp:127.0.0.1:{server.port}"))
        await rig.commit(*EVENTS)
        await rig.empty("siem")
        await rig.stop()

    assert sorted(each for each in relp.accepted if each.startswith("e")) == [each for each in EVENTS if each != "e03"]
    assert await _dead(rig, "siem") == ["e03"]
    assert rig.statuses["siem"].dropped == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("status", [ErrorStatus.GEN_ERR, ErrorStatus.TOO_BIG, 13])
async def test_a_receiver_that_answers_informs_with_an_error_for_a_while_loses_nothing(
    rig: PumpRig, version: dict[str, object], status: int
) -> None:
    receiver = InformReceiver(error_status=int(status), user=_user(version))
    async with served(receiver) as server:
        rig.pump(snmp_sink(server.address, type="inform", **version))
        await rig.commit(*EVENTS)
        async with asyncio.timeout(20):
            while len(receiver.informs) < 40:
                await asyncio.sleep(0)
        assert rig.statuses["noc"].state is SinkState.REFUSED
        assert rig.statuses["noc"].failing_since is not None
        receiver.error_status = 0
        await rig.empty("noc")
        await rig.stop()

    assert sorted({each.decode() for each in received(receiver)}) == EVENTS
    assert await _dead(rig, "noc") == []


@pytest.mark.parametrize("kind", ["declined", "unanswered"])
async def test_an_inform_that_is_never_accepted_holds_up_no_other(rig: PumpRig, kind: str) -> None:
    receiver = InformReceiver(declines={b"e03": int(ErrorStatus.GEN_ERR)} if kind == "declined" else {})
    receiver.ignores = b"e03" if kind == "unanswered" else None
    async with served(receiver) as server:
        rig.pump(snmp_sink(server.address, type="inform", timeout="20ms", retries=0, **V2C))
        await rig.commit(*EVENTS)
        await rig.empty("noc")
        await rig.stop()

    assert await _dead(rig, "noc") == ["e03"]
    assert rig.statuses["noc"].delivered == 19


def _user(version: dict[str, object]) -> User | None:
    return NOC if version["version"] == "v3" else None
