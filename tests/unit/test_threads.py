"""Calls that hang: each costs one thread, a bounded time, and nobody else anything."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from hsm_agent.threads import Lane, Lanes, StuckError, ThreadOf, deadline

if TYPE_CHECKING:
    from collections.abc import Callable


class Stuck:
    """A call that comes back when it is let go."""

    def __init__(self) -> None:
        self.let_go, self.begun, self.ended = threading.Event(), 0, threading.Event()

    def __call__(self) -> str:
        self.begun += 1
        self.let_go.wait(20)
        self.ended.set()
        return "late"


async def _until_free(lane: Lane) -> None:
    async with asyncio.timeout(5):
        while not lane.is_free:
            await asyncio.sleep(0)


async def test_a_call_is_answered_with_what_it_returns_or_raises() -> None:
    def fail() -> None:
        raise PermissionError(errno.EACCES, "no")

    lane = Lane("reading")

    assert await lane.call(lambda: 7, seconds=5) == 7
    with pytest.raises(PermissionError):
        await lane.call(fail, seconds=5)
    assert await lane.call(threading.current_thread, seconds=5) is not threading.current_thread()


async def test_the_time_out_of_the_call_itself_is_not_taken_for_the_lanes() -> None:
    def fail() -> None:
        raise TimeoutError(errno.ETIMEDOUT, "the server does not answer")

    with pytest.raises(TimeoutError, match="the server does not answer"):
        await Lane("reading").call(fail, seconds=5)


async def test_while_a_call_is_stuck_the_next_is_refused_at_once_and_begins_no_thread() -> None:
    lane, stuck = Lane("reading /mnt/a"), Stuck()
    with pytest.raises(StuckError, match=r"^reading /mnt/a has not come back within 0\.02 s$") as found:
        await lane.call(stuck, seconds=0.02)
    assert found.value.strerror == str(found.value)

    before, began = threading.active_count(), time.monotonic()
    for _ in range(50):
        with pytest.raises(StuckError, match=r"has not come back since 2\d{3}-\S+Z; it is not tried again meanwhile"):
            await lane.call(stuck, seconds=20)
    assert time.monotonic() - began < 10
    assert (stuck.begun, threading.active_count()) == (1, before)

    stuck.let_go.set()
    await _until_free(lane)
    assert await lane.call(lambda: "again", seconds=5) == "again"


async def test_calls_at_the_same_time_go_one_after_the_other() -> None:
    lane = Lane("reading")
    under_way: list[int] = []
    most = 0

    def work() -> None:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        under_way.pop()

    await asyncio.gather(*(lane.call(work, seconds=10) for _ in range(20)))

    assert most == 1
    assert lane.is_free


async def test_who_waits_behind_a_slow_call_waits_no_longer_than_its_own_time() -> None:
    lane, stuck = Lane("reading"), Stuck()
    first = asyncio.create_task(lane.call(stuck, seconds=20))
    await asyncio.sleep(0)

    with pytest.raises(StuckError, match=r"within 0\.02 s"):
        await lane.call(lambda: "never", seconds=0.02)

    stuck.let_go.set()
    assert await first == "late"  # it was slow, and not stuck


async def test_after_a_cancelled_call_the_next_waits_for_its_end() -> None:
    lane, stuck = Lane("writing"), Stuck()
    cancelled = asyncio.create_task(lane.call(stuck, seconds=20))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled

    following = asyncio.create_task(lane.call(stuck.ended.is_set, seconds=20))
    await asyncio.sleep(0)
    stuck.let_go.set()

    assert await following is True


async def test_a_cancelled_call_is_stuck_when_its_own_time_has_passed_and_the_next_is_refused_at_once() -> None:
    lane, stuck = Lane("reading /mnt/a"), Stuck()
    cancelled = asyncio.create_task(lane.call(stuck, seconds=0.02))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait({cancelled})

    async with asyncio.timeout(10):
        with pytest.raises(StuckError, match="it is not tried again"):  # after the rest of the first one's time
            await lane.call(lambda: "never", seconds=60)
        with pytest.raises(StuckError, match="it is not tried again"):
            await lane.call(lambda: "never", seconds=60)

    stuck.let_go.set()
    await _until_free(lane)


async def test_a_call_that_began_late_in_its_callers_time_is_not_stuck() -> None:
    lane, first, second = Lane("reading"), Stuck(), Stuck()
    slow = asyncio.create_task(lane.call(first, seconds=60))
    await asyncio.sleep(0)
    late = asyncio.create_task(lane.call(second, seconds=1))
    await asyncio.sleep(0)
    late.cancel()
    second.let_go.set()
    first.let_go.set()

    assert await slow == "late"
    assert await lane.call(lambda: "next", seconds=60) == "next"


async def test_a_host_without_threads_is_a_reason_and_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lane = Lane("reading")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StuckError, match="reading: no thread can be started for it"):
            await lane.call(lambda: 1, seconds=5)

    assert await lane.call(lambda: 1, seconds=5) == 1


def test_a_loop_ends_while_a_call_is_stuck_and_the_late_answer_harms_nobody() -> None:
    stuck = Stuck()

    async def give_up() -> None:
        with pytest.raises(StuckError):
            await Lane("reading").call(stuck, seconds=0.01)

    asyncio.run(give_up())
    stuck.let_go.set()

    assert stuck.ended.wait(5)


async def test_of_many_keys_one_that_is_stuck_holds_up_no_other_and_the_rest_are_forgotten() -> None:
    lanes, stuck = Lanes(), Stuck()
    with pytest.raises(StuckError):
        await lanes.call("/mnt/a", "reading /mnt/a", stuck, seconds=0.02)

    assert [await lanes.call(f"/b{number}", "reading", lambda: 1, seconds=5) for number in range(100)] == [1] * 100
    with pytest.raises(StuckError, match="it is not tried again"):
        await lanes.call("/mnt/a", "reading /mnt/a", stuck, seconds=5)
    assert list(lanes._lanes) == ["/mnt/a"]

    stuck.let_go.set()
    assert stuck.ended.wait(5)
    assert stuck.begun == 1


async def test_one_thread_alone_uses_a_resource_in_the_order_it_was_asked() -> None:
    thread: ThreadOf[list[int]] = ThreadOf("owner", [], tidy=lambda _: False)

    def note(number: int) -> Callable[[list[int]], int]:
        def work(noted: list[int]) -> int:
            noted.append(number)
            return threading.get_ident()

        return work

    idents = await asyncio.gather(*(thread.run(note(number)) for number in range(50)))

    assert len(set(idents)) == 1
    assert threading.get_ident() not in idents
    assert await thread.run(list) == list(range(50))
    thread.stop()


async def test_what_a_call_to_the_owner_raises_is_raised_to_its_caller_and_ends_nothing() -> None:
    thread: ThreadOf[dict[str, int]] = ThreadOf("owner", {"a": 1}, tidy=lambda _: False)

    with pytest.raises(KeyError):
        await thread.run(lambda found: found["b"])

    assert await thread.run(lambda found: found["a"]) == 1
    thread.stop()


async def test_a_call_to_the_owner_is_made_even_if_its_caller_has_gone() -> None:
    let_go, made = threading.Event(), threading.Event()
    thread: ThreadOf[None] = ThreadOf("owner", None, tidy=lambda _: False)
    first = asyncio.ensure_future(thread.run(lambda _: let_go.wait(20)))
    second = asyncio.ensure_future(thread.run(lambda _: made.set()))
    await asyncio.sleep(0)

    second.cancel()
    let_go.set()

    assert await first
    await thread.run(lambda _: None)
    assert made.is_set()
    thread.stop()


async def test_the_owner_ends_after_what_it_was_asked_before() -> None:
    thread: ThreadOf[None] = ThreadOf("owner that ends", None, tidy=lambda _: False)
    answer = asyncio.ensure_future(thread.run(lambda _: threading.current_thread()))
    await asyncio.sleep(0)

    thread.stop()

    owner = await answer
    owner.join(5)
    assert not owner.is_alive()
    assert owner.daemon


async def test_a_deadline_ends_a_clean_up_with_a_timeout_and_the_task_as_cancelled() -> None:
    outcome = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with suppress(TimeoutError):
                async with deadline(0.001):
                    await asyncio.Event().wait()
            outcome.append("cleaned up")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert outcome == ["cleaned up"]
    assert task.cancelled()


async def test_a_deadline_does_not_hide_a_cancellation() -> None:
    async def work() -> None:
        async with deadline(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
