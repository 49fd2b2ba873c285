"""A module that closes descriptors that are not its own costs nothing where the system lets us hide them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child_common import CANARY_COMMAND, PKCS11_COMMAND
from tests.integration.canary_source import canary, said, settings
from tests.integration.pkcs11_source import source, value
from tests.peers import signing_key
from tests.peers.softhsm import PIN
from tests.peers.testmodule import FakeHsm

FILTER = str(Path(__file__).resolve().parents[1] / "fakes" / "no_unshare.py")


@pytest.fixture
def fake(tmp_path: Path) -> FakeHsm:
    return FakeHsm(tmp_path / "hsm", "alpha")


@pytest.mark.parametrize("how", ["loop", "range", "all"])
@pytest.mark.parametrize("function", ["dlopen", "C_Initialize", "C_GetTokenInfo"])
async def test_a_module_that_closes_all_descriptors_is_read_all_the_same(
    tmp_path: Path, fake: FakeHsm, function: str, how: str
) -> None:
    fake.fault(function, close=how)
    async with source(tmp_path, fake.module, environment=fake.environment) as hsm:
        first = await hsm.poll()
        workers = hsm.pids()
        second = await hsm.poll()

        assert hsm.pids() == workers
    assert first.errors == second.errors == ()
    assert value(second, "alpha", "token_present") == 1


async def test_the_canary_signs_with_such_a_module(tmp_path: Path) -> None:
    fake = await asyncio.to_thread(FakeHsm, tmp_path / "hsm", "alpha")
    await asyncio.to_thread(signing_key.make, fake.softhsm.module, "alpha", PIN, environment=fake.softhsm.environment)
    wanted = await asyncio.to_thread(settings, tmp_path, fake.module, PIN, environment=fake.environment, token="alpha")
    fake.fault("C_Initialize", close="all")
    async with canary(tmp_path, wanted) as signer:
        assert said(await signer.poll()) == (1, "")


async def test_a_filter_that_knows_unshare_does_not_expose_them(tmp_path: Path, fake: FakeHsm) -> None:
    fake.fault("C_Initialize", close="range")
    command = (sys.executable, FILTER, "unshare", *PKCS11_COMMAND)
    async with source(tmp_path, fake.module, environment=fake.environment, command=command) as hsm:
        poll = await hsm.poll()

    assert poll.errors == ()
    assert value(poll, "alpha", "token_present") == 1


async def test_where_they_cannot_be_hidden_they_lie_above_what_a_loop_closes(tmp_path: Path, fake: FakeHsm) -> None:
    fake.fault("C_Initialize", close="loop")
    command = (sys.executable, FILTER, "both", *PKCS11_COMMAND)
    async with source(tmp_path, fake.module, environment=fake.environment, command=command) as hsm:
        poll = await hsm.poll()

    assert poll.errors == ()
    assert value(poll, "alpha", "token_present") == 1


async def test_where_they_cannot_be_hidden_and_are_closed_the_reason_says_so(tmp_path: Path, fake: FakeHsm) -> None:
    fake.fault("C_Initialize", close="range")
    command = (sys.executable, FILTER, "both", *PKCS11_COMMAND)
    async with source(tmp_path, fake.module, environment=fake.environment, command=command) as hsm:
        with pytest.raises(SourceFailure, match="the module closed descriptors that are not its own"):
            await hsm.poll()


async def test_the_canary_says_so_too(tmp_path: Path) -> None:
    fake = await asyncio.to_thread(FakeHsm, tmp_path / "hsm", "alpha")
    wanted = await asyncio.to_thread(settings, tmp_path, fake.module, PIN, environment=fake.environment, token="alpha")
    fake.fault("C_Initialize", close="range")
    async with canary(tmp_path, wanted, command=(sys.executable, FILTER, "both", *CANARY_COMMAND)) as signer:
        assert "the module closed descriptors that are not its own" in said(await signer.poll())[1]
