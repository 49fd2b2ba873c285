"""A worker that follows a script; what is read through it is in test_fetch.py."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.pkcs11.fetch import Fetcher, ModuleLaunch, PollRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FAKE = str(Path(__file__).resolve().parents[2] / "fakes" / "pkcs11_worker.py")
LOADED: dict[str, Any] = {"functions": ["CA_LogGetStatus"], "ulong": 8, "info": "", "calls": []}


def _holder(load: dict[str, Any]) -> Fetcher:
    environment = {"FAKE_WORKER": json.dumps({"load": load, "slots": {"slots": [], "calls": []}})}
    command = (sys.executable, "-S", FAKE)
    return Fetcher(ModuleLaunch(source="x", module="/m.so", environment=environment, command=command))


def _ignore(calls: object) -> None:
    del calls


@pytest.fixture
async def holder() -> AsyncIterator[Fetcher]:
    made = _holder(LOADED)
    yield made
    await made.close()


def _deadline() -> float:
    return asyncio.get_running_loop().time() + 5


async def test_each_worker_is_a_process_of_its_own_number(holder: Fetcher) -> None:
    first = await holder.ready(_ignore, _deadline())
    same = await holder.ready(_ignore, _deadline())
    await holder.discard()
    between = holder.pids()
    second = await holder.ready(_ignore, _deadline())

    assert first is same
    assert first is not second
    assert holder.process == 2
    assert between == ()
    assert holder.pids() == (second.pid,)
    assert holder.luna


async def test_a_worker_is_fresh_in_the_poll_that_started_it(holder: Fetcher) -> None:
    request = PollRequest(sweep=True, find=lambda _: {}, steps=lambda _: ())
    await holder.read(request, _deadline())
    first = holder.is_fresh
    await holder.read(request, _deadline())

    assert first
    assert not holder.is_fresh
    assert holder.age_seconds(_deadline()) > 0


async def test_a_worker_that_owes_an_answer_is_replaced(holder: Fetcher) -> None:
    first = await holder.ready(_ignore, _deadline())
    pid = first.pid
    first.send({"do": "slots"})
    second = await holder.ready(_ignore, _deadline())

    assert first.gone
    assert second.pid != pid


async def test_a_module_that_cannot_be_loaded_leaves_no_worker() -> None:
    holder = _holder({"stage": "C_Initialize", "rv": 0x30, "functions": []})

    with pytest.raises(SourceFailure, match="C_Initialize returned CKR_DEVICE_ERROR"):
        await holder.ready(_ignore, _deadline())
    assert holder.pids() == ()


async def test_retiring_leaves_room_for_another(holder: Fetcher) -> None:
    await holder.ready(_ignore, _deadline())
    await holder.retire()

    assert holder.pids() == ()
    assert holder.age_seconds(_deadline()) == 0.0
