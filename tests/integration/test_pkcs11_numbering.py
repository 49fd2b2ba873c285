"""Slot numbers hold from C_Initialize to C_Finalize and no longer: what a source makes of a module that shows it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.pkcs11.steps import Group
from tests.integration.pkcs11_source import find, source, value
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.collect.base import Poll

RECORDS = {"alpha": 111, "beta": 222, "gamma": 333}
KEYS: dict[str, Any] = {"timeout": "1500ms", "audit_every": "50ms", "liveness_every": "50ms", "storage_every": "50ms"}
BREAKS = pytest.mark.parametrize(
    "how", [{"hang_ms": 60_000}, {"segv": 1}, {"exit": 3}, {"rv": 0x190}], ids=["hang", "segv", "exit", "useless"]
)


@pytest.fixture
def fake(tmp_path: Path) -> FakeHsm:
    hsm = FakeHsm(tmp_path / "hsm", *RECORDS)
    hsm.set_luna()
    for token, records in RECORDS.items():
        hsm.set_audit(records, token=token)
        hsm.set_memory(total=1_000_000, free=records, token=token)
    hsm.set("slots.numbering", 0)
    hsm.set("slots.list_first", 1)
    return hsm


def _present(poll: Poll) -> dict[str, float | None]:
    return {reading.resource: reading.value for reading in poll.readings if reading.metric == "token_present"}


def _records(poll: Poll) -> dict[str, float | None]:
    return {reading.resource: reading.value for reading in poll.readings if reading.metric == "audit_records"}


def _free(poll: Poll) -> dict[str, float | None]:
    name = "token_memory_private_free_bytes"
    return {reading.resource: reading.value for reading in poll.readings if reading.metric == name}


async def test_a_module_that_wants_its_slots_listed_first_is_obeyed_by_every_worker(
    tmp_path: Path, fake: FakeHsm
) -> None:
    async with source(
        tmp_path, fake.module, environment=fake.environment, rediscover_every="100ms", every="60s", **KEYS
    ) as hsm:
        await hsm.poll()
        await asyncio.sleep(0.12)  # until the worker is old enough to be replaced
        list(fake.calls())
        between = await hsm.poll()
        calls = list(fake.calls())

    assert not between.errors
    assert _records(between) == RECORDS
    assert {find(between, token, "token_alive").value for token in RECORDS} == {1}
    assert _present(between) == {}
    assert calls.index("C_GetSlotList") < calls.index("C_GetTokenInfo") < calls.index("CA_LogGetStatus")


@pytest.mark.parametrize("numbering", [0, 2])
@BREAKS
async def test_a_sweep_that_loses_its_worker_goes_on_with_the_others_whatever_their_numbers_are_then(
    tmp_path: Path, fake: FakeHsm, how: dict[str, Any], numbering: int
) -> None:
    keys = {**KEYS, "timeout": "4s"}  # three processes and two calls that hang
    async with source(tmp_path, fake.module, environment=fake.environment, **keys) as hsm:
        await hsm.poll()
        fake.set("slots.numbering", numbering)  # which the next worker will see, and this one does not
        fake.fault("C_GetTokenInfo", token="alpha", **how)
        first = await hsm.poll()
        second = await hsm.poll()
        fake.mend()
        well = await hsm.poll()

    for poll in (first, second):
        assert _present(poll) == {"alpha": None, "beta": 1, "gamma": 1}
        assert _free(poll) == {**RECORDS, "alpha": None}
        assert "C_GetTokenInfo" in find(poll, "alpha", "token_present").reason
    assert _records(second) == {**RECORDS, "alpha": None}
    assert _present(well) == dict.fromkeys(RECORDS, 1)
    assert _free(well) == _records(well) == RECORDS


@pytest.mark.parametrize("numbering", [0, 2])
@BREAKS
@pytest.mark.parametrize("function", ["CA_LogGetStatus", "C_GenerateRandom"])
async def test_a_step_that_breaks_its_worker_leaves_every_reading_with_its_token(
    tmp_path: Path, fake: FakeHsm, function: str, how: dict[str, Any], numbering: int
) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment, every="60s", **KEYS) as hsm:
        await hsm.poll()
        fake.set("slots.numbering", numbering)
        fake.fault(function, token="beta", **how)
        broken = await hsm.poll()
        fake.mend()
        for group in (Group.SWEEP, Group.AUDIT):
            hsm._schedule.again(group, 0.0)
        well = await hsm.poll()

    assert _present(broken) == {}
    expected = {**RECORDS, "beta": None} if function == "CA_LogGetStatus" else RECORDS
    assert {token: records for token, records in _records(broken).items() if records is not None}.items() <= (
        expected.items()
    )
    assert _records(broken)["beta"] == expected["beta"]
    assert _records(well) == RECORDS
    assert {find(well, token, "token_alive").value for token in RECORDS} == {1}


async def test_a_token_that_somebody_initialises_moves_nobody_s_readings(tmp_path: Path) -> None:
    hsm_of = FakeHsm(tmp_path / "hsm", "alpha", "beta")
    hsm_of.set_luna()
    hsm_of.set_audit(111, token="alpha")
    hsm_of.set_audit(222, token="beta")
    async with source(tmp_path, hsm_of.module, environment=hsm_of.environment, **KEYS) as hsm:
        await hsm.poll()
        hsm_of.softhsm.create_token("aardvark")
        hsm_of.set_audit(333, token="aardvark")
        hsm_of.fault("C_GenerateRandom", token="alpha", segv=1)
        broken = await hsm.poll()
        hsm_of.mend()
        well = await hsm.poll()

    assert find(broken, "alpha", "token_alive").value == 0
    assert find(broken, "beta", "token_alive").value == 1
    assert _present(broken) == {"alpha": 1, "beta": 1, "aardvark": 1}
    assert _records(well) == {"alpha": 111, "beta": 222, "aardvark": 333}


async def test_nobody_is_gone_while_a_slot_of_a_module_that_renumbers_hangs(tmp_path: Path, fake: FakeHsm) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        await hsm.poll()
        for numbering in (1, 2, 1, 0):
            fake.set("slots.numbering", numbering)
            fake.fault("C_GetTokenInfo", token="beta", hang_ms=60_000)
            poll = await hsm.poll()

            assert _present(poll) == {"alpha": 1, "beta": None, "gamma": 1}


async def test_a_failing_token_is_not_gone_because_another_one_went(tmp_path: Path, fake: FakeHsm) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment, rediscover_every="10ms", **KEYS) as hsm:
        slots = {
            dict(reading.labels)["slot_id"]: reading.resource
            for reading in (await hsm.poll()).readings
            if reading.metric == "slot_info" and reading.resource in RECORDS
        }
        first, middle, last = (slots[number] for number in sorted(slots))
        fake.softhsm.delete_token(middle)  # all that follow move up in the next process
        fake.fault("C_GetTokenInfo", token=last, rv=0x30)
        for _ in range(2):
            assert _present(await hsm.poll()) == {first: 1, middle: None, last: None}
        fake.mend()

        assert _present(await hsm.poll()) == {first: 1, middle: 0, last: 1}


async def test_a_slot_that_goes_on_failing_is_said_by_every_poll(tmp_path: Path, fake: FakeHsm) -> None:
    fake.fault("C_GetTokenInfo", token="beta", rv=0x30)
    async with source(tmp_path, fake.module, environment=fake.environment, every="60s", **KEYS) as hsm:
        sweep = await hsm.poll()
        between = await hsm.poll()

    assert len(sweep.errors) == 1
    assert "CKR_DEVICE_ERROR" in sweep.errors[0]
    assert (between.errors, between.standing) == ((), sweep.errors)


async def test_a_module_without_a_slot_has_none(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set("slots.none_too_small", 1)
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        full = await hsm.poll()
        for token in RECORDS:
            fake.set_slot_gone(token=token)
        fake.set("slot.gone", 1)
        empty = await hsm.poll()

    assert _present(full) == dict.fromkeys(RECORDS, 1)
    assert _present(empty) == dict.fromkeys(RECORDS, 0)


@pytest.mark.parametrize("key", ["initialize.cant_lock", "fault.C_GetInfo.rv"])
async def test_a_module_without_locks_or_without_information_of_itself_is_read(
    tmp_path: Path, fake: FakeHsm, key: str
) -> None:
    fake.set(key, 0x54)
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        poll = await hsm.poll()

    assert not poll.errors
    assert value(poll, "alpha", "token_present") == 1


async def test_a_token_that_needs_no_log_in_has_no_pin_that_is_locked(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set("token.flags", 0x400 | 0x8 | 0x1 | 0x400000, token="alpha")
    fake.set("token.max_pin", 0, token="alpha")
    fake.set("token.min_pin", 0, token="alpha")
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        poll = await hsm.poll()

    for metric in ("token_so_pin_state", "token_so_pin_locked", "token_pin_state"):
        assert find(poll, "alpha", metric).reason.startswith("the token needs no log-in")
        assert find(poll, "beta", metric).value == 0


@pytest.mark.parametrize(("flags", "present"), [(0, 1), (1, 1), (3, 1), (2, 0)])
async def test_a_slot_is_empty_only_if_its_device_can_be_removed(
    tmp_path: Path, fake: FakeHsm, flags: int, present: int
) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        await hsm.poll()
        fake.set("slot.flags", flags, token="alpha")
        poll = await hsm.poll()

    assert value(poll, "alpha", "token_present") == present


async def test_the_token_known_first_keeps_its_label_across_restarts(tmp_path: Path) -> None:
    hsm_of = FakeHsm(tmp_path / "hsm", "alpha")
    hsm_of.set("token.label", "same")
    hsm_of.set("token.serial", "S1", token="alpha")
    polls = []
    async with source(tmp_path, hsm_of.module, environment=hsm_of.environment, rediscover_every="10ms") as hsm:
        polls.append(await hsm.poll())
        hsm_of.set("token.serial", "S0", token="beta")
        hsm_of.softhsm.create_token("beta")
        polls.append(await hsm.poll())
    async with source(tmp_path, hsm_of.module, environment=hsm_of.environment) as hsm:
        polls.append(await hsm.poll())
        hsm_of.set_absent(token="alpha")
        polls.append(await hsm.poll())
        assert await hsm.forget("same")
        polls.append(await hsm.poll())

    assert [_present(poll) for poll in polls] == [
        {"same": 1},
        {"same": 1, "S0": 1},
        {"same": 1, "S0": 1},
        {"same": 0, "S0": 1},
        {"same": 1},
    ]
    serials = [dict(find(poll, "same", "token_info").labels).get("serial") for poll in (polls[0], polls[2], polls[4])]
    assert serials == ["S1", "S1", "S0"]
