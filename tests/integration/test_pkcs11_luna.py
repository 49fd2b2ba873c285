"""What each of Luna's own functions says, on the test HSM."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.pkcs11.steps import Group
from tests.integration.luna_hsm import ALL, KEYS, make, read, values
from tests.integration.pkcs11_source import find, metrics, source, value

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.testmodule import FakeHsm


@pytest.fixture
def luna(tmp_path: Path) -> FakeHsm:
    return make(tmp_path / "hsm")


async def test_all_of_it(tmp_path: Path, luna: FakeHsm) -> None:
    luna.set("hsm.storage.total", 16_252_928)
    luna.set("hsm.storage.used", 8_126_464)
    luna.set_role("so", attempts=3)
    luna.set_role("crypto_user", attempts=0, flags=3)
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        poll = await hsm.poll()

    assert poll.errors == ()
    assert read(poll) >= ALL
    assert values(poll, "hsm_capability", "capability_id") == {"1": 1, "7": 1, "12": 0, "37": 1}
    assert values(poll, "hsm_policy", "policy_id") == {"7": 1, "12": 1}
    assert values(poll, "token_policy", "policy_id") == {"15": 1, "20": 10}
    assert values(poll, "token_login_attempts_left", "role") == {"so": 3, "crypto_officer": 10, "crypto_user": 0}
    assert values(poll, "token_role_locked", "role") == {"so": 0, "crypto_officer": 0, "crypto_user": 1}
    assert value(poll, "alpha", "hsm_storage_used_percent") == 50
    assert value(poll, "alpha", "hsm_tampered") == value(poll, "alpha", "hsm_transport_mode") == 0


async def test_utilization_is_the_share_of_time_since_the_last_reading(tmp_path: Path, luna: FakeHsm) -> None:
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        busy = []
        for up, idle in ((2**32 + 100, 50), (2**32 + 200, 75), (60, 60), (120, 90)):
            luna.set_statistics(up=up, idle=idle, commands=2**33 + up)
            busy.append(await hsm.poll())

    readings = [find(poll, "alpha", "hsm_utilization_percent") for poll in busy]
    assert [reading.value for reading in readings] == [None, 75, None, 50]
    first, third = (reading.reason for reading in readings if reading.value is None)
    assert "second reading" in first
    assert "restarted" in third
    assert value(busy[1], "alpha", "hsm_uptime_seconds") == 2**32 + 200
    assert value(busy[1], "alpha", "hsm_commands_total") == 2**33 + 2**32 + 200


async def test_a_changed_policy_changes_the_digest_and_is_named_in_the_log(
    tmp_path: Path, luna: FakeHsm, caplog: pytest.LogCaptureFixture
) -> None:
    digests = []
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        for policy in (1, 1, 0):
            luna.set_pairs("policies", {7: 1, 12: policy})
            hsm._schedule.again(Group.INVENTORY, 0.0)
            digests.append(dict(find(await hsm.poll(), "alpha", "hsm_policies_info").labels)["digest"])

    assert digests[0] == digests[1] != digests[2]
    assert "source hsm: alpha: policy 12: 1 -> 0" in caplog.text


@pytest.mark.parametrize("layout", [1, 2])
async def test_an_ha_group_in_either_layout(tmp_path: Path, luna: FakeHsm, layout: int) -> None:
    luna.set("ha.layout", layout)
    luna.set_pairs("ha.members", {1001: 0, 1002: 0x30, 1003: 0})
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        poll = await hsm.poll()
        luna.set_pairs("ha.members", {1001: 0})
        smaller = await hsm.poll()

    assert (value(poll, "alpha", "ha_members_up"), value(poll, "alpha", "ha_members_expected")) == (2, 3)
    assert find(poll, "alpha", "ha_members_up").limit == 2
    assert values(poll, "ha_member_up", "member") == {"1001": 1, "1002": 0, "1003": 1}
    assert values(smaller, "ha_member_up", "member") == {"1001": 1, "1002": None, "1003": None}


async def test_an_answer_in_no_known_layout_is_said_and_not_read(tmp_path: Path, luna: FakeHsm) -> None:
    luna.set("ha.count", 4_000_000)
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        poll = await hsm.poll()

    assert find(poll, "alpha", "ha_members_up").reason == "CA_GetHAState answered in a layout that is not known"
    assert poll.errors == ("alpha: CA_GetHAState answered in a layout that is not known",)


@pytest.mark.parametrize("refusal", [0x7, 0x54, 0x80000042])
async def test_a_slot_that_is_no_group_is_asked_once_by_each_worker(
    tmp_path: Path, luna: FakeHsm, refusal: int
) -> None:
    luna.set("ha.members", None)
    luna.set("ha.refusal", refusal)
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        first = await hsm.poll()
        list(luna.calls())
        await hsm.poll()
        calls = list(luna.calls())
        day = hsm.calls_a_day()

    assert first.errors == ()
    assert not {metric for metric in metrics(first) if metric.startswith("ha_")}
    assert "CA_GetHSMStats" in calls
    assert "CA_GetHAState" not in calls
    assert day["CA_GetHAState"] == 144


async def test_a_group_none_of_whose_members_is_watched_is_told_once(
    tmp_path: Path, luna: FakeHsm, caplog: pytest.LogCaptureFixture
) -> None:
    luna.softhsm.create_token("member")
    luna.set("token.serial", "1001", token="member")
    luna.set("ha.members", None)
    luna.set_pairs("ha.members", {1001: 0}, token="alpha")
    for tokens, told in ((["alpha"], 1), (["alpha", "member"], 0)):
        caplog.clear()
        async with source(tmp_path, luna.module, environment=luna.environment, tokens=tokens, **KEYS) as hsm:
            polls = [await hsm.poll()]
            polls.append(await hsm.poll())

        assert caplog.text.count("none of its members' own slots is watched") == told
        assert [poll.errors for poll in polls] == [(), ()]


@pytest.mark.parametrize("value_returned", [0x80000076, 0x80000026])
async def test_an_hsm_that_says_it_was_tampered_with_is_believed_in_whatever_call(
    tmp_path: Path, luna: FakeHsm, value_returned: int
) -> None:
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        before = await hsm.poll()
        luna.fault("C_GetTokenInfo", rv=value_returned)
        tampered = await hsm.poll()
        luna.mend()
        after = await hsm.poll()

    assert [value(poll, "alpha", "hsm_tampered") for poll in (before, tampered, after)] == [0, 1, 0]
    assert tampered.errors == ()


async def test_a_tamper_state_and_transport_mode_are_read(tmp_path: Path, luna: FakeHsm) -> None:
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        found = []
        for state in (0, 1, 2, 4, 8):
            luna.set("tamper.state", state)
            luna.set("transport.state", int(state == 8))
            poll = await hsm.poll()
            found.append((value(poll, "alpha", "hsm_tampered"), value(poll, "alpha", "hsm_transport_mode")))

    assert found == [(0, 0), (0, 0), (1, 0), (1, 0), (1, 1)]


async def test_the_auditor_and_his_export(tmp_path: Path, luna: FakeHsm) -> None:
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        found = []
        for initialized, last_poll in ((1, 0), (1, 0x80000033), (0, 0), (0x77, 0)):
            luna.set("audit.initialized", initialized)
            luna.set("audit.last_poll", last_poll)
            poll = await hsm.poll()
            found.append((value(poll, "alpha", "audit_role_initialized"), value(poll, "alpha", "audit_export_working")))

    assert found == [(1, 1), (1, 0), (0, None), (None, 1)]


async def test_the_calls_of_a_poll_are_these_and_no_others(tmp_path: Path, luna: FakeHsm) -> None:
    keys = {"liveness_every": "1h", "objects_every": "1h", "audit_every": "50ms"}
    async with source(tmp_path, luna.module, environment=luna.environment, **keys) as hsm:
        list(luna.calls())
        await hsm.poll()
        first = list(luna.calls())
        second_poll = await hsm.poll()
        second = list(luna.calls())

    start = ["dlopen", "C_GetFunctionList", "C_Initialize", "C_GetInfo"]
    sweep = [*2 * ["C_GetSlotList"], *2 * ["C_GetSlotInfo", "C_GetTokenInfo"]]
    often = ["CA_LogGetStatus", "CA_GetHAState", "CA_GetHSMStats"]
    at_times = ["CA_MTKGetState", "CA_STMGetState", *3 * ["CA_RoleStateGet"]]
    at_times += ["CA_GetTokenStorageInformation", "CA_GetHSMStorageInformation"]
    sets = ["CA_GetHSMCapabilitySet", "CA_GetHSMPolicySet", "CA_GetTokenPolicies"]
    inventory = ["CA_GetFirmwareVersion", *(name for name in sets for _ in range(2))]
    alive = ["C_OpenSession", "C_GenerateRandom", "C_CloseSession"]
    assert first == start + sweep + often + at_times + inventory + alive
    assert second == sweep + often
    assert second_poll.calls == Counter(second)
