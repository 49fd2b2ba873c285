"""A command source over a real ssh and sshd: the appliance's shell behind a forced command, and what ssh refuses."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.command.source import CommandCollector, CommandSettings
from tests.peers.appliance import SAMPLES
from tests.peers.rights import needs_private_mounts
from tests.peers.sshd import Sshd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hsm_agent.collect.base import Poll

pytestmark = needs_private_mounts

HSM_SHOW = f"cat {SAMPLES / 'hsm_show.txt'}"


async def poll(sshd: Sshd, command: list[str], *, timeout: str = "10s") -> Poll:
    settings = CommandSettings.model_validate(
        {
            "name": "luna",
            "kind": "command",
            "timeout": timeout,
            "environment": sshd.environment,
            "runs": [{"command": command, "parser": "lunash-hsm-show"}],
        }
    )
    collector = CommandCollector(settings)
    try:
        return await collector.poll()
    finally:
        await collector.close()


@contextlib.asynccontextmanager
async def shell(folder: Path, forced: str = HSM_SHOW) -> AsyncIterator[Sshd]:
    async with Sshd(folder, forced) as sshd:
        yield sshd


async def test_hsm_show_is_read_over_ssh(tmp_path: Path) -> None:
    async with shell(tmp_path) as sshd:
        found = await poll(sshd, sshd.command("hsm", "show"))

    values = {reading.metric: reading.value for reading in found.readings}
    assert values["hsm_storage_total_bytes"] == 33554432
    assert values["hsm_tampered"] == 0
    assert found.errors == ()


async def test_a_host_whose_key_is_not_known_is_not_talked_to(tmp_path: Path) -> None:
    nobody = tmp_path / "nobody"
    nobody.touch()
    async with shell(tmp_path) as sshd:
        with pytest.raises(SourceFailure, match=r"Host key verification failed"):
            await poll(sshd, sshd.command("hsm", "show", known_hosts=nobody))

    assert nobody.read_text(encoding="ascii") == ""


async def test_a_key_that_is_not_let_in_says_so(tmp_path: Path) -> None:
    async with shell(tmp_path) as sshd:
        with pytest.raises(SourceFailure, match=r"exit status 255.*Permission denied"):
            await poll(sshd, sshd.command("hsm", "show", key="stranger"))


async def test_a_shell_that_hangs_is_left_in_time(tmp_path: Path) -> None:
    async with shell(tmp_path, "sleep 60") as sshd:
        with pytest.raises(SourceFailure, match="did not end within"):
            await poll(sshd, sshd.command("hsm", "show"), timeout="2s")
