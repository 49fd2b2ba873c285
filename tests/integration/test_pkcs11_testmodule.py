"""The test HSM: memory, sessions, the audit store and the rest of what no software token reports."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.pkcs11_source import find, metrics, source, value
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def fake(tmp_path: Path) -> FakeHsm:
    return FakeHsm(tmp_path / "hsm", "alpha")


async def test_memory_follows_the_objects(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set_memory(total=100_000)
    with fake.user("alpha") as user:
        async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
            shares = []
            for objects in (0, 9, -9):
                if objects > 0:
                    user.create_objects(objects, size=10_000)
                elif objects < 0:
                    user.destroy_objects(-objects)
                shares.append(value(await hsm.poll(), "alpha", "token_memory_private_used_percent"))

    assert shares[0] is not None
    assert shares[0] < 5
    assert shares[1] is not None
    assert shares[1] > 90
    assert shares[2] == shares[0]


async def test_sessions_of_all_processes_are_counted(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set_session_limit(50)
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        user = fake.user("alpha")
        user.open_sessions(10)
        user.open_sessions(10, rw=True)
        poll = await hsm.poll()
        user.kill()
        after = await hsm.poll()

    assert value(poll, "alpha", "token_sessions") == 20
    assert value(poll, "alpha", "token_rw_sessions") == 10
    assert value(poll, "alpha", "token_sessions_used_percent") == 40
    assert value(after, "alpha", "token_sessions") == 0


async def test_refused_sessions_are_a_full_token_not_a_failed_source(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set_session_limit(3)
    keys = {"liveness_every": "50ms"}
    with fake.user("alpha") as user:
        user.open_sessions(3)
        async with source(tmp_path, fake.module, environment=fake.environment, **keys) as hsm:
            full = await hsm.poll()
            user.close_sessions(2)
            freed = await hsm.poll()

    assert not full.errors
    assert value(full, "alpha", "token_sessions_used_percent") == 100
    assert "CKR_SESSION_COUNT" in find(full, "alpha", "token_alive").reason
    assert value(freed, "alpha", "token_alive") == 1
    assert value(freed, "alpha", "token_sessions_used_percent") == pytest.approx(100 / 3)


async def test_audit_store_fills_is_foreseen_and_drains(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set_luna()
    fake.set_audit(60_000, rate=10_000)
    keys = {"audit_every": "100ms", "every": "10s"}
    async with source(tmp_path, fake.module, environment=fake.environment, **keys) as hsm:
        polls = []
        for _ in range(4):
            polls.append(await hsm.poll())
            await asyncio.sleep(0.12)  # a rate is a change over time
        fake.set_audit(0)
        drained = await hsm.poll()

    seconds = [value(poll, "alpha", "audit_seconds_to_full") for poll in polls]
    assert seconds[0] == seconds[1] == math.inf
    assert seconds[3] == pytest.approx((198120 - 64_000) / 10_000, rel=0.2)
    assert value(polls[3], "alpha", "audit_capacity_records") == 198120
    assert "token_present" not in metrics(polls[3])
    assert value(drained, "alpha", "audit_records") == 0
    assert value(drained, "alpha", "audit_seconds_to_full") == math.inf


async def test_audit_is_asked_more_often_while_records_wait(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set_luna()
    fake.set_audit(0)
    async with source(tmp_path, fake.module, environment=fake.environment, every="60s") as hsm:
        empty = await hsm.poll()
    fake.set_audit(5)
    async with source(tmp_path, fake.module, environment=fake.environment, every="60s") as hsm:
        waiting = await hsm.poll()

    assert 14 < empty.next_in_seconds <= 15
    assert 4 < waiting.next_in_seconds <= 5


async def test_a_full_audit_store_is_a_finding_whatever_its_configured_size(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set_luna()
    fake.set_memory(total=1_000_000)
    fake.set_audit(500, capacity=500)
    keys: dict[str, Any] = {"liveness_every": "50ms", "audit_capacity": 1000}
    async with source(tmp_path, fake.module, environment=fake.environment, **keys) as hsm:
        poll = await hsm.poll()

    assert not poll.errors
    assert value(poll, "alpha", "audit_records") == 500
    assert value(poll, "alpha", "audit_used_percent") == 100
    assert value(poll, "alpha", "audit_seconds_to_full") == 0
    assert value(poll, "alpha", "token_memory_private_total_bytes") == 1_000_000
    assert value(poll, "alpha", "token_alive") == 0
    assert "CKR_LOG_FULL" in find(poll, "alpha", "token_storage_used_percent").reason


async def test_partition_storage_and_firmware(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set_luna()
    for key, number in (("total", 324096), ("used", 1232), ("objects", 6)):
        fake.set(f"storage.{key}", number)
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        poll = await hsm.poll()

    assert value(poll, "alpha", "token_storage_total_bytes") == 324096
    assert value(poll, "alpha", "token_storage_free_bytes") == 322864
    assert value(poll, "alpha", "token_storage_used_percent") == pytest.approx(0.38, abs=0.01)
    assert value(poll, "alpha", "token_objects") == 6
    assert find(poll, "alpha", "hsm_firmware_info").labels == (("version", "7.8.400"),)


@pytest.mark.parametrize("luna", ["auto", "off"])
async def test_without_luna_s_functions_there_are_no_such_readings(tmp_path: Path, fake: FakeHsm, luna: str) -> None:
    fake.set_luna(present=luna == "off")
    async with source(tmp_path, fake.module, environment=fake.environment, luna=luna) as hsm:
        await hsm.poll()
        list(fake.calls())
        poll = await hsm.poll()

    assert not {name for name in metrics(poll) if name.startswith(("audit_", "token_storage_"))}
    assert not poll.errors
    assert not {call for call in fake.calls() if call.startswith("CA_")}
    assert find(poll, "alpha", "hsm_firmware_info").labels == (("version", "2.6"),)


async def test_a_token_pulled_out_and_put_back(tmp_path: Path, fake: FakeHsm) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        polls = [await hsm.poll()]
        for gone in (True, False):
            fake.set_absent(absent=gone, token="alpha")
            polls.append(await hsm.poll())

    assert [value(poll, "alpha", "token_present") for poll in polls] == [1, 0, 1]
    assert find(polls[1], "alpha", "token_pin_state").reason == "the token is not present"
    assert find(polls[2], "alpha", "token_pin_state").value == 0


async def test_labels_that_collide_or_are_blank_are_told_apart(tmp_path: Path, fake: FakeHsm) -> None:
    fake.softhsm.create_token("beta")
    fake.softhsm.create_token("gamma")
    fake.set("token.label", "same", token="alpha")
    fake.set("token.serial", "S1", token="alpha")
    fake.set("token.label", "same", token="beta")
    fake.set("token.serial", "S2", token="beta")
    fake.set("token.label", "", token="gamma")
    fake.set("token.serial", "", token="gamma")
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        poll = await hsm.poll()

    present = {reading.resource for reading in poll.readings if reading.metric == "token_present"}
    assert len(present) == 3
    assert len(present & {"S1", "S2"}) == 1
    assert (present - {"S1", "S2", "same"}).pop().startswith("slot ")


async def test_sixty_four_tokens(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set_extra_slots(64)
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        poll = await hsm.poll()

    present = [reading for reading in poll.readings if reading.metric == "token_present"]
    assert len(present) == 65
    assert poll.calls["C_GetTokenInfo"] == 66
    assert not poll.errors


async def test_a_module_that_does_not_know_luna_counts_objects_itself(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set_luna(present=False)
    with fake.user("alpha") as user:
        user.create_objects(3, size=10)
        async with source(tmp_path, fake.module, environment=fake.environment, objects_every="50ms") as hsm:
            await hsm.poll()
            list(fake.calls())
            poll = await hsm.poll()
            calls = list(fake.calls())

    assert value(poll, "alpha", "token_objects") == 3
    counting = ["C_FindObjectsInit", "C_FindObjects", "C_FindObjects", "C_FindObjectsFinal"]
    assert calls[-6:] == ["C_OpenSession", *counting, "C_CloseSession"]
