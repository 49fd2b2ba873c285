"""The PKCS#11 collector against a worker that follows a script: what is asked for, and when."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hsm_agent.collect.base import CollectorContext, SourceFailure
from hsm_agent.collect.pkcs11.recording import RawPoll
from hsm_agent.collect.pkcs11.source import Pkcs11Collector, Pkcs11Settings
from tests.unit.collect.pkcs11_raws import slot_hex, token_hex

FAKE = str(Path(__file__).resolve().parents[2] / "fakes" / "pkcs11_worker.py")
MINIMAL = {"name": "luna-a", "kind": "pkcs11", "module": "/opt/lib.so"}
LUNA = ("CA_LogGetStatus", "CA_GetTokenStorageInformation", "CA_GetFirmwareVersion")


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

    assert isinstance(poll.raw, RawPoll)
    assert [step for step, _ in poll.raw.results] == ["token"]
    assert 9.5 < poll.next_in_seconds <= 10
    assert collector.pids() == ()


async def test_a_luna_is_asked_for_everything_at_the_start(tmp_path: Path) -> None:
    steps: dict[str, Any] = {"audit/1": [1, 0, 0, 1, 7], "storage/1": [0, 100, 50, 50, 3], "firmware/1": [7, 8, 400]}
    collector = _collector(tmp_path, _script(LUNA, **steps), objects_every="1m", liveness_every="1m", every="60s")
    poll = await collector.poll()
    calls = collector.calls_a_day()
    await collector.close()

    assert isinstance(poll.raw, RawPoll)
    # The partition's own count of objects makes counting them needless.
    assert [step for step, _ in poll.raw.results] == ["token", "audit", "storage", "firmware", "alive"]
    assert 4.5 < poll.next_in_seconds <= 5  # records wait
    assert calls["CA_LogGetStatus"] == 5760


async def test_an_inventory_that_failed_in_part_is_read_again_before_the_next_day(tmp_path: Path) -> None:
    failing = {"calls": [["CA_GetHSMPolicySet", 0x30, 1]], "payload": None}
    steps: dict[str, Any] = {"policies/1": {"once": failing, "then": [[7, 1]]}}
    collector = _collector(
        tmp_path, _script(("CA_GetHSMPolicySet",), **steps), every="50ms", storage_every="50ms", policies="all"
    )
    polls = [await collector.poll() for _ in range(3)]
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
