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
from hsm_agent.collect.pkcs11.fetch import Fetcher, ModuleLaunch, PollRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from hsm_agent.collect.pkcs11.recording import Result
    from hsm_agent.collect.pkcs11.token import TokenKey

FAKE = str(Path(__file__).resolve().parents[2] / "fakes" / "pkcs11_worker.py")
LOADED = {"functions": [], "ulong": 8, "info": "", "calls": [["C_Initialize", 0, 100]]}


def _fine(name: str) -> list[str]:
    return ["slot", name]


def _failed(value: int) -> dict[str, Any]:
    return {"calls": [["C_GetSlotInfo", 0, 1], ["C_GetTokenInfo", value, 2]], "payload": ["slot", None]}


def _key(name: str) -> TokenKey:
    return (name, "", -1)


def _find(results: Iterable[Result]) -> dict[TokenKey, int]:
    return {_key(result.payload[1]): result.slot for result in results if result.payload[1] is not None}


def _request(*steps: str, sweep: bool = True, store: str = "", **known: int) -> PollRequest:
    """Those steps of every token that is found; `known` are the last sweep's tokens."""
    return PollRequest(
        sweep=sweep,
        find=_find,
        steps=lambda tokens: [(step, token) for step in steps for token in tokens],
        known={_key(name): slot for name, slot in known.items()},
        store=store,
    )


@contextlib.asynccontextmanager
async def _fetcher(marks: Path, **script: Any) -> AsyncIterator[Fetcher]:
    slots = [int(name.split("/")[1]) for name in script if name.startswith("token/")]
    whole = {"load": LOADED, "slots": {"slots": slots, "calls": [["C_GetSlotList", 0, 3]]}, **script}
    environment = {"FAKE_WORKER": json.dumps(whole), "FAKE_MARKS": str(marks)}
    command = (sys.executable, "-S", FAKE)
    fetcher = Fetcher(ModuleLaunch(source="x", module="/m.so", environment=environment, command=command))
    try:
        yield fetcher
    finally:
        await fetcher.close()


def _deadline(seconds: float = 1.5) -> float:
    return asyncio.get_running_loop().time() + seconds


async def _read(fetcher: Fetcher, request: PollRequest, seconds: float = 1.5) -> dict[str, Any]:
    return (await fetcher.read(request, _deadline(seconds))).to_json()


def _answered(raw: dict[str, Any]) -> list[tuple[str, int]]:
    return [(result[0], result[1]) for result in raw["results"]]


async def test_a_sweep_brings_all_slots_and_counts_the_calls(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": _fine("a"), "token/2": _fine("b")}) as fetcher:
        fetched = await fetcher.read(_request(), _deadline())
        raw = fetched.to_json()

    assert _answered(raw) == [("token", 1), ("token", 2)]
    assert fetched.calls == {"C_Initialize": 1, "C_GetSlotList": 1, "call": 2}
    assert fetched.slowest_microseconds == 100
    assert (raw["module"], raw["slots"], raw["failed"], raw["process"]) == ("/m.so", [1, 2], [], 1)


async def test_a_slot_that_hangs_costs_itself_and_is_asked_last_next_time(tmp_path: Path) -> None:
    script = {"token/1": "hang", "token/2": _fine("b"), "token/3": _fine("c"), "alive/2": [0], "alive/3": [0]}
    async with _fetcher(tmp_path, **script) as fetcher:
        first = await _read(fetcher, _request("alive"))
        again = await _read(fetcher, _request("alive"))
        suspected = fetcher.has_hung("token")

    for raw in (first, again):
        assert _answered(raw) == [("token", 2), ("token", 3), ("alive", 2), ("alive", 3)]
        ((step, slot, reason),) = raw["failed"]
        assert (step, slot) == ("token", 1)
        assert reason.startswith("call of token on slot 1 did not return within")
    assert first["process"] < again["process"]
    assert suspected


async def test_a_crash_takes_only_its_own_step_and_a_suspect_that_is_well_again_is_none(tmp_path: Path) -> None:
    script = {"token/1": _fine("a"), "token/2": _fine("b"), "audit/1": "die", "audit/2": [7]}
    async with _fetcher(tmp_path, **script, **{"alive/1": {"once": "die", "then": [0]}, "alive/2": [0]}) as fetcher:
        raw = await _read(fetcher, _request("audit", "alive"))
        before = fetcher.has_hung("alive")
        await _read(fetcher, _request("alive"))
        after = fetcher.has_hung("alive")

    assert sorted(_answered(raw)) == [("alive", 2), ("audit", 2), ("token", 1), ("token", 2)]
    assert sorted((step, slot) for step, slot, _ in raw["failed"]) == [("alive", 1), ("audit", 1)]
    assert "killed by SIGKILL in call of audit on slot 1" in {step: why for step, _, why in raw["failed"]}["audit"]
    assert (before, after) == (True, False)


async def test_a_slot_that_crashed_is_tried_once_more_in_the_next_process(tmp_path: Path) -> None:
    script = {"token/1": _fine("a"), "token/2": {"once": "die", "then": _fine("b")}}
    async with _fetcher(tmp_path, **script) as fetcher:
        raw = await _read(fetcher, _request())

    assert sorted(_answered(raw)) == [("token", 1), ("token", 2)]
    assert raw["failed"] == []


async def test_a_slot_that_crashes_for_ever_costs_two_processes_then_one(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": _fine("a"), "token/2": "die"}) as fetcher:
        first = await _read(fetcher, _request())
        second = await _read(fetcher, _request())

    # The first poll starts two, the second goes on with a third: each of them reads slot 1 once.
    assert (first["process"], second["process"]) == (2, 3)
    assert (_answered(first), _answered(second)) == ([("token", 1)], [("token", 1)])


RENUMBERED: dict[str, Any] = {
    "slots": {"once": {"slots": [1, 2], "calls": []}, "then": {"slots": [2, 3], "calls": []}},
    "token/1": _fine("a"),
    "token/2": {"once": _fine("b"), "then": _fine("a")},
    "token/3": _fine("b"),
}


async def test_what_is_left_is_asked_of_the_token_in_whatever_slot_the_next_process_has_it(tmp_path: Path) -> None:
    script = {"audit/1": [11], "audit/2": "die", "alive/1": [66], "alive/2": [10], "alive/3": [20]}
    async with _fetcher(tmp_path, **RENUMBERED, **script) as fetcher:
        raw = await _read(fetcher, _request("audit", "alive"))

    assert raw["slots"] == [2, 3]
    found = {(step, slot): payload for step, slot, _, _, payload in raw["results"]}
    assert found == {
        ("token", 2): _fine("a"), ("token", 3): _fine("b"), ("audit", 2): [11], ("alive", 2): [10], ("alive", 3): [20]
    }  # fmt: skip
    assert [(step, slot) for step, slot, _ in raw["failed"]] == [("audit", 3)]


async def test_between_sweeps_a_fresh_process_is_asked_for_its_slots_first(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **RENUMBERED, **{"audit/2": [10], "audit/3": [20]}) as fetcher:
        sweep = await _read(fetcher, _request())
        await fetcher.retire()
        audit = await _read(fetcher, _request("audit", sweep=False, a=1, b=2))
        same = await fetcher.read(_request("audit", sweep=False, a=1, b=2), _deadline())

    assert sweep["slots"] == [1, 2]
    assert audit["slots"] is None
    assert {(slot, *payload) for _, slot, _, _, payload in audit["results"]} == {(1, 10), (2, 20)}
    assert same.slots is None
    assert same.calls == {"call": 2}


async def test_between_sweeps_nobody_waits_for_a_slot_that_hung(tmp_path: Path) -> None:
    script = {"token/1": _fine("a"), "token/2": "hang", "audit/1": [1]}
    async with _fetcher(tmp_path, **script) as fetcher:
        await _read(fetcher, _request())
        began = asyncio.get_running_loop().time()
        audit = await _read(fetcher, _request("audit", sweep=False, a=1, b=2), 5)
        took = asyncio.get_running_loop().time() - began

    assert _answered(audit) == [("audit", 1)]
    assert audit["failed"] == []
    assert took < 2


async def test_an_old_worker_that_dies_has_a_successor_in_the_same_poll(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": _fine("a"), "alive/1": {"once": "exit", "then": [0]}}) as fetcher:
        await _read(fetcher, _request())
        raw = await _read(fetcher, _request("alive", sweep=False, a=1))

    assert [result[4] for result in raw["results"]] == [[0]]
    assert raw["failed"] == []
    assert "exit code 4" in raw["notes"][0]
    assert "it said: last words; a fresh worker went on" in raw["notes"][0]


@pytest.mark.parametrize("value", [0x190, 2**64 - 1, 2**32 - 1])
async def test_a_value_after_which_nothing_works_gets_a_fresh_worker(tmp_path: Path, value: int) -> None:
    async with _fetcher(
        tmp_path, **{"token/1": _fine("a"), "audit/1": {"once": _failed(value), "then": [1]}}
    ) as fetcher:
        await _read(fetcher, _request())
        before = fetcher.pids()
        raw = await _read(fetcher, _request("audit", sweep=False, a=1))

        assert [result[4] for result in raw["results"]] == [[1]]
        assert fetcher.pids() != before


async def test_all_slots_failing_in_an_old_worker_is_tried_once_more_in_a_fresh_one(tmp_path: Path) -> None:
    script = {"token/1": {"once": _fine("a"), "then": _failed(0x30)}, "token/2": ["slot", None]}
    async with _fetcher(tmp_path, **script) as fetcher:
        await _read(fetcher, _request())
        before = fetcher.pids()
        with pytest.raises(SourceFailure, match="CKR_DEVICE_ERROR"):
            await fetcher.read(_request(a=1), _deadline())

        assert before != ()
        assert fetcher.pids() == ()


@pytest.mark.parametrize("value", [0x3, 0x32, 0xE0, 0xE1])
async def test_tokens_that_are_gone_are_no_failure_of_the_module(tmp_path: Path, value: int) -> None:
    async with _fetcher(tmp_path, **{"token/1": _failed(value)}) as fetcher:
        raw = await _read(fetcher, _request())

    assert len(raw["results"]) == 1


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
@pytest.mark.parametrize("sweep", [True, False], ids=["sweep", "between sweeps"])
async def test_what_prevents_every_reading_is_a_failure_of_the_source(
    tmp_path: Path, script: dict[str, Any], text: str, *, sweep: bool
) -> None:
    async with _fetcher(tmp_path, **{"token/1": _fine("a"), **script}) as fetcher:
        with pytest.raises(SourceFailure, match=text):
            await fetcher.read(_request("audit", sweep=sweep, a=1), _deadline(0.6))
        assert fetcher.pids() == ()


async def test_a_module_that_crashes_for_ever_is_given_up_for_this_poll_and_nothing_goes_unsaid(tmp_path: Path) -> None:
    tokens = {f"token/{slot}": _fine(f"t{slot}") for slot in range(20)}
    async with _fetcher(tmp_path, **tokens, **{f"audit/{slot}": "die" for slot in range(20)}) as fetcher:
        raw = await _read(fetcher, _request("audit"), 5)

    assert len(raw["results"]) == 20
    reasons = [reason for _, _, reason in raw["failed"]]
    assert len(reasons) == 20
    assert sum(reason.startswith("the module was killed by SIGKILL") for reason in reasons) == 5
    assert sum(reason.startswith("not reached in time, because the module was killed") for reason in reasons) == 15


async def test_a_module_that_cannot_be_loaded_again_leaves_what_was_read(tmp_path: Path) -> None:
    script = {
        "load": {"once": LOADED, "then": {"stage": "C_Initialize", "rv": 5}},
        "audit/1": "die",
        "fill": {"bytes": 1},
    }
    async with _fetcher(tmp_path, **{"token/1": _fine("a"), **script}) as fetcher:
        raw = await _read(fetcher, _request("audit", "alive"))

    assert _answered(raw) == [("token", 1)]
    reasons = {step: reason for step, _, reason in raw["failed"]}
    assert "killed by SIGKILL" in reasons["audit"]
    assert "C_Initialize returned" in reasons["alive"]


async def test_a_module_that_cannot_be_loaded_again_before_anything_was_read_says_both(tmp_path: Path) -> None:
    script = {"load": {"once": LOADED, "then": {"stage": "C_Initialize", "rv": 5}}, "token/1": "die"}
    async with _fetcher(tmp_path, **script) as fetcher:
        with pytest.raises(SourceFailure, match=r"^the module was killed by SIGKILL .*; then C_Initialize returned"):
            await fetcher.read(_request(), _deadline())


async def test_an_object_store_that_hangs_is_its_own_failure(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": _fine("a"), "fill": "hang", "audit/1": [1]}) as fetcher:
        raw = await _read(fetcher, _request("audit", store="/store"), 0.9)

    assert "call of fill did not return" in raw["fill"]["error"]
    assert _answered(raw) == [("token", 1), ("audit", 1)]


async def test_a_store_that_was_not_reached_says_so(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": "hang", "fill": {"bytes": 1}}) as fetcher:
        raw = await _read(fetcher, _request(store="/store"), 0.3)

    assert raw["fill"]["error"].startswith("not reached in time, because call of token on slot 1 did not return")


async def test_answers_of_a_cancelled_poll_are_not_taken_for_the_next_one_s(tmp_path: Path) -> None:
    async with _fetcher(
        tmp_path, **{"token/1": _fine("a"), "token/2": {"once": "hang", "then": _fine("b")}}
    ) as fetcher:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await fetcher.read(_request(), _deadline(30))
        raw = await _read(fetcher, _request())

    assert _answered(raw) == [("token", 1), ("token", 2)]


async def test_retiring_ends_the_worker_and_the_next_poll_has_another(tmp_path: Path) -> None:
    async with _fetcher(tmp_path, **{"token/1": _fine("a")}) as fetcher:
        await _read(fetcher, _request())
        before = fetcher.pids()
        await fetcher.retire()
        assert fetcher.pids() == ()
        assert fetcher.age_seconds(_deadline()) == 0.0
        await _read(fetcher, _request())

        assert fetcher.pids() not in {(), before}


async def test_what_is_not_there_any_more_is_no_suspect(tmp_path: Path) -> None:
    listed = {"once": {"slots": [1, 2], "calls": []}, "then": {"slots": [1], "calls": []}}
    script = {"slots": listed, "token/1": _fine("a"), "token/2": "die", "audit/1": {"once": "die", "then": [1]}}
    async with _fetcher(tmp_path, **script) as fetcher:
        await fetcher.read(_request("audit"), _deadline())
        crashed = [fetcher.has_hung(step) for step in ("token", "audit")]
        await fetcher.read(_request("audit", a=1), _deadline())
        here = [fetcher.has_hung(step) for step in ("token", "audit")]

    assert crashed == [False, True]
    assert here == [False, False]


async def test_a_token_that_went_takes_its_suspicion_along(tmp_path: Path) -> None:
    script = {"token/1": _fine("a"), "token/2": {"once": _fine("b"), "then": ["slot", None]}, "audit/2": "die"}
    async with _fetcher(tmp_path, **script, **{"audit/1": [1]}) as fetcher:
        await fetcher.read(_request("audit"), _deadline())
        crashed = fetcher.has_hung("audit")
        await fetcher.read(_request("audit"), _deadline())

        assert crashed
        assert not fetcher.has_hung("audit")
