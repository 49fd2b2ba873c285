"""The fetcher against a worker that follows a script: what it gets out of one that hangs, dies and lies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.pkcs11.fetch import Fetcher, Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FAKE = str(Path(__file__).resolve().parents[3] / "fakes" / "pkcs11_worker.py")
LOADED = {"functions": [], "ulong": 8, "info": "", "calls": [["C_Initialize", 0, 100]]}
FINE = ["slot", "token"]


def _failed(value: int) -> dict[str, Any]:
    return {"calls": [["C_GetSlotInfo", 0, 1], ["C_GetTokenInfo", value, 2]], "payload": ["slot", None]}


@contextlib.asynccontextmanager
async def _fetcher(marks: Path, **script: Any) -> AsyncIterator[Fetcher]:
    slots = [int(name.split("/")[1]) for name in script if name.startswith("token/")]
    whole = {"load": LOADED, "slots": {"slots": slots, "calls": [["C_GetSlotList", 0, 3]]}, **script}
    environment = {"FAKE_WORKER": json.dumps(whole), "FAKE_MARKS": str(marks)}
    command = (sys.executable, "-S", FAKE)
    origin = Origin(source="x", module="/m.so", reserved=None, environment=environment, luna=True, command=command)
    fetcher = Fetcher(origin)
    try:
        yield fetcher
    finally:
        await fetcher.close()


def _deadline(seconds: float = 1.5) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_sweep_brings_all_slots_and_counts_the_calls(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": FINE, "token/2": FINE}) as fetcher:
        fetched = fetcher.begin()
        await fetcher.sweep(fetched, _deadline())
        raw = fetcher.raw(fetched)

    assert [(result[0], result[1]) for result in fetched.results] == [("token", 1), ("token", 2)]
    assert fetched.calls == {"C_Initialize": 1, "C_GetSlotList": 1, "call": 2}
    assert fetched.slowest_microseconds == 100
    assert (raw["module"], raw["slots"], raw["failed"]) == ("/m.so", [1, 2], [])


async def test_a_slot_that_hangs_costs_itself_and_is_asked_last_next_time(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": "hang", "token/2": FINE, "token/3": FINE}) as fetcher:
        fetched = fetcher.begin()
        await fetcher.sweep(fetched, _deadline())
        again = fetcher.begin()
        await fetcher.sweep(again, _deadline())

        assert [result[1] for result in fetched.results] == [2, 3]
        assert [(step, slot) for step, slot, _ in fetched.failed] == [("token", 1)]
        assert fetched.failed[0][2].startswith("call of token on slot 1 did not return within")
        assert [result[1] for result in again.results] == [2, 3]
        assert again.failed == []
        assert fetcher.late(again) == [1]
        assert fetcher.suspects("token")


async def test_a_crash_takes_only_its_own_step_and_a_suspect_that_is_well_again_is_none(tmp_path: Path) -> None:
    script = {"token/1": FINE, "token/2": {"once": "die", "then": FINE}, "token/3": FINE}
    async with _fetcher(tmp_path, **script) as fetcher:
        fetched = fetcher.begin()
        await fetcher.sweep(fetched, _deadline())
        assert sorted(result[1] for result in fetched.results) == [1, 3]
        assert "killed by SIGKILL in call of token on slot 2" in fetched.failed[0][2]

        more = fetcher.begin()
        await fetcher.steps(more, [("token", 2)], _deadline())
        assert not fetcher.suspects("token")


async def test_an_old_worker_that_dies_has_a_successor_in_the_same_poll(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": FINE, "alive/1": {"once": "exit", "then": [0]}}) as fetcher:
        await fetcher.sweep(fetcher.begin(), _deadline())
        fetched = fetcher.begin()
        await fetcher.steps(fetched, [("alive", 1)], _deadline())

    assert [result[4] for result in fetched.results] == [[0]]
    assert fetched.failed == []
    assert "exit code 4" in fetched.notes[0]
    assert "it said: last words; a fresh worker went on" in fetched.notes[0]


@pytest.mark.parametrize("value", [0x190, 2**64 - 1, 2**32 - 1])
async def test_a_value_after_which_nothing_works_gets_a_fresh_worker(tmp_path: Path, value: int) -> None:
    async with _fetcher(tmp_path, **{"token/1": FINE, "audit/1": {"once": _failed(value), "then": [1]}}) as fetcher:
        await fetcher.sweep(fetcher.begin(), _deadline())
        before = fetcher.pids()
        fetched = fetcher.begin()
        await fetcher.steps(fetched, [("audit", 1)], _deadline())

        assert [result[4] for result in fetched.results] == [[1]]
        assert fetcher.pids() != before


async def test_all_slots_failing_in_an_old_worker_is_tried_once_more_in_a_fresh_one(tmp_path: Path) -> None:
    script = {"token/1": {"once": FINE, "then": _failed(0x30)}, "token/2": FINE}
    async with _fetcher(tmp_path, **script) as fetcher:
        first = fetcher.begin()
        await fetcher.sweep(first, _deadline())
        second = fetcher.begin()
        with pytest.raises(SourceFailure, match="CKR_DEVICE_ERROR"):
            await fetcher.sweep(second, _deadline(), tokens={1})

    assert second.restarts == 1
    assert "fresh worker" in second.notes[0]


@pytest.mark.parametrize("value", [0x3, 0x32, 0xE0, 0xE1])
async def test_tokens_that_are_gone_are_no_failure_of_the_module(tmp_path: Path, value: int) -> None:
    async with _fetcher(tmp_path, **{"token/1": _failed(value)}) as fetcher:
        fetched = fetcher.begin()
        await fetcher.sweep(fetched, _deadline())

    assert len(fetched.results) == 1


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ({"load": "hang"}, "call of load did not return within"),
        ({"load": "die"}, "killed by SIGKILL in call of load"),
        ({"load": {"stage": "dlopen", "error": "/m.so: invalid ELF header"}}, "/m.so is not a shared library"),
        ({"load": {"stage": "C_Initialize", "rv": 5}}, r"C_Initialize returned CKR_GENERAL_ERROR \(0x5\)"),
        ({"slots": "hang"}, "call of slots did not return within"),
        ({"slots": {"stage": "C_GetSlotList", "rv": 5, "calls": []}}, "C_GetSlotList returned CKR_GENERAL_ERROR"),
    ],
)
async def test_what_prevents_every_reading_is_a_failure_of_the_source(
    tmp_path: Path, script: dict[str, Any], text: str
) -> None:
    async with _fetcher(tmp_path, **{"token/1": FINE, **script}) as fetcher:
        with pytest.raises(SourceFailure, match=text):
            await fetcher.sweep(fetcher.begin(), _deadline(0.6))
        assert fetcher.pids() == ()


async def test_a_module_that_crashes_for_ever_is_given_up_for_this_poll(tmp_path: Path) -> None:
    steps = [("audit", slot) for slot in range(20)]
    script = {"token/1": FINE, **{f"audit/{slot}": "die" for slot in range(20)}}
    async with _fetcher(tmp_path, **script) as fetcher:
        fetched = fetcher.begin()
        await fetcher.sweep(fetched, _deadline(5))
        await fetcher.steps(fetched, steps, _deadline(5))

    assert len(fetched.failed) == 5
    assert len(fetched.results) == 1


async def test_a_module_that_cannot_be_loaded_again_leaves_what_was_read(tmp_path: Path) -> None:
    script = {"load": {"once": LOADED, "then": {"stage": "C_Initialize", "rv": 5}}, "token/1": FINE, "audit/1": "die"}
    async with _fetcher(tmp_path, **script) as fetcher:
        fetched = fetcher.begin()
        await fetcher.sweep(fetched, _deadline())
        await fetcher.steps(fetched, [("audit", 1), ("alive", 1)], _deadline())

    assert [result[0] for result in fetched.results] == ["token"]
    assert "killed by SIGKILL" in fetched.failed[0][2]
    assert "C_Initialize returned" in fetched.failed[1][2]


async def test_an_object_store_that_hangs_is_its_own_failure(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": FINE, "fill": "hang"}) as fetcher:
        fetched = fetcher.begin()
        await fetcher.sweep(fetched, _deadline())
        await fetcher.fill(fetched, "/store", _deadline(0.5))

    assert fetched.fill is not None
    assert "call of fill did not return" in fetched.fill["error"]


async def test_answers_of_a_cancelled_poll_are_not_taken_for_the_next_one_s(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": FINE, "token/2": {"once": "hang", "then": FINE}}) as fetcher:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await fetcher.sweep(fetcher.begin(), _deadline(30))
        fetched = fetcher.begin()
        await fetcher.sweep(fetched, _deadline())

    assert [result[1] for result in fetched.results] == [1, 2]


async def test_retiring_ends_the_worker_and_the_next_poll_has_another(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": FINE}) as fetcher:
        await fetcher.sweep(fetcher.begin(), _deadline())
        before = fetcher.pids()
        await fetcher.retire()
        assert fetcher.pids() == ()
        assert fetcher.age(_deadline()) == 0.0
        await fetcher.sweep(fetcher.begin(), _deadline())

        assert fetcher.pids() not in {(), before}
