"""None of Luna's functions takes another's reading with it: missing, refused, failing, hanging or crashing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.luna_hsm import ALL, KEYS, METRICS_PRODUCED, make, read
from tests.integration.pkcs11_source import metrics, source

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.collect.base import Poll
    from tests.peers.testmodule import FakeHsm


@pytest.fixture
def luna(tmp_path: Path) -> FakeHsm:
    return make(tmp_path / "hsm")


async def _after_trouble(tmp_path: Path, luna: FakeHsm, function: str, **how: int) -> tuple[Poll, Poll]:
    """A poll while one function is in trouble from the start, and the one after it is mended, in a fresh worker."""
    for what, number in how.items():
        luna.set(f"fault.{function}.{what}", number)
    async with source(tmp_path, luna.module, environment=luna.environment, timeout="1s", **KEYS) as hsm:
        trouble = await hsm.poll()
    luna.mend()
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        return trouble, await hsm.poll()


@pytest.mark.parametrize("function", METRICS_PRODUCED)
async def test_a_function_the_hsm_does_not_know_leaves_the_others(tmp_path: Path, luna: FakeHsm, function: str) -> None:
    trouble, mended = await _after_trouble(tmp_path, luna, function, rv=0x54)
    others = ALL - METRICS_PRODUCED[function]

    assert trouble.errors == ()
    # Either set alone makes a digest.
    assert metrics(trouble) & ALL == others | (METRICS_PRODUCED[function] & {"hsm_policies_info"})
    assert read(mended) >= ALL


@pytest.mark.parametrize("function", METRICS_PRODUCED)
async def test_a_function_that_fails_leaves_the_others(tmp_path: Path, luna: FakeHsm, function: str) -> None:
    luna.set("token.model", "LunaVirtual")
    trouble, mended = await _after_trouble(tmp_path, luna, function, rv=0x30)

    assert read(trouble) & ALL == ALL - METRICS_PRODUCED[function]
    assert trouble.errors
    assert all(f"{function} on slot" in error and "CKR_DEVICE_ERROR (0x30)" in error for error in trouble.errors)
    assert read(mended) >= ALL


MUST_ANSWER = {"CA_LogGetStatus", "CA_GetTokenStorageInformation", "CA_GetFirmwareVersion"}


@pytest.mark.parametrize("function", sorted(set(METRICS_PRODUCED) - MUST_ANSWER))
async def test_a_function_that_is_refused_is_no_failure_and_is_not_asked_again(
    tmp_path: Path, luna: FakeHsm, function: str
) -> None:
    luna.set("token.model", "LunaVirtual")
    luna.fault(function, rv=0x8000001A)
    async with source(tmp_path, luna.module, environment=luna.environment, **KEYS) as hsm:
        first = await hsm.poll()
        list(luna.calls())
        await hsm.poll()
        again = set(luna.calls())

    assert first.errors == ()
    assert read(first) & ALL == ALL - METRICS_PRODUCED[function]
    unavailable = [reading for reading in first.readings if reading.metric in METRICS_PRODUCED[function]]
    assert all(
        "CKR_USER_NOT_AUTHORIZED" in reading.reason or "gave no answer" in reading.reason for reading in unavailable
    )
    assert function not in again


@pytest.mark.parametrize("how", ["hang_ms", "segv"])
@pytest.mark.parametrize("function", ["CA_GetHSMStats", "CA_RoleStateGet", "CA_GetHAState"])
async def test_a_function_that_hangs_or_crashes_leaves_the_others(
    tmp_path: Path, luna: FakeHsm, function: str, how: str
) -> None:
    trouble, mended = await _after_trouble(tmp_path, luna, function, **{how: 3000})

    assert {"token_present", "audit_records"} <= read(trouble)
    assert not read(trouble) & METRICS_PRODUCED[function]
    assert any(function in error for error in trouble.errors)
    assert read(mended) >= ALL
