from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.base import CollectorContext, SourceFailure
from hsm_agent.collect.pkcs11.source import Pkcs11Collector, Pkcs11Settings
from tests.unit.collect.pkcs11_raws import slot_hex, token_hex

FAKE = str(Path(__file__).resolve().parents[3] / "fakes" / "pkcs11_worker.py")
MINIMAL = {"name": "luna-a", "kind": "pkcs11", "module": "/opt/lib.so"}
LUNA = ("CA_LogGetStatus", "CA_GetTokenStorageInformation", "CA_GetFirmwareVersion")


def test_defaults_are_those_promised() -> None:
    settings = Pkcs11Settings.model_validate(MINIMAL)

    assert settings.model_dump(exclude={"name", "kind", "module"}) == {
        "environment": {},
        "reserved": None,
        "tokens": ("*",),
        "every": 60.0,
        "timeout": 10.0,
        "rediscover_every": 600.0,
        "worker_memory": 512 * 1024 * 1024,
        "memory_total": {},
        "sessions_max": {},
        "sessions_scope": "auto",
        "object_store": None,
        "objects_every": None,
        "liveness_every": None,
        "luna": "auto",
        "storage_every": 300.0,
        "inventory_at": dt.time(0, 0),
        "audit_every": 15.0,
        "audit_capacity": 198120,
        "capabilities": (1, 7, 12, 37),
        "policies": (),
        "labels": {},
    }


def test_what_an_operator_may_write() -> None:
    settings = Pkcs11Settings.model_validate(
        {
            **MINIMAL,
            "module": "lib.so",
            "tokens": ["prod", "0123*"],
            "memory_total": {"prod": "2MiB"},
            "object_store": {"directory": "tokens", "capacity": "1MB"},
            "inventory_at": "06:30",
            "capabilities": "all",
            "objects_every": "5m",
        },
        context={"base": "/etc/hsm"},
    )
    watch = settings.watch()

    assert settings.module == Path("/etc/hsm/lib.so")
    assert settings.inventory_at == dt.time(6, 30)
    assert watch.memory_total == {"prod": 2 * 1024**2}
    assert (watch.store_directory, watch.store_capacity) == ("/etc/hsm/tokens", 1_000_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"modul": "x"},
        {"every": "0s"},
        {"every": 60},
        {"timeout": "0s"},
        {"sessions_scope": "both"},
        {"sessions_max": {"a": 0}},
        {"object_store": {"directory": "x"}},
        {"object_store": {"directory": "x", "capacity": 0}},
        {"inventory_at": "25:00"},
        {"inventory_at": "midnight"},
        {"audit_capacity": 0},
        {"luna": "on"},
        {"name": ""},
    ],
)
def test_what_an_operator_may_not_write(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Pkcs11Settings.model_validate({**MINIMAL, **wrong})


def _collector(state: Path, script: dict[str, Any], **keys: Any) -> Pkcs11Collector:
    environment = {"FAKE_WORKER": json.dumps(script), "FAKE_MARKS": str(state)}
    settings = Pkcs11Settings.model_validate({**MINIMAL, "environment": environment, "every": "10s", **keys})
    return Pkcs11Collector(settings, CollectorContext(state_directory=state), command=(sys.executable, "-S", FAKE))


def _script(functions: tuple[str, ...] = (), **steps: Any) -> dict[str, Any]:
    load = {"functions": functions, "ulong": 8, "info": "", "calls": []}
    return {"load": load, "slots": {"slots": [1], "calls": []}, "token/1": [slot_hex(), token_hex()], **steps}


async def test_a_plain_token_is_asked_for_nothing_but_its_information(tmp_path: Path) -> None:
    collector = _collector(tmp_path, _script())
    poll = await collector.poll()
    await collector.close()

    assert isinstance(poll.raw, dict)
    assert [result[0] for result in poll.raw["results"]] == ["token"]
    assert 9.5 < poll.next_in <= 10
    assert collector.pids() == ()


async def test_a_luna_is_asked_for_everything_at_the_start(tmp_path: Path) -> None:
    steps: dict[str, Any] = {"audit/1": [1, 0, 0, 1, 7], "storage/1": [0, 100, 50, 50, 3], "firmware/1": [7, 8, 400]}
    collector = _collector(tmp_path, _script(LUNA, **steps), objects_every="1m", liveness_every="1m", every="60s")
    poll = await collector.poll()
    calls = collector.calls_a_day()
    await collector.close()

    assert isinstance(poll.raw, dict)
    # The partition's own count of objects makes counting them needless.
    assert [result[0] for result in poll.raw["results"]] == ["token", "audit", "storage", "firmware", "alive"]
    assert 4.5 < poll.next_in <= 5  # records wait
    assert calls["CA_LogGetStatus"] == 5760


async def test_an_inventory_that_failed_in_part_is_read_again_before_the_next_day(tmp_path: Path) -> None:
    failing = {"calls": [["CA_GetHSMPolicySet", 0x30, 1]], "payload": None}
    steps: dict[str, Any] = {"policies/1": {"once": failing, "then": [[7, 1]]}}
    collector = _collector(
        tmp_path, _script(("CA_GetHSMPolicySet",), **steps), every="50ms", storage_every="50ms", policies="all"
    )
    polls = []
    for _ in range(3):
        polls.append(await collector.poll())
        await asyncio.sleep(0.06)
    await collector.close()

    found = [[r.value for r in poll.readings if r.metric == "hsm_policies_info"] for poll in polls]
    assert found == [[None], [1], []]


async def test_a_token_of_which_nothing_can_be_read_fails_the_source_with_one_line(tmp_path: Path) -> None:
    failing = {"token/1": {"calls": [["C_GetTokenInfo", 0x30, 1]], "payload": [slot_hex(), None]}}
    collector = _collector(tmp_path, {**_script(), **failing})
    with pytest.raises(SourceFailure, match=r"^C_GetTokenInfo on slot 1 returned CKR_DEVICE_ERROR \(0x30\)$"):
        await collector.poll()
    await collector.close()


async def test_more_than_a_hundred_slots_are_parsed_off_the_loop(tmp_path: Path) -> None:
    tokens: dict[str, Any] = {f"token/{n}": [slot_hex(), token_hex(label=f"t{n}", serial=f"S{n}")] for n in range(150)}
    collector = _collector(tmp_path, {**_script(**tokens), "slots": {"slots": list(range(150)), "calls": []}})
    poll = await collector.poll()
    await collector.close()

    assert len({reading.resource for reading in poll.readings}) == 150


async def test_forgetting_is_for_what_is_missed(tmp_path: Path) -> None:
    collector = _collector(tmp_path, _script())
    await collector.poll()

    assert await collector.forget("alpha")
    assert not await collector.forget("alpha")
    await collector.close()


def test_a_value_of_the_environment_that_begins_with_a_dot_and_a_slash_is_a_path() -> None:
    environment = {"SOFTHSM2_CONF": "./var/softhsm2.conf", "PLAIN": "var/x", "DOTS": "../x"}
    tree = {"name": "a", "kind": "pkcs11", "module": "/m", "environment": environment}
    settings = Pkcs11Settings.model_validate(tree, context={"base": "/opt/hsm"})

    assert settings.environment == {"SOFTHSM2_CONF": "/opt/hsm/var/softhsm2.conf", "PLAIN": "var/x", "DOTS": "../x"}
    assert Pkcs11Settings.model_validate(tree).environment == environment


def test_check_config_warns_where_only_an_ha_group_is_watched(tmp_path: Path) -> None:
    text = "VirtualToken = {\n  VirtualToken00Label = ha;\n  VirtualToken00SN = 12;\n  VirtualToken00Members = 2;\n}\n"
    (tmp_path / "Chrystoki.conf").write_text(text, encoding="ascii")
    tree = {"name": "a", "kind": "pkcs11", "module": "/m", "tokens": ["ha"]}
    settings = Pkcs11Settings.model_validate(tree | {"environment": {"ChrystokiConfigurationPath": str(tmp_path)}})
    off = settings.model_copy(update={"luna": "off"})

    *_, warning = settings.about()
    assert warning.startswith("warning: ha is an HA group")
    assert not any(line.startswith("warning") for line in off.about())
