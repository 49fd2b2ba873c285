"""Named tasks with one owner."""

from __future__ import annotations

import asyncio

import pytest

from hsm_agent.agent.components import TaskSupervisor


async def _forever(ended: list[str], name: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(name)


async def test_a_task_is_stopped_by_its_name_and_has_cleaned_up_then() -> None:
    ended: list[str] = []
    async with TaskSupervisor() as tasks:
        tasks.start("a", _forever(ended, "a"))
        tasks.start("b", _forever(ended, "b"))
        await asyncio.sleep(0)
        await tasks.stop(["a", "never started"], within=1.0)
        assert ended == ["a"]
        tasks.start("a", _forever(ended, "a again"))
        await asyncio.sleep(0)

    assert sorted(ended) == ["a", "a again", "b"]


async def test_two_tasks_cannot_have_one_name() -> None:
    ended: list[str] = []
    async with TaskSupervisor() as tasks:
        tasks.start("a", _forever(ended, "a"))
        with pytest.raises(ValueError, match="a task called a is running"):
            tasks.start("a", _forever(ended, "b"))


async def test_an_error_in_one_task_ends_them_all() -> None:
    async def fail() -> None:
        raise RuntimeError("a bug")

    ended: list[str] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskSupervisor() as tasks:
            tasks.start("a", _forever(ended, "a"))
            await asyncio.sleep(0)
            tasks.start("b", fail())
            await asyncio.Event().wait()

    assert [str(error) for error in caught.value.exceptions] == ["a bug"]
    assert ended == ["a"]


async def test_a_slow_clean_up_frees_its_name_and_is_cancelled_again_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await _forever(ended, "slow")

    async with TaskSupervisor(cancel_seconds=0.01) as tasks:
        tasks.start("a", linger())
        await asyncio.sleep(0)
        await tasks.stop(["a"], within=0.01)
        assert "a has not ended within 0.01 s" in caplog.text
        tasks.start("a", _forever(ended, "new"))
        await asyncio.sleep(0)
        await tasks.stop(["a"], within=1.0)
        assert ended == ["new"]

    assert ended == ["new", "slow"]
