"""Events in a real syslog-ng: a second parser, written by others, reads what we meant."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.deliver.base import Retry
from tests.fakes.syslog_events import event, numbered, sample
from tests.fakes.syslog_oracle import read
from tests.fakes.syslog_sinks import built
from tests.peers import pki as certificates
from tests.peers.require import require
from tests.peers.syslogng import SyslogNg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hsm_agent.deliver.base import Sink
    from tests.peers.pki import Identity, Pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return certificates.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def syslogng(tmp_path: Path, pki: Pki) -> AsyncIterator[SyslogNg]:
    async with SyslogNg(program=require("syslog-ng"), folder=tmp_path, identity=pki.server, ca=pki.ca) as server:
        yield server


async def sink_to(server: SyslogNg, scheme: str, pki: Pki, own: Identity, **options: Any) -> Sink:
    if scheme == "tls":
        options["tls"] = {"ca": str(pki.ca), "certificate": str(own.certificate), "key": str(own.key)}
    return await built(f"{scheme}:localhost:{server.ports[scheme]}", timeout="5s", **options)


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
async def test_an_alarm_is_read_as_it_was_meant(syslogng: SyslogNg, pki: Pki, scheme: str) -> None:
    sink = await sink_to(syslogng, scheme, pki, pki.agent)
    await sink.deliver([event()], lambda _: None)
    [found] = await syslogng.until(1)
    await sink.close()

    assert found.pri == 20 * 8 + 1
    assert found.data["alarm"]["resource"] == "luna-a/SIGN"
    assert found.data["labels@32473"] == {"environment": "production", "site": "north"}
    assert found.text == "Private memory of token luna-a/SIGN is 91 % used (limit 90 %)."


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
async def test_any_event_is_read_back_the_same(syslogng: SyslogNg, pki: Pki, scheme: str) -> None:
    events = sample(200)
    sink = await sink_to(syslogng, scheme, pki, pki.agent, max_bytes=16000)
    for start in range(0, len(events), sink.window):
        await sink.deliver(events[start : start + sink.window], lambda _: None)
    found = await syslogng.until(len(events))
    await sink.close()

    for one, sent in zip(found, events, strict=True):
        strict = read(one.raw.encode())
        assert strict.data["hsm@32473"]["eventId"] == sent.event_id
        assert one.pri == strict.facility * 8 + strict.severity
        assert datetime.fromisoformat(one.timestamp) == datetime.fromisoformat(strict.timestamp)
        assert (one.host_name, one.app_name) == (strict.host_name, strict.app_name)
        assert (one.process_id, one.message_id) == (strict.process_id, strict.message_id)
        assert one.data == strict.data
        assert one.text == (strict.text or "")


@pytest.mark.parametrize("shown", ["rogue_agent"])
async def test_an_agent_of_another_ca_is_refused(syslogng: SyslogNg, pki: Pki, shown: str) -> None:
    sink = await sink_to(syslogng, "tls", pki, getattr(pki, shown))

    with pytest.raises(Retry) as caught:
        await sink.deliver(numbered(1), lambda _: None)
    await sink.close()

    assert not caught.value.sent
    assert syslogng.received() == []
