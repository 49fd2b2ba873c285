"""A remote token behind p11-kit server: cut off mid-call, stopped, gone, back."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.base import SourceFailure
from tests.integration.pkcs11_source import source, value
from tests.peers.p11kit import P11Kit
from tests.peers.processes import until
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fake(tmp_path: Path) -> FakeHsm:
    return FakeHsm(tmp_path / "hsm", "alpha")


@pytest.fixture
def remote(tmp_path: Path, fake: FakeHsm) -> Iterator[P11Kit]:
    with P11Kit(tmp_path, fake.module, fake.environment) as running:
        yield running


async def test_a_server_killed_in_the_middle_of_a_call_costs_no_poll_after_it(
    tmp_path: Path, fake: FakeHsm, remote: P11Kit
) -> None:
    keys = {"tokens": ["alpha"], "timeout": "10s"}
    async with source(tmp_path, remote.module, environment=remote.environment, **keys) as hsm:
        await hsm.poll()
        fake.fault("C_GetTokenInfo", token="alpha", hang_ms=5000)
        list(fake.calls())
        polling = asyncio.create_task(hsm.poll())
        await until(lambda: "C_GetTokenInfo" in fake.calls())
        fake.mend()
        remote.signal_remotes(signal.SIGKILL)
        began = time.monotonic()
        poll = await polling
        took = time.monotonic() - began
        after = await hsm.poll()

    assert took < 3
    assert value(poll, "alpha", "token_present") == 1
    assert "fresh worker" in poll.errors[0]
    assert value(after, "alpha", "token_present") == 1
    assert not after.errors


async def test_a_stopped_server_fails_the_source_in_time_and_recovers(tmp_path: Path, remote: P11Kit) -> None:
    keys = {"tokens": ["alpha"], "timeout": "1500ms"}
    async with source(tmp_path, remote.module, environment=remote.environment, **keys) as hsm:
        await hsm.poll()
        remote.signal_remotes(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(SourceFailure, match="did not return within"):
            await hsm.poll()
        took = time.monotonic() - began
        poll = await hsm.poll()

    assert took < 2.5
    assert value(poll, "alpha", "token_present") == 1


async def test_a_server_that_is_gone_is_a_missing_token_not_an_empty_hsm(tmp_path: Path, remote: P11Kit) -> None:
    async with source(tmp_path, remote.module, environment=remote.environment) as hsm:
        await hsm.poll()
        remote.stop()
        gone = await hsm.poll()  # the client module then shows no slots, and no error
        remote.start()
        await hsm.close()
        back = await hsm.poll()

    assert value(gone, "alpha", "token_present") == 0
    assert value(back, "alpha", "token_present") == 1
