"""The canary on opencryptoki's soft token, which locks its PIN after three mistakes: it makes one, whatever happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.child_common import CANARY_COMMAND, PKCS11_COMMAND
from tests.integration.canary_source import canary, said, settings
from tests.integration.pkcs11_source import source, value
from tests.peers import signing_key
from tests.peers.opencryptoki import PIN, OpenCryptoki
from tests.peers.rights import needs_private_mounts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_private_mounts


@pytest.fixture
def ock(tmp_path: Path) -> Iterator[OpenCryptoki]:
    with OpenCryptoki(tmp_path / "ock") as running:
        signing_key.make(running.module, "ock", PIN, kind="rsa", prefix=running.enter)
        yield running


async def pin_state(tmp_path: Path, ock: OpenCryptoki) -> float | None:
    """0 well, 1 count low, 2 final try, 3 locked: as another process reads it."""
    async with source(tmp_path / "reader", ock.module, environment={}, command=ock.command(PKCS11_COMMAND)) as reader:
        return value(await reader.poll(), "ock", "token_pin_state")


async def test_a_wrong_pin_costs_the_token_one_try_over_many_restarts(tmp_path: Path, ock: OpenCryptoki) -> None:
    (tmp_path / "reader").mkdir()
    wrong = await asyncio.to_thread(settings, tmp_path, ock.module, "7654321", token="ock", mechanism="RSA-PKCS")
    answers = []
    for _ in range(5):
        async with canary(tmp_path, wrong, command=ock.command(CANARY_COMMAND)) as signer:
            answers += [said(await signer.poll()), said(await signer.poll())]

    assert {ok for ok, _ in answers} == {0}
    assert answers[0][1].startswith("C_Login returned CKR_PIN_INCORRECT")
    assert await pin_state(tmp_path, ock) == 1


async def test_a_good_pin_signs_and_clears_the_count_until_one_try_is_left(tmp_path: Path, ock: OpenCryptoki) -> None:
    (tmp_path / "reader").mkdir()
    right = await asyncio.to_thread(settings, tmp_path, ock.module, PIN, token="ock", mechanism="RSA-PKCS")
    async with canary(tmp_path, right, command=ock.command(CANARY_COMMAND)) as signer:
        well = said(await signer.poll())
        with ock.user() as user:
            await asyncio.to_thread(user.mistype_pin)
            once = said(await signer.poll())
            cleared = await pin_state(tmp_path, ock)
            for _ in range(2):
                await asyncio.to_thread(user.mistype_pin)
            last = said(await signer.poll())
            before = await pin_state(tmp_path, ock)
            await asyncio.to_thread(user.mistype_pin)
            locked = said(await signer.poll())
            await asyncio.to_thread(ock.unlock_pin)
            back = said(await signer.poll())

    assert (well, once, back) == ((1, ""), (1, ""), (1, ""))
    assert (cleared, before) == (0, 2)
    assert last[0] is None
    assert "one try of the PIN is left" in last[1]
    assert locked[0] == 0
    assert "the PIN is locked" in locked[1]
