"""opencryptoki's soft token: sessions of other processes, PIN states, a leak and its clearing. All real."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.child_common import PKCS11_COMMAND
from tests.integration.pkcs11_source import find, source, value
from tests.peers.opencryptoki import OpenCryptoki
from tests.peers.rights import needs_private_mounts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_private_mounts


@pytest.fixture
def ock(tmp_path: Path) -> Iterator[OpenCryptoki]:
    with OpenCryptoki(tmp_path / "ock") as running:
        yield running


async def test_sessions_of_other_processes_cross_a_limit_and_clear(tmp_path: Path, ock: OpenCryptoki) -> None:
    command = ock.command(PKCS11_COMMAND)
    keys = {"sessions_max": {"ock": 40}}
    async with source(tmp_path, ock.module, environment={}, command=command, **keys) as hsm:
        before = await hsm.poll()
        with ock.user() as user:
            user.open_sessions(36)
            full = await hsm.poll()
            user.close_sessions(30)
            cleared = await hsm.poll()

    shares = [value(poll, "ock", "token_sessions_used_percent") for poll in (before, full, cleared)]
    assert shares == [0, 90, 15]


async def test_without_a_configured_limit_there_is_a_count_but_no_percentage(tmp_path: Path, ock: OpenCryptoki) -> None:
    async with source(tmp_path, ock.module, environment={}, command=ock.command(PKCS11_COMMAND)) as hsm:
        with ock.user() as user:
            user.open_sessions(5)
            poll = await hsm.poll()

    assert value(poll, "ock", "token_sessions") == 5
    assert find(poll, "ock", "token_sessions_max").value is None
    # Up to 3.8 the module reports a maximum that means "unknown", from 3.23 on one that means "none".
    reasons = {"the module reports no limit", "the token has no limit"}
    assert find(poll, "ock", "token_sessions_used_percent").reason in reasons
    # Likewise a time of day alone, and a whole date.
    clock = find(poll, "ock", "token_clock_offset_seconds")
    assert clock.reason == "the module's utcTime is malformed" if clock.value is None else abs(clock.value) < 60


async def test_sessions_of_a_killed_process_are_seen_to_go(tmp_path: Path, ock: OpenCryptoki) -> None:
    async with source(tmp_path, ock.module, environment={}, command=ock.command(PKCS11_COMMAND)) as hsm:
        user = ock.user()
        user.open_sessions(20)
        leaking = await hsm.poll()
        user.kill()
        poll = leaking
        for _ in range(100):
            await asyncio.sleep(0.1)  # its daemon looks for dead processes every ten seconds
            poll = await hsm.poll()
            if value(poll, "ock", "token_sessions") == 0:
                break

    assert value(leaking, "ock", "token_sessions") == 20
    assert value(poll, "ock", "token_sessions") == 0


async def test_pin_states_from_first_mistake_to_locked_and_back(tmp_path: Path, ock: OpenCryptoki) -> None:
    states = []
    async with source(tmp_path, ock.module, environment={}, command=ock.command(PKCS11_COMMAND)) as hsm:
        with ock.user() as user:
            for act in (None, user.mistype_pin, user.mistype_pin, user.mistype_pin, ock.unlock_pin):
                if act is not None:
                    act()
                poll = await hsm.poll()
                names = ("token_pin_state", "token_pin_count_low", "token_pin_final_try", "token_pin_locked")
                states.append([value(poll, "ock", name) for name in names])

    assert [state[0] for state in states] == [0, 1, 2, 3, 0]
    assert states[1][1:] == [1, 0, 0]
    assert states[3][3] == 1
    assert states[4] == [0, 0, 0, 0]


async def test_liveness_leaves_no_session_behind(tmp_path: Path, ock: OpenCryptoki) -> None:
    keys = {"liveness_every": "50ms", "objects_every": "50ms"}
    async with source(tmp_path, ock.module, environment={}, command=ock.command(PKCS11_COMMAND), **keys) as hsm:
        first = await hsm.poll()
        second = await hsm.poll()

    assert value(first, "ock", "token_alive") == value(second, "ock", "token_alive") == 1
    assert value(second, "ock", "token_sessions") == 0
