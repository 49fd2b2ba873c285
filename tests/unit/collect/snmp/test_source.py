"""collect.snmp: the settings of an appliance, and what it says of itself without being asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.snmp.source import SnmpCollector, SnmpSettings
from hsm_agent.wire.snmp.usm import load_aes
from tests.fakes.tree_client import TreeClient

CUSTOM = {"values": [{"oid": "1.3.6.1", "metric": "custom_jobs"}, {"oid": "1.3.6.2", "metric": "hsm_clients"}]}


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC", "public")
    monkeypatch.setenv("PASS", "a long pass-phrase")


def settings(**given: Any) -> SnmpSettings:
    fields = {"name": "a", "kind": "snmp", "to": "udp:192.0.2.1:161", "version": "v2c", "community": {"env": "PUBLIC"}}
    return SnmpSettings.model_validate({**fields, "profile": "luna", **given})


USER = {"name": "nms", "auth": {"protocol": "SHA-256", "secret": {"env": "PASS"}}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"to": "tcp:192.0.2.1:161"}, "not an address"),
        ({"version": "v1"}, "Input should be 'v2c' or 'v3'"),
        ({"version": "v3"}, "user: required for version v3"),
        ({"version": "v3", "user": USER}, "community: not for version v3"),
        ({"community": None}, "community: required for version v2c"),
        ({"user": USER}, "user: not for version v2c"),
        ({"context": "x"}, "context: not for version v2c"),
        ({"profile": []}, "profile: nothing to read"),
        ({"profile": "lunas"}, "no profile 'lunas', did you mean 'luna'?"),
        ({"retries": 21}, "less than or equal to 20"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**given)

    assert said in str(caught.value)


def test_check_config_is_told_whom_and_what() -> None:
    assert [*settings(profile=["luna", "net-snmp-host"], custom=CUSTOM).about()] == [
        "udp:192.0.2.1:161 v2c",
        "profiles luna, net-snmp-host, custom",
    ]


def test_metrics_of_its_own_are_declared() -> None:
    assert settings(custom=CUSTOM).declares() == {"custom_jobs"}
    assert settings().declares() == set()


def test_the_cipher_is_loaded_with_the_keys_and_not_with_the_first_request() -> None:
    privacy = {"protocol": "AES-128", "secret": {"env": "PASS"}}
    load_aes.cache_clear()

    settings(version="v3", community=None, user=USER).client()
    assert not load_aes.cache_info().currsize
    settings(version="v3", community=None, user={**USER, "privacy": privacy}).client()
    assert load_aes.cache_info().currsize


def test_requests_a_day_are_reckoned() -> None:
    collector = settings(profile=["luna-legacy", "luna"], every="5m").build(CollectorContext(state_directory=Path("/")))

    assert collector.calls_a_day() == {"GET": 288, "GETBULK (at least)": 1152}
    assert collector.pids() == ()


async def test_nothing_is_missed_before_the_first_poll() -> None:
    collector = settings().build(CollectorContext(state_directory=Path("/")))

    assert not await collector.forget("keys")
    await collector.close()


async def test_what_is_forgotten_while_a_poll_is_parsed_stays_forgotten() -> None:
    entry, rows = (1, 3, 9, 1), range(1, 1102)  # so many values that a thread parses them
    values = [{"oid": 1, "metric": "custom_jobs"}]
    custom = {"tables": [{"oid": "1.3.9.1", "prefix": "job ", "rows": 4096, "values": values}]}
    client = TreeClient({(*entry, 1, row): row for row in rows})
    collector = SnmpCollector(settings(profile=[], custom=custom), connect=lambda: client)
    await collector.poll()
    del client.tree[*entry, 1, 7]

    polling = asyncio.create_task(collector.poll())
    await asyncio.sleep(0)  # until it waits for the thread: the client answers at once
    assert await collector.forget("job 7")
    polls = [await polling, await collector.poll()]

    assert [reading for poll in polls for reading in poll.readings if reading.resource == "job 7"] == []


async def test_what_is_forgotten_while_the_first_poll_loads_its_memory_stays_forgotten(tmp_path: Path) -> None:
    entry, context = (1, 3, 9, 1), CollectorContext(state_directory=tmp_path)
    table = {"oid": "1.3.9.1", "prefix": "job ", "values": [{"oid": 1, "metric": "custom_jobs"}]}
    given = settings(profile=[], custom={"tables": [table]})
    client = TreeClient({(*entry, 1, row): row for row in range(1, 9)})
    await SnmpCollector(given, context, connect=lambda: client).poll()
    del client.tree[*entry, 1, 7]
    collector = SnmpCollector(given, context)
    collector._client = client  # connected: what follows waits for the memory at the same time

    forgotten, poll = await asyncio.gather(collector.forget("job 7"), collector.poll())

    assert forgotten
    assert [reading for reading in poll.readings if reading.resource == "job 7"] == []
