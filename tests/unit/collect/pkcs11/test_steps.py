from __future__ import annotations

from typing import Any

import pytest

from hsm_agent.collect.pkcs11.poll_state import PollMemory, TokenSlot
from hsm_agent.collect.pkcs11.source import IF_LUNA, Pkcs11Settings, calls_a_day
from hsm_agent.collect.pkcs11.steps import (
    STEPS,
    Group,
    due_steps,
    is_incomplete,
    is_needed,
    nowhere,
)
from hsm_agent.collect.pkcs11.token import TokenIdentity
from hsm_agent.workers.pkcs11.steps import OUTPUTS, SETS
from hsm_agent.workers.pkcs11.steps import STEPS as WORKER_STEPS
from tests.unit.collect.pkcs11_raws import raw

ONE, TWO = ("one", "1", -1), ("two", "2", -1)
MINIMAL = {"name": "luna-a", "kind": "pkcs11", "module": "/opt/lib.so"}
STORE = {"directory": "/var/lib/tokens", "capacity": "2MiB"}
LUNA = frozenset(step.function for step in STEPS.values() if step.function)


def test_every_step_is_one_of_the_worker_s_and_every_function_of_the_worker_s_is_asked() -> None:
    assert set(STEPS) | {"token"} == set(WORKER_STEPS)
    assert {*OUTPUTS, *SETS, "CA_GetHSMStats", "CA_RoleStateGet", "CA_GetHAState"} == LUNA


def test_calls_a_day_of_a_plain_token() -> None:
    calls = calls_a_day(Pkcs11Settings.model_validate(MINIMAL), ())

    assert calls == {
        "C_GetFunctionList": 144,
        "C_Initialize": 144,
        "C_GetInfo": 144,
        "C_Finalize": 144,
        "C_GetSlotList": 2880,
        "C_GetSlotInfo": 1440,
        "C_GetTokenInfo": 1440,
    }


def test_calls_a_day_of_a_luna_with_everything_switched_on() -> None:
    keys = {"liveness_every": "1h", "objects_every": "1h"}
    calls = calls_a_day(Pkcs11Settings.model_validate({**MINIMAL, **keys}), LUNA)

    assert {name: number for name, number in calls.items() if name.startswith("CA_")} == {
        "CA_LogGetStatus": 5760,
        "CA_GetHAState": 1440,
        "CA_GetHSMStats": 1440,
        "CA_MTKGetState": 288,
        "CA_STMGetState": 288,
        "CA_RoleStateGet": 864,
        "CA_GetTokenStorageInformation": 288,
        "CA_GetHSMStorageInformation": 288,
        "CA_GetFirmwareVersion": 1,
        "CA_GetHSMCapabilitySet": 2,
        "CA_GetHSMPolicySet": 2,
        "CA_GetTokenPolicies": 2,
    }
    assert calls["C_GenerateRandom"] == 24
    assert calls["C_FindObjectsInit"] == 24
    assert calls["C_OpenSession"] == calls["C_CloseSession"] == 48


@pytest.mark.parametrize(
    ("keys", "there", "not_there"),
    [
        (
            {"luna": "off"},
            {"token_sessions": "", "hsm_firmware_info": ""},
            {"token_alive", "token_objects", "ha_member_up"},
        ),
        (
            {"luna": "off", "liveness_every": "1h", "objects_every": "1h"},
            {"token_alive": "", "token_objects": ""},
            set(),
        ),
        ({"luna": "off", "object_store": STORE}, {"token_storage_used_percent": ""}, {"audit_used_percent"}),
        ({}, {"token_storage_used_percent": IF_LUNA, "hsm_tampered": IF_LUNA, "hsm_firmware_info": ""}, {"hsm_policy"}),
        ({"policies": [1], "capabilities": []}, {"hsm_policy": IF_LUNA, "token_policy": IF_LUNA}, {"hsm_capability"}),
    ],
)
def test_what_a_source_brings_follows_from_its_settings(
    keys: dict[str, Any], there: dict[str, str], not_there: set[str]
) -> None:
    found = Pkcs11Settings.model_validate({**MINIMAL, **keys}).metrics_produced()

    assert there.items() <= found.items()
    assert not not_there & found.keys()


def test_the_sum_that_the_documentation_names() -> None:
    settings = Pkcs11Settings.model_validate({**MINIMAL, "audit_every": "60s"})
    calls = calls_a_day(settings, LUNA, unknown={"ha"})

    assert calls["CA_GetHAState"] == 144
    assert sum(calls.values()) == 11383
    assert sum(number for name, number in calls.items() if name.startswith("CA_")) == 5047


def test_what_is_not_there_is_asked_once_by_each_worker_and_never_more_often_than_it_is_due() -> None:
    calls = calls_a_day(Pkcs11Settings.model_validate(MINIMAL), LUNA, unknown={"role_crypto_user", "policies"})

    assert calls["CA_RoleStateGet"] == 2 * 288 + 144
    assert calls["CA_GetHSMPolicySet"] == 1


@pytest.mark.parametrize(
    ("due", "names"),
    [
        ({Group.AUDIT}, ["audit"]),
        ({Group.SWEEP}, ["ha", "stats"]),
        (
            {Group.STORAGE},
            ["tamper", "transport", "role_so", "role_crypto_officer", "role_crypto_user", "storage", "hsm_storage"],
        ),
        ({Group.INVENTORY}, ["firmware", "capabilities", "policies", "token_policies"]),
        ({Group.LIVENESS, Group.OBJECTS}, ["alive"]),  # the partition's own count makes counting needless
    ],
)
def test_what_is_due_with_each_rhythm(due: set[Group], names: list[str]) -> None:
    assert due_steps(due, [ONE], LUNA, PollMemory()) == [(name, ONE) for name in names]


def test_steps_go_by_urgency_not_by_token_and_leave_out_what_makes_no_sense_for_it() -> None:
    memory = PollMemory(unsupported=frozenset({("ha", ONE), ("storage", TWO)}))
    steps = due_steps({Group.SWEEP, Group.OBJECTS}, [ONE, TWO], LUNA, memory)

    assert steps == [("ha", TWO), ("stats", ONE), ("stats", TWO), ("objects", TWO)]


def test_a_fresh_worker_counts_objects_that_luna_did_not_count_before() -> None:
    there = {2: TokenSlot("two", TokenIdentity("two", "2"), TWO)}
    memory = PollMemory(tokens=there, unsupported=frozenset({("ha", TWO), ("storage", TWO)}))
    steps = due_steps({Group.SWEEP, Group.OBJECTS}, [TWO], LUNA, memory.for_fresh_worker())

    assert steps == [("ha", TWO), ("stats", TWO), ("objects", TWO)]


def test_a_rhythm_is_needed_while_any_of_its_functions_is_there() -> None:
    assert is_needed(Group.STORAGE, {"CA_RoleStateGet"})
    assert not is_needed(Group.AUDIT, {"CA_RoleStateGet"})


def test_steps_that_make_sense_for_no_token() -> None:
    assert nowhere([ONE, TWO], {("ha", ONE), ("ha", TWO), ("stats", ONE)}) == {"ha"}
    assert nowhere([], {("ha", ONE)}) == set()


def _result(step: str, value: int) -> list[Any]:
    return [step, 1, 0.0, [["CA_Any", value, 5]], None if value else []]


@pytest.mark.parametrize(
    ("results", "failed", "incomplete"),
    [
        ([_result("policies", 0)], [], False),
        ([_result("policies", 0x30)], [], True),
        ([_result("policies", 0x54)], [], False),
        ([_result("stats", 0x30)], [], False),
        ([_result("token", 0x30)], [], False),
        ([], [["firmware", 1, "hung"]], True),
    ],
)
def test_an_inventory_that_failed_in_part_is_incomplete(
    results: list[list[Any]], failed: list[list[Any]], *, incomplete: bool
) -> None:
    known = PollMemory(
        tokens={1: TokenSlot("one", TokenIdentity("one", "1"), ONE)},
        unsupported=frozenset({("policies", ONE)} if results and results[0][3][0][1] == 0x54 else ()),
    )

    assert is_incomplete(Group.INVENTORY, raw(*results, failed=failed, sweep=False), known) is incomplete
