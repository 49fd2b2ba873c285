"""Plain SoftHSM: real tokens, a real hang (its own file lock), tokens that come, go and are expected."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.pkcs11.parse import parse
from hsm_agent.collect.pkcs11.poll_state import ParseOptions, PollMemory
from hsm_agent.collect.pkcs11.recording import RawPoll
from hsm_agent.collect.pkcs11.source import Pkcs11Settings
from tests.integration.pkcs11_source import find, metrics, source, value
from tests.peers.softhsm import SoftHsm

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def soft(tmp_path: Path) -> SoftHsm:
    hsm = SoftHsm(tmp_path / "softhsm")
    hsm.create_token("alpha")
    return hsm


async def test_reads_what_softhsm_reports_and_says_what_it_does_not(tmp_path: Path, soft: SoftHsm) -> None:
    async with source(tmp_path, soft.module, environment=soft.environment) as hsm:
        poll = await hsm.poll()

    assert value(poll, "alpha", "token_present") == 1
    assert value(poll, "alpha", "token_initialized") == 1
    assert value(poll, "alpha", "token_pin_state") == 0
    assert abs(value(poll, "alpha", "token_clock_offset_seconds") or 0) <= 1
    assert dict(find(poll, "alpha", "token_info").labels)["model"] == "SoftHSM v2"
    for metric in ("token_memory_private_used_percent", "token_sessions", "token_sessions_max"):
        assert find(poll, "alpha", metric).value is None
        assert find(poll, "alpha", metric).reason
    assert not poll.errors
    assert not {"audit_records", "token_storage_used_percent"} & metrics(poll)


async def test_a_mistyped_pin_shows(tmp_path: Path, soft: SoftHsm) -> None:
    with soft.user("alpha") as user:
        user.mistype_pin()
        async with source(tmp_path, soft.module, environment=soft.environment) as hsm:
            poll = await hsm.poll()

    assert value(poll, "alpha", "token_pin_count_low") == 1
    assert value(poll, "alpha", "token_pin_state") == 1


async def test_a_locked_token_file_is_a_hang_that_ends_within_the_timeout(tmp_path: Path, soft: SoftHsm) -> None:
    (directory,) = soft.directories()
    async with source(tmp_path, soft.module, environment=soft.environment, timeout="1s") as hsm:
        await hsm.poll()
        with soft.locked(directory):
            began = time.monotonic()
            with pytest.raises(SourceFailure, match=r"C_GetTokenInfo on slot \d+ did not return within .* s"):
                await hsm.poll()
            took = time.monotonic() - began
        well = await hsm.poll()

    assert took < 2
    assert value(well, "alpha", "token_present") == 1


async def test_a_token_whose_files_are_gone_fails_then_is_missing_with_a_fresh_worker(
    tmp_path: Path, soft: SoftHsm
) -> None:
    (directory,) = soft.directories()
    soft.create_token("beta")
    async with source(tmp_path, soft.module, environment=soft.environment, rediscover_every="1500ms") as hsm:
        await hsm.poll()
        directory.rename(tmp_path / "moved")
        failed = await hsm.poll()
        await asyncio.sleep(1.5)  # until the worker is old enough to be replaced
        missing = await hsm.poll()
        (tmp_path / "moved").rename(directory)
        await asyncio.sleep(1.6)  # once more
        back = await hsm.poll()

    assert find(failed, "alpha", "token_present").value is None
    assert "CKR_GENERAL_ERROR (0x5)" in failed.errors[0]
    assert value(failed, "beta", "token_present") == 1
    assert value(missing, "alpha", "token_present") == 0
    assert find(missing, "alpha", "token_pin_state").reason == "the token is not present"
    assert not missing.errors
    assert value(back, "alpha", "token_present") == 1


async def test_a_restart_still_knows_whom_to_miss_until_told_to_forget(tmp_path: Path, soft: SoftHsm) -> None:
    soft.create_token("beta")
    async with source(tmp_path, soft.module, environment=soft.environment) as hsm:
        await hsm.poll()
    soft.delete_token("beta")

    async with source(tmp_path, soft.module, environment=soft.environment) as hsm:
        missing = await hsm.poll()
        forgotten = await hsm.forget("beta")
        again = await hsm.forget("beta")
        after = await hsm.poll()

    assert value(missing, "beta", "token_present") == 0
    assert find(missing, "beta", "token_present").labels == (("expected", "false"),)
    assert (forgotten, again) == (True, False)
    assert "beta" not in {reading.resource for reading in after.readings}


async def test_an_expected_token_is_missed_even_if_it_was_never_seen(tmp_path: Path, soft: SoftHsm) -> None:
    async with source(tmp_path, soft.module, environment=soft.environment, tokens=["alpha", "vault"]) as hsm:
        poll = await hsm.poll()

    assert value(poll, "alpha", "token_present") == 1
    assert value(poll, "vault", "token_present") == 0
    assert find(poll, "vault", "token_present").labels == (("expected", "true"),)


async def test_a_new_token_is_seen_by_the_next_fresh_worker(tmp_path: Path, soft: SoftHsm) -> None:
    async with source(tmp_path, soft.module, environment=soft.environment, rediscover_every="100ms") as hsm:
        await hsm.poll()
        before = hsm.pids()
        soft.create_token("beta")
        await asyncio.sleep(0.1)  # until the worker is old enough to be replaced
        poll = await hsm.poll()
        after = hsm.pids()

    assert value(poll, "beta", "token_present") == 1
    assert before != after


async def test_only_watched_tokens_are_read(tmp_path: Path, soft: SoftHsm) -> None:
    soft.create_token("beta")
    async with source(tmp_path, soft.module, environment=soft.environment, tokens=["be?a"]) as hsm:
        poll = await hsm.poll()

    assert {reading.resource for reading in poll.readings} == {"beta"}


async def test_objects_and_the_object_store_fill_and_empty(tmp_path: Path, soft: SoftHsm) -> None:
    store = {"directory": str(soft.tokens), "capacity": "100kB"}
    keys: dict[str, Any] = {"object_store": store, "objects_every": "50ms"}
    with soft.user("alpha") as user:
        async with source(tmp_path, soft.module, environment=soft.environment, **keys) as hsm:
            empty = await hsm.poll()
            user.create_objects(4, size=10_000)
            filled = await hsm.poll()
            user.destroy_objects()
            again = await hsm.poll()

    assert [value(poll, "alpha", "token_objects") for poll in (empty, filled, again)] == [0, 4, 0]
    used = [value(poll, "alpha", "token_storage_used_bytes") or 0 for poll in (empty, filled, again)]
    assert used[1] - used[0] > 40_000
    assert used[2] == used[0]
    assert value(filled, "alpha", "token_storage_used_percent") == pytest.approx(used[1] / 1000)
    assert value(filled, "alpha", "token_storage_free_bytes") == 100_000 - used[1]


async def test_a_missing_object_store_is_that_reading_s_failure_only(tmp_path: Path, soft: SoftHsm) -> None:
    store = {"directory": str(tmp_path / "nowhere"), "capacity": "100kB"}
    async with source(tmp_path, soft.module, environment=soft.environment, object_store=store) as hsm:
        poll = await hsm.poll()

    assert value(poll, "alpha", "token_present") == 1
    assert value(poll, "alpha", "token_storage_used_percent") is None
    assert poll.errors == (f"object_store: {tmp_path}/nowhere: No such file or directory",)


async def test_the_token_answers_for_its_liveness(tmp_path: Path, soft: SoftHsm) -> None:
    async with source(tmp_path, soft.module, environment=soft.environment, liveness_every="50ms") as hsm:
        poll = await hsm.poll()

    assert value(poll, "alpha", "token_alive") == 1
    assert poll.calls["C_OpenSession"] == poll.calls["C_GenerateRandom"] == poll.calls["C_CloseSession"] == 1


async def test_a_recorded_poll_is_masked_and_can_be_replayed(tmp_path: Path, soft: SoftHsm) -> None:
    async with source(tmp_path, soft.module, environment=soft.environment) as hsm:
        polled = await hsm.poll()
    recorded = json.dumps(Pkcs11Settings.mask(polled.raw))
    serial = dict(find(polled, "alpha", "token_info").labels)["serial"]
    replayed = parse(RawPoll.from_json(json.loads(recorded)), ParseOptions(name="hsm"), PollMemory())

    for secret in (b"alpha", serial.encode()):
        assert secret.decode() not in recorded
        assert secret.hex() not in recorded
    assert {r.metric for r in replayed.readings} == {r.metric for r in polled.readings}
