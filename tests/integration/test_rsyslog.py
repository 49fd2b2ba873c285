"""Events in a real rsyslog: over every transport, field by field, and none lost through RELP when it is killed."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.deliver.base import Retry
from tests.fakes.siem_oracles import read_cef, read_leef
from tests.fakes.syslog_events import event, numbered, sample
from tests.fakes.syslog_oracle import read
from tests.fakes.syslog_sinks import built
from tests.peers import pki as certificates
from tests.peers.require import require
from tests.peers.rsyslog import Rsyslog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hsm_agent.deliver.base import Sink
    from hsm_agent.model import Event
    from tests.peers.pki import Identity, Pki
    from tests.peers.syslog_receiver import Received

SCHEMES = ["udp", "tcp", "tls", "relp", "relp+tls"]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return certificates.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def rsyslog(tmp_path: Path, pki: Pki) -> AsyncIterator[Rsyslog]:
    server = Rsyslog(program=require("rsyslogd"), folder=tmp_path, identity=pki.server, ca=pki.ca)
    async with server:
        yield server


async def sink_to(server: Rsyslog, scheme: str, pki: Pki, own: Identity | None = None, **options: Any) -> Sink:
    if scheme in {"tls", "relp+tls"}:
        shown = own or pki.agent
        options["tls"] = {"ca": str(pki.ca), "certificate": str(shown.certificate), "key": str(shown.key)}
    return await built(f"{scheme}:localhost:{server.ports[scheme]}", **({"timeout": "5s"} | options))


async def deliver_all(sink: Sink, events: list[Event]) -> None:
    for start in range(0, len(events), sink.window):
        await sink.deliver(events[start : start + sink.window], lambda _: None)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_alarm_arrives_octet_by_octet(rsyslog: Rsyslog, pki: Pki, scheme: str) -> None:
    sink = await sink_to(rsyslog, scheme, pki)
    await sink.deliver([event()], lambda _: None)
    [found] = await rsyslog.until(1)
    await sink.close()

    assert found.pri == 20 * 8 + 1
    assert found.app_name == "hsm-agent"
    assert found.message_id == "ALARM_RAISED"
    assert found.host_name == "hsm-monitor-1.example.net"
    assert found.timestamp == "2023-11-14T22:13:20.250000Z"
    assert found.data["alarm"] == {
        "resource": "luna-a/SIGN",
        "probableCause": "storageCapacityProblem",
        "perceivedSeverity": "critical",
    }
    assert found.data["meta"] == {"sequenceId": "1"}
    assert found.text == "Private memory of token luna-a/SIGN is 91 % used (limit 90 %)."
    assert read(found.raw.encode()).text == found.text


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_any_event_is_read_back_the_same(rsyslog: Rsyslog, pki: Pki, scheme: str) -> None:
    events = sample(200)
    sink = await sink_to(rsyslog, scheme, pki, max_bytes=16000)
    await deliver_all(sink, events)
    found = await rsyslog.until(len(events))
    await sink.close()

    assert [one.data["hsm@32473"]["eventId"] for one in found] == [one.event_id for one in events]
    for one in found:
        assert_same(one)


def assert_same(found: Received) -> None:
    """What the daemon made of a message is what a strict reader makes of it."""
    strict = read(found.raw.encode())
    assert found.pri == strict.facility * 8 + strict.severity
    assert datetime.fromisoformat(found.timestamp) == datetime.fromisoformat(strict.timestamp)
    assert (found.host_name, found.app_name) == (strict.host_name, strict.app_name)
    assert (found.process_id, found.message_id) == (strict.process_id, strict.message_id)
    assert found.data == strict.data
    assert found.text == (strict.text or "")


async def test_bodies_for_siems_arrive_as_they_were_made(rsyslog: Rsyslog, pki: Pki) -> None:
    for body in ("cef", "leef", "json"):
        sink = await sink_to(rsyslog, "relp+tls", pki, format=body)
        await sink.deliver([event(text='付款 a=b|c\\d"')], lambda _: None)
        await sink.close()
    cef, leef, plain = await rsyslog.until(3)

    assert {one.message_id for one in (cef, leef, plain)} == {"ALARM_RAISED"}
    assert read_cef(cef.text).fields["msg"] == '付款 a=b|c\\d"'
    assert read_leef(leef.text).fields["text"] == '付款 a=b|c\\d"'
    assert json.loads(plain.text)["text"] == '付款 a=b|c\\d"'


async def test_the_longest_message_arrives_whole(rsyslog: Rsyslog, pki: Pki) -> None:
    sink = await sink_to(rsyslog, "relp", pki)
    await sink.deliver([event(text="ä" * 9000)], lambda _: None)
    [found] = await rsyslog.until(1)
    await sink.close()

    assert 7999 <= len(found.raw.encode()) <= 8000
    assert set(found.text) == {"ä"}


@pytest.mark.parametrize("scheme", ["tls", "relp+tls"])
@pytest.mark.parametrize("shown", ["other_agent", "rogue_agent"])
async def test_an_agent_the_receiver_does_not_know_is_refused(
    rsyslog: Rsyslog, pki: Pki, scheme: str, shown: str
) -> None:
    sink = await sink_to(rsyslog, scheme, pki, own=getattr(pki, shown))
    accepted: list[Event] = []

    with pytest.raises(Retry) as caught:
        await sink.deliver(numbered(3), accepted.append)
    await sink.close()

    assert (accepted, caught.value.sent) == ([], False)
    assert rsyslog.received() == []


async def test_a_receiver_of_another_ca_is_told_nothing(rsyslog: Rsyslog, pki: Pki) -> None:
    for scheme in ("tls", "relp+tls"):
        sink = await built(f"{scheme}:localhost:{rsyslog.ports[scheme]}", tls={"ca": str(pki.rogue_ca)})
        with pytest.raises(Retry, match="not trusted"):
            await sink.deliver(numbered(1), lambda _: None)
        await sink.close()

    assert rsyslog.received() == []


@pytest.mark.parametrize("scheme", ["relp", "relp+tls"])
async def test_nothing_accepted_is_lost_when_the_receiver_is_killed(rsyslog: Rsyslog, pki: Pki, scheme: str) -> None:
    events = numbered(4000)
    sink = await sink_to(rsyslog, scheme, pki)
    accepted: list[Event] = []
    deaths = 0

    async def kill_and_restart() -> None:
        nonlocal deaths
        for _ in range(3):
            await asyncio.sleep(0.4)
            await rsyslog.kill()
            deaths += 1
            await rsyslog.start()

    async with asyncio.timeout(40), asyncio.TaskGroup() as group:
        killer = group.create_task(kill_and_restart())
        while len(accepted) < len(events) or not killer.done():
            batch = events[len(accepted) :][: sink.window] or numbered(1, first=9999)
            try:
                await sink.deliver(batch, accepted.append if batch[0].text != "number 9999" else lambda _: None)
            except Retry:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.01)
    await sink.close()

    found = [one.data["hsm@32473"]["eventId"] for one in rsyslog.received()]
    assert deaths == 3
    assert accepted == events
    assert {one.event_id for one in events} <= set(found)
    first_seen = list(dict.fromkeys(event_id for event_id in found if event_id != numbered(1, first=9999)[0].event_id))
    assert first_seen == [one.event_id for one in events]


async def test_a_receiver_that_stops_says_goodbye_and_the_next_session_goes_on(rsyslog: Rsyslog, pki: Pki) -> None:
    sink = await sink_to(rsyslog, "relp", pki)
    await sink.deliver(numbered(1), lambda _: None)
    await rsyslog.stop()
    with pytest.raises(Retry) as caught:
        await sink.deliver(numbered(1, first=1), lambda _: None)
    await rsyslog.start()
    await sink.deliver(numbered(1, first=1), lambda _: None)
    found = await rsyslog.until(2)
    await sink.close()

    assert not caught.value.sent
    assert [one.text for one in found] == ["number 0", "number 1"]
