"""Which keys a running agent can't take over, and how it takes over the others."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.agent.reload import NEEDS_RESTART, frozen_changes, reload
from hsm_agent.config.digest import group_digest
from hsm_agent.config.tree import Config
from tests.unit.agent.running import EXPIRED, SINK, declare, running, write
from tests.unit.agent.test_group import Joined

if TYPE_CHECKING:
    from pathlib import Path

BASE: dict[str, Any] = {"agent": {"name": "a", "state_directory": "/var/lib/a"}}


def _config(**more: Any) -> Config:
    return Config.model_validate({**BASE, **more})


def test_what_is_polled_judged_and_told_may_change() -> None:
    new = _config(
        sources=[{"name": "s", "kind": "pkcs11", "module": "/m"}],
        rules=[{"name": "pin", "enabled": False}],
        serve={"http": None, "snmp": {"listen": ["udp:127.0.0.1:2161"]}},
        deliver=[{"name": "x", "kind": "syslog", "to": "udp:h:514"}],
    )

    assert frozen_changes(_config(), new) == []


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"agent": {**BASE["agent"], "name": "b"}}, "agent.name"),
        ({"agent": {**BASE["agent"], "enterprise_id": 1}}, "agent.enterprise_id"),
        ({"agent": {**BASE["agent"], "control_socket": "/run/x"}}, "agent.control_socket"),
        ({"serve": {"snmp": {"base_oid": "1.3.6.1.4.1.99999"}}}, "serve.snmp.base_oid"),
        ({"serve": {"snmp": {"engine_id": "80001f8805aabbccdd"}}}, "serve.snmp.engine_id"),
        ({"group": {"name": "emea", "etcd": {"endpoints": ["http://127.0.0.1:2379"]}}}, "group"),
    ],
)
def test_identity_needs_a_restart(more: dict[str, Any], key: str) -> None:
    assert frozen_changes(_config(), _config(**more)) == [f"{key}: {NEEDS_RESTART}"]


def test_of_a_group_only_how_etcd_is_reached_may_change(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.touch(mode=0o600)

    def grouped(text: str, **more: str) -> Config:
        password.write_text(text, encoding="ascii")
        etcd = {"endpoints": ["http://127.0.0.1:2379"], "user": "ann", "password": {"file": str(password)}}
        return _config(group={"name": "emea", "etcd": etcd, **more})

    before = grouped("old")
    after = grouped("new")
    assert before.group != after.group
    assert frozen_changes(before, after) == []
    assert frozen_changes(before, grouped("new", lease="4s")) == [f"group.lease: {NEEDS_RESTART}"]
    assert frozen_changes(before, _config()) == [f"group: {NEEDS_RESTART}"]


def test_the_responder_is_not_switched_on_or_off() -> None:
    (line,) = frozen_changes(_config(), _config(serve={"snmp": None}))

    assert line == f"serve.snmp: switching it on or off {NEEDS_RESTART}"


def test_another_state_directory_means_another_socket_too() -> None:
    changes = frozen_changes(_config(), _config(agent={"name": "a", "state_directory": "/elsewhere"}))

    assert [line.partition(":")[0] for line in changes] == ["agent.state_directory", "agent.control_socket"]


async def test_a_reload_keeps_unchanged_sources_and_sinks_running_and_announces_both_digests(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, sink):
        runner, before = agent.sources.running["dates"].runner, agent.loaded.digest
        await asyncio.to_thread(partial(write, tmp_path, sources=("dates", "new"), deliver=[SINK]))

        assert await reload(agent)

        assert agent.sources.running["dates"].runner is runner
        assert agent.sources.running.keys() == {"dates", "new"}
        assert agent.sinks.running["noc"].sink is sink
        await sink.until(lambda: sink.kinds == ["NOTICE"])
    assert before in sink.events[0].text
    assert agent.loaded.digest in sink.events[0].text


async def test_a_reload_reaches_the_member_of_a_group_before_anything_is_withdrawn(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        joined = Joined()
        agent.group = joined.membership
        await asyncio.to_thread(partial(write, tmp_path, sources=("dates", "new"), deliver=[SINK]))

        assert await reload(agent)

        config, _ = joined.member.asked
        assert config.digest == group_digest(agent.loaded.config)


async def test_a_reload_without_a_source_clears_its_alarm_and_forgets_its_readings(tmp_path: Path) -> None:
    await declare(tmp_path, EXPIRED)
    async with running(tmp_path, sources=("dates", "others")) as (agent, sink):
        await asyncio.to_thread(partial(write, tmp_path, sources=("others",), deliver=[SINK]))

        assert await reload(agent)

        await sink.until(lambda: "NOTICE" in sink.kinds)
        assert {reading.source for reading in agent.store.readings()} == {"agent", "others"}
        assert {alarm.event.source for alarm in agent.store.alarms.values()} == {"others"}


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        pytest.param({"rules": [{"name": "pin", "above": {"warning": "much"}}]}, "rules.0", id="not valid"),
        pytest.param({"sources": ("dates", "dates")}, "sources", id="one name twice"),
        pytest.param({"serve": {"snmp": {"listen": ["udp:127.0.0.1:0"]}, "http": None}}, "serve.snmp", id="frozen"),
    ],
)
async def test_a_refused_reload_changes_nothing_and_says_why(
    tmp_path: Path, sections: dict[str, Any], names: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as (agent, sink):
        loaded, runner = agent.loaded, agent.sources.running["dates"].runner
        await asyncio.to_thread(partial(write, tmp_path, **sections))

        assert not await reload(agent)

        assert agent.loaded is loaded
        assert agent.sources.running["dates"].runner is runner
        await sink.until(lambda: sink.kinds == ["NOTICE"])
    assert names in caplog.text
    assert loaded.digest in sink.events[0].text


async def test_a_reload_of_a_file_that_is_gone_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as (agent, _):
        await asyncio.to_thread((tmp_path / "agent.yaml").unlink)

        assert not await reload(agent)
    assert "agent.yaml" in caplog.text
