"""Changes on their way to a disk that answers, refuses, hangs and comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hsm_agent.spool.disk import StoredSpool
from hsm_agent.spool.writer import Writer
from tests.fakes.disk_thread import ScriptedThread, turns

if TYPE_CHECKING:
    import pytest

    from hsm_agent.spool.tables import RowChanges, StoredRows, TableName


def _state(value: str | None, key: str = "k", table: TableName = "state") -> RowChanges:
    return {(table, (key,)): None if value is None else (value,)}


class _Rig:
    def __init__(self, *, patience_seconds: float = 60.0, should_be: StoredRows | None = None) -> None:
        self.thread = ScriptedThread()
        self.disk = self.thread.disk
        self.released: list[int] = []
        self.writer = Writer(
            self.thread,
            patience_seconds=patience_seconds,
            retry_seconds=0.0,
            reconcile=lambda _: iter(should_be.items()) if should_be else None,
            release=self.released.append,
        )

    def begin(self, changes: RowChanges, upto: int = 0, *, durable: bool = True) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.writer.save(changes, durable=durable, upto=upto))

    async def refused(self, changes: RowChanges, reason: str = "disk full", *, is_open: bool = True) -> None:
        """A writer whose first changes the disk did not take."""
        saving = self.begin(changes)
        await self.thread.answer(reason, is_open=is_open)
        await saving


async def test_nothing_is_released_before_it_is_durable() -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"), upto=7)
    await turns()
    assert (saving.done(), rig.released) == (False, [])

    await rig.thread.answer()
    await saving

    assert (rig.released, rig.writer.reason, rig.disk.asked) == ([7], "", ["apply durably"])


async def test_what_queues_up_behind_a_write_is_written_together_the_newest_value_of_each_row() -> None:
    rig = _Rig()
    first = rig.begin(_state("0"))
    await turns()
    later = [rig.begin(_state("1"), upto=1, durable=False), rig.begin(_state("2"), upto=2)]
    await turns()

    await rig.thread.answer()
    assert first.done()
    await rig.thread.answer()
    await asyncio.gather(*later)

    assert (rig.released, rig.disk.rows) == ([0, 1, 2], _state("2"))
    assert rig.disk.asked == ["apply durably", "apply durably"]


async def test_acknowledgements_alone_are_not_flushed() -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"), durable=False)

    await rig.thread.answer()
    await saving

    assert rig.disk.asked == ["apply"]


async def test_a_refusal_releases_at_once_and_is_retried_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"), upto=7)

    await rig.thread.answer("disk full")
    await saving
    assert (rig.released, rig.writer.reason) == ([7], "disk full")

    await rig.writer.save(_state("2", "l"), durable=True, upto=8)
    assert rig.released[-1] == 8
    await rig.thread.recover("still full")
    assert rig.writer.reason == "still full"
    await rig.thread.recover()

    assert rig.writer.reason == ""
    assert rig.disk.rows == {**_state("1"), **_state("2", "l")}
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_the_newest_value_wins_whatever_fails_on_the_way() -> None:
    rig = _Rig()
    first, second = rig.begin(_state("1")), rig.begin(_state("2"))
    await rig.thread.answer("disk full")
    await asyncio.gather(first, second)

    await rig.thread.answer()  # room for 2
    await rig.writer.save(_state("3"), durable=True, upto=0)
    assert rig.writer.unsaved_states == {"k": "3"}
    await rig.thread.answer()  # 2 is written: 3 came while that was on its way
    assert (rig.disk.rows, rig.writer.unsaved_states) == (_state("2"), {"k": "3"})
    await rig.thread.answer()

    assert (rig.disk.rows, rig.writer.unsaved_states) == (_state("3"), {})


async def test_what_failed_again_does_not_overwrite_what_came_meanwhile() -> None:
    rig = _Rig()
    await rig.refused(_state("1"))
    await rig.thread.answer()  # room for 1
    await rig.writer.save(_state("2"), durable=True, upto=0)

    await rig.thread.answer("still full")  # of 1
    await rig.thread.recover()

    assert rig.disk.rows == _state("2")


async def test_erasures_are_written_although_there_is_no_room_for_more() -> None:
    rig = _Rig()
    await rig.refused({**_state(None), **_state("1", "l")})

    await rig.thread.recover("no room for more")

    assert (rig.disk.rows, rig.writer.unsaved_states) == (_state(None), {"l": "1"})


async def test_a_silent_disk_holds_nothing_up_for_long() -> None:
    rig = _Rig(patience_seconds=0.01)

    await rig.begin(_state("1"), upto=7)

    assert rig.writer.reason == "the disk has not answered for 0.01 s"
    assert rig.released == [7]
    await rig.thread.answer()  # the late answer to what is written once more
    await rig.thread.recover()
    assert (rig.writer.reason, rig.disk.rows) == ("", _state("1"))


async def test_a_file_that_is_lost_is_opened_anew_and_made_whole() -> None:
    rows: StoredRows = {("tally", ("dropped",)): (4,), ("sink", ("noc",)): ("", 0, 0)}
    rig = _Rig(should_be=rows)
    await rig.refused(_state("1"), "disk I/O error", is_open=False)

    await rig.thread.answer("unable to open", is_open=False)
    assert rig.writer.reason == "unable to open"
    stored = StoredSpool(rows={("tally", ("dropped",)): (3,), ("run", ("noc", "a")): (1, 0)})
    await rig.thread.answer(stored=stored)
    await rig.thread.recover()

    assert rig.disk.rows == {**rows, **_state("1"), ("run", ("noc", "a")): None}


async def test_a_file_that_is_as_it_was_left_gets_what_is_missing_alone() -> None:
    rig = _Rig()
    await rig.refused(_state("1"), "disk I/O error", is_open=False)

    await rig.thread.answer(stored=StoredSpool(rows={("run", ("noc", "a")): (1, 0)}, same=True))
    await rig.thread.recover()

    assert rig.disk.rows == _state("1")


async def test_a_fresh_file_gets_everything_and_the_states_of_the_damaged_one() -> None:
    rows: StoredRows = {("entry", (seq,)): (b"{}",) for seq in range(5000)}
    rig = _Rig(should_be=rows)
    await rig.refused({("entry", (7,)): None}, "malformed", is_open=False)

    damaged: StoredRows = {("state", ("alarm",)): ("raised",), ("sink", ("gone",)): ("", 0, 0)}
    await rig.thread.answer(stored=StoredSpool(rows=damaged, damage="malformed", fresh=True))
    await rig.thread.recover()

    written = {key: row for key, row in rig.disk.rows.items() if row is not None}
    assert written == {key: row for key, row in rows.items() if key[1] != (7,)} | {("state", ("alarm",)): ("raised",)}


async def test_a_file_whose_opening_took_too_long_is_opened_again_so_that_its_rows_are_not_missed() -> None:
    rig = _Rig()
    rig.writer.fail("the disk has not answered for 5 s", must_open=True)

    await rig.thread.answer("still locked", is_open=True)  # as it is once the late opening has come back
    await rig.thread.answer(stored=StoredSpool())
    await rig.thread.recover()

    assert rig.disk.asked == ["open", "open", "require room", "apply durably"]
    assert rig.writer.reason == ""


async def test_giving_up_waiting_does_not_take_it_back() -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"), upto=7)
    await turns()

    saving.cancel()
    await turns()
    await rig.thread.answer()

    assert (rig.released, rig.disk.rows) == ([7], _state("1"))


async def test_closing_says_what_is_unsaved() -> None:
    rig = _Rig()
    assert await rig.writer.close(0.01) == {}
    await rig.refused({**_state("1"), **_state("2", "l")})

    assert await rig.writer.close(0.01) == {**_state("1"), **_state("2", "l")}


async def test_closing_waits_for_what_is_on_its_way() -> None:
    rig = _Rig()
    saving = rig.begin(_state("1"))
    await turns()

    closing = asyncio.ensure_future(rig.writer.close(5))
    await rig.thread.answer()

    assert (await closing, saving.done(), rig.disk.rows) == ({}, True, _state("1"))
