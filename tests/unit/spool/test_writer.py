"""Changes on their way to a disk that answers, refuses, hangs and comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hsm_agent.spool.disk import DiskTrouble, Loaded
from hsm_agent.spool.writer import Saver
from tests.fakes.disk_thread import ScriptedThread

if TYPE_CHECKING:
    import pytest

    from hsm_agent.spool.changes import Changes, Rows, Table


def _state(value: str | None, key: str = "k", table: Table = "state") -> Changes:
    return {(table, (key,)): None if value is None else (value,)}


class _Rig:
    def __init__(self, *, patience_seconds: float = 60.0, should_be: Rows | None = None) -> None:
        self.thread = ScriptedThread()
        self.released: list[int] = []
        self.saver = Saver(
            self.thread,
            patience_seconds=patience_seconds,
            retry_seconds=0.0,
            take_in=lambda _: iter(should_be.items()) if should_be else None,
            release=self.released.append,
        )

    def begin(self, changes: Changes, upto: int = 0) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.saver.save(changes, durable=True, upto=upto))


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nothing_is_released_before_it_is_durable() -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"), upto=7)
    await _turns()
    assert (saving.done(), rig.released) == (False, [])

    rig.thread.answer_write()
    await saving

    assert (rig.released, rig.saver.reason) == ([7], "")


async def test_a_refusal_releases_at_once_and_is_retried_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"), upto=7)
    await _turns()

    rig.thread.answer_write("disk full")
    await saving
    assert (rig.released, rig.saver.reason) == ([7], "disk full")

    await rig.saver.save(_state("2", "l"), durable=True, upto=8)
    assert rig.released[-1] == 8
    rig.thread.answer_recovery("still full")
    await _turns()
    rig.thread.answer_recovery()
    await _turns()

    assert rig.saver.reason == ""
    assert rig.thread.rows == {**_state("1"), **_state("2", "l")}
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_the_newest_value_wins_whatever_fails_on_the_way() -> None:
    rig = _Rig()
    first, second = rig.begin(_state("1")), rig.begin(_state("2"))
    await _turns()
    rig.thread.answer_write("disk full")
    rig.thread.answer_write("disk full")
    await asyncio.gather(first, second)

    await rig.saver.save(_state("3"), durable=True, upto=0)
    assert rig.saver.unsaved_states == {"k": "3"}
    rig.thread.answer_recovery()  # of 2: 3 came while that was on its way
    assert rig.saver.unsaved_states == {"k": "3"}
    rig.thread.answer_write()

    assert rig.thread.rows == _state("3")
    assert rig.saver.unsaved_states == {}


async def test_what_failed_again_does_not_overwrite_what_came_meanwhile() -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"))
    await _turns()
    rig.thread.answer_write("disk full")
    await saving
    await rig.saver.save(_state("2"), durable=True, upto=0)

    rig.thread.answer_recovery("still full")  # of 1
    await _turns()
    rig.thread.answer_recovery()

    assert rig.thread.rows == _state("2")


async def test_erasures_that_got_through_are_not_repeated() -> None:
    rig = _Rig()
    saving = rig.begin({**_state(None), **_state("1", "l")})
    await _turns()
    rig.thread.answer_write("disk full")
    await saving

    rig.thread.answer_recovery("no room for more")
    await _turns()

    assert rig.thread.recoveries[0][0] == _state("1", "l")


async def test_a_silent_disk_holds_nothing_up_for_long() -> None:
    rig = _Rig(patience_seconds=0.01)
    saving = rig.begin(_state("1"), upto=7)

    await saving

    assert rig.saver.reason == "the disk has not answered for 0.01 s"
    assert rig.released == [7]
    rig.thread.answer_write()  # the late answer to what is written once more
    rig.thread.answer_recovery()
    assert (rig.saver.reason, rig.thread.rows) == ("", _state("1"))


async def test_a_file_that_is_lost_is_opened_anew_and_made_whole() -> None:
    rows: Rows = {("tally", ("dropped",)): (4,), ("sink", ("noc",)): ("", 0, 0)}
    rig = _Rig(should_be=rows)
    saving = rig.begin(_state("1"))
    await _turns()
    rig.thread.answer_write("disk I/O error", file_open=False)
    await saving

    rig.thread.answer_open(DiskTrouble("unable to open"))
    await _turns()
    assert rig.saver.reason == "unable to open"
    rig.thread.answer_open(Loaded(rows={("tally", ("dropped",)): (3,), ("run", ("noc", "a")): (1, 0)}))
    await _turns()
    rig.thread.answer_recovery()

    assert rig.thread.rows == {**rows, **_state("1"), ("run", ("noc", "a")): None}


async def test_a_file_that_is_as_it_was_left_gets_what_is_missing_alone() -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"))
    await _turns()
    rig.thread.answer_write("disk I/O error", file_open=False)
    await saving

    rig.thread.answer_open(Loaded(rows={("run", ("noc", "a")): (1, 0)}, same=True))
    rig.thread.answer_recovery()

    assert rig.thread.rows == _state("1")


async def test_a_fresh_file_gets_everything_and_the_states_of_the_damaged_one() -> None:
    rows: Rows = {("entry", (seq,)): (b"{}",) for seq in range(5000)}
    rig = _Rig(should_be=rows)
    saving = rig.begin({("entry", (7,)): None})
    await _turns()
    rig.thread.answer_write("malformed", file_open=False)
    await saving

    damaged: Rows = {("state", ("alarm",)): ("raised",), ("sink", ("gone",)): ("", 0, 0)}
    rig.thread.answer_open(Loaded(rows=damaged, damage="malformed", fresh=True))
    await _turns()
    rig.thread.answer_recovery()

    written = {key: row for key, row in rig.thread.rows.items() if row is not None}
    assert written == {key: row for key, row in rows.items() if key[1] != (7,)} | {("state", ("alarm",)): ("raised",)}


async def test_giving_up_waiting_does_not_take_it_back() -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"), upto=7)
    await _turns()

    saving.cancel()
    await _turns()
    rig.thread.answer_write()

    assert (rig.released, rig.thread.rows) == ([7], _state("1"))


async def test_closing_says_what_is_unsaved() -> None:
    rig = _Rig()
    assert await rig.saver.flush(0.01) == 0
    saving = rig.begin({**_state("1"), **_state("2", "l")})
    await _turns()
    rig.thread.answer_write("disk full")
    await saving

    assert await rig.saver.flush(0.01) == 2

    rig.saver.close()
    rig.thread.answer_recovery("too late to count")
    assert rig.saver.reason == "disk full"
