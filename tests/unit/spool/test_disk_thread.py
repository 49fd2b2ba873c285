"""The disk's thread: order, group commit, refusal until recovered."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from hsm_agent.spool.disk import DiskTrouble, Loaded
from hsm_agent.spool.disk_thread import DiskThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hsm_agent.spool.changes import Changes


def _entry(seq: int, size: int = 10) -> Changes:
    return {("entry", (seq,)): (b"x" * size,)}


class _Rig:
    def __init__(self, directory: Path) -> None:
        self.thread = DiskThread(directory, asyncio.get_running_loop())

    async def open(self) -> Loaded:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.thread.open(answer.set_result)
        loaded = await answer
        assert isinstance(loaded, Loaded)
        return loaded

    def write(self, changes: Changes) -> asyncio.Future[str]:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.thread.write(changes, durable=True, done=lambda trouble, _: answer.set_result(trouble))
        return answer

    async def recover(self, changes: Changes) -> tuple[str, Changes, bool]:
        answer: asyncio.Future[tuple[str, Changes, bool]] = asyncio.get_running_loop().create_future()

        def done(trouble: str, left: Changes, is_open: bool) -> None:
            answer.set_result((trouble, left, is_open))

        self.thread.recover(changes, done=done)
        return await answer

    async def states(self, prefix: str) -> dict[str, str] | DiskTrouble:
        answer: asyncio.Future[dict[str, str] | DiskTrouble] = asyncio.get_running_loop().create_future()
        self.thread.states(prefix, answer.set_result)
        return await answer

    async def stop(self) -> None:
        stopped = asyncio.Event()
        self.thread.stop(stopped.set)
        await stopped.wait()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[_Rig]:
    rig = _Rig(tmp_path / "state")
    await rig.open()
    yield rig
    await rig.stop()


async def test_questions_are_answered_in_order(rig: _Rig) -> None:
    order: list[int] = []
    futures = []
    for number in range(20):
        future = rig.write({("state", (f"k{number}",)): ("v",)})
        future.add_done_callback(partial(_note, order, number))
        futures.append(future)

    assert await asyncio.gather(*futures) == [""] * 20
    assert order == list(range(20))
    found = await rig.states("k1")
    assert found == dict.fromkeys(["k1", *(f"k{number}" for number in range(10, 20))], "v")


def _note(order: list[int], number: int, _: object) -> None:
    order.append(number)


async def test_of_two_writes_of_one_row_the_later_stays(rig: _Rig) -> None:
    await asyncio.gather(rig.write({("state", ("k",)): ("1",)}), rig.write({("state", ("k",)): ("2",)}))

    assert await rig.states("") == {"k": "2"}


async def test_after_a_failure_nothing_is_written_until_recovered(rig: _Rig, tmp_path: Path) -> None:
    (tmp_path / "state" / "spool.db").rename(tmp_path / "elsewhere")
    trouble = await rig.write(_entry(1))
    assert trouble == "spool.db was removed or replaced"
    assert await rig.write(_entry(2)) == trouble

    assert isinstance(await rig.states(""), DiskTrouble)
    assert await rig.recover(_entry(1)) == ("the spool's file is not open", _entry(1), False)
    assert await rig.open() == Loaded(fresh=True)
    assert await rig.recover({**_entry(1), **_entry(2)}) == ("", {}, True)
    assert await rig.write(_entry(3)) == ""

    assert set((await rig.open()).rows) == {("entry", (1,)), ("entry", (2,)), ("entry", (3,))}


async def test_the_thread_ends(tmp_path: Path) -> None:
    rig = _Rig(tmp_path / "state")
    await rig.open()

    await rig.stop()

    assert not any(thread.name == "spool" and thread.is_alive() for thread in _after_join())


def _after_join() -> list[threading.Thread]:
    for thread in threading.enumerate():
        if thread.name == "spool":
            thread.join(2.0)
    return threading.enumerate()
