"""Named tasks with one owner."""

from __future__ import annotations

import asyncio

import pytest

from hsm_agent.agent import tasks as crews
from hsm_agent.agent.tasks import Crew


async def _forever(ended: list[str], name: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(name)


async def test_a_task_is_stopped_by_its_name_and_has_cleaned_up_then() -> None:
    ended: list[str] = []
    async with Crew() as crew:
        crew.start("a", _forever(ended, "a"))
        crew.start("b", _forever(ended, "b"))
        await asyncio.sleep(0)
        await crew.stop(["a", "never started"], within=1.0)
        assert ended == ["a"]
        crew.start("a", _forever(ended, "a again"))
        await asyncio.sleep(0)

    assert sorted(ended) == ["a", "a again", "b"]


async def test_two_tasks_cannot_have_one_name() -> None:
    ended: list[str] = []
    async with Crew() as crew:
        crew.start("a", _forever(ended, "a"))
        with pytest.raises(ValueError, match="a task called a is running"):
            crew.start("a", _forever(ended, "b"))


async def test_an_error_in_one_task_ends_the_crew() -> None:
    async def fail() -> None:
        raise RuntimeError("a bug")

    ended: list[str] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with Crew() as crew:
            crew.start("a", _forever(ended, "a"))
            await asyncio.sleep(0)
            crew.start("b", fail())
            await asyncio.Event().wait()

    assert [str(error) for error in caught.value.exceptions] == ["a bug"]
    assert ended == ["a"]


async def test_a_slow_goodbye_keeps_no_name_and_is_cut_short_at_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crews, "LAST_SECONDS", 0.01)
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await _forever(ended, "slow")

    async with Crew() as crew:
        crew.start("a", linger())
        await asyncio.sleep(0)
        await crew.stop(["a"], within=0.01)
        assert "a has not ended within 0.01 s" in caplog.text
        crew.start("a", _forever(ended, "new"))
        await asyncio.sleep(0)
        await crew.stop(["a"], within=1.0)
        assert ended == ["new"]

    assert ended == ["new", "slow"]
