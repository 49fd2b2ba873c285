"""Row numbers: on disk before they are used, the same after a restart, never given twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hsm_agent.state.row_indexes import FILE_NAME, FIRST_PROVISIONAL, Indexes

if TYPE_CHECKING:
    from pathlib import Path

A = ("hsmToken", ("luna", "a"))
B = ("hsmToken", ("luna", "b"))
READING = ("hsmReading", ("luna", "a", "token_sessions"))


async def load(directory: Path) -> Indexes:
    """As the agent does it: on a thread, because it reads a file."""
    return await asyncio.to_thread(Indexes.load, directory)


async def test_indexes_count_up_within_their_table(tmp_path: Path) -> None:
    indexes = await load(tmp_path)

    await indexes.allocate([A, READING, B, A])

    assert [indexes.find(*wanted) for wanted in (A, B, READING)] == [1, 2, 1]


async def test_restart_keeps_every_index(tmp_path: Path) -> None:
    await (await load(tmp_path)).allocate([A])
    again = await load(tmp_path)
    await again.allocate([B, A])

    third = await load(tmp_path)

    assert [third.find(*wanted) for wanted in (A, B)] == [1, 2]


async def test_what_was_not_allocated_is_not_found(tmp_path: Path) -> None:
    assert (await load(tmp_path)).find(*A) is None


async def test_nothing_is_written_for_what_is_known(tmp_path: Path) -> None:
    indexes = await load(tmp_path)
    await indexes.allocate([A])
    before = (tmp_path / FILE_NAME).stat().st_mtime_ns

    await indexes.allocate([A])

    assert (tmp_path / FILE_NAME).stat().st_mtime_ns == before


async def test_file_is_private(tmp_path: Path) -> None:
    await (await load(tmp_path)).allocate([A])

    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


async def test_a_disk_that_refuses_gives_numbers_apart_which_are_stored_later(tmp_path: Path) -> None:
    indexes = await load(tmp_path)
    (tmp_path / FILE_NAME).mkdir()

    await indexes.allocate([A])
    given = indexes.find(*A)
    assert given is not None
    assert given >= FIRST_PROVISIONAL
    assert FILE_NAME in indexes.problem

    (tmp_path / FILE_NAME).rmdir()
    await indexes.allocate([A, B])
    assert indexes.problem == ""
    again = await load(tmp_path)
    assert [again.find(*wanted) for wanted in (A, B)] == [given, 1]


async def test_numbers_that_were_never_stored_are_given_to_nothing_else(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    first, second = await load(tmp_path), await load(tmp_path)

    await first.allocate([A])
    await second.allocate([B])

    assert first.find(*A) != second.find(*B)


async def test_a_file_that_is_removed_behind_our_back_is_written_whole(tmp_path: Path) -> None:
    indexes = await load(tmp_path)
    await indexes.allocate([A])
    (tmp_path / FILE_NAME).unlink()

    await indexes.allocate([B])

    again = await load(tmp_path)
    assert [again.find(*wanted) for wanted in (A, B)] == [1, 2]


async def test_a_torn_last_line_is_dropped_and_overwritten(tmp_path: Path) -> None:
    await (await load(tmp_path)).allocate([A])
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b'["hsmToken", 2, ["luna", "to')
    indexes = await load(tmp_path)

    await indexes.allocate([B])

    assert (await load(tmp_path)).find(*B) == 2


async def test_zeros_left_by_a_power_cut_are_dropped(tmp_path: Path) -> None:
    await (await load(tmp_path)).allocate([A])
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(bytes(40) + b"\n" + bytes(10))
    indexes = await load(tmp_path)

    await indexes.allocate([B])

    again = await load(tmp_path)
    assert [again.find(*wanted) for wanted in (A, B)] == [1, 2]


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param("garbage", id="not JSON"),
        pytest.param('["hsmToken", 0, ["a"]]', id="index 0"),
        pytest.param('["hsmToken", "1", ["a"]]', id="index in words"),
        pytest.param('["hsmToken", 1, [7]]', id="a key of numbers"),
        pytest.param('["hsmToken", 2, ["luna", "c"]]', id="one index for two rows"),
        pytest.param('["hsmToken", 7, ["luna", "b"]]', id="two indexes for one row"),
        pytest.param('["hsmToken", 1, ["\\ud800"]]', id="half a character"),
        pytest.param(99999 * "[", id="deep"),
    ],
)
@pytest.mark.parametrize("where", ["first", "last"])
async def test_a_damaged_line_is_left_out_and_its_number_given_to_nothing(
    tmp_path: Path, damaged: str, where: str
) -> None:
    sound = '["hsmToken", 2, ["luna", "b"]]'
    lines = [damaged, sound] if where == "first" else [sound, damaged]
    if where == "first" and "luna" in damaged:
        lines = [sound, damaged, '["hsmReading", 1, ["x"]]']
    (tmp_path / FILE_NAME).write_text("\n".join(lines) + "\n")

    indexes = await load(tmp_path)
    await indexes.allocate([A, READING])

    assert indexes.damage == f"{FILE_NAME}: 1 lines were damaged and are left out; their rows get new indexes"
    assert [indexes.find(*wanted) for wanted in (B, A)] == [2, 4]
    again = await load(tmp_path)
    assert (again.damage, again.find(*A), again.find(*B)) == ("", 4, 2)
    assert len(list(tmp_path.glob(f"{FILE_NAME}.damaged-*"))) == 1


async def test_a_file_of_nothing_but_damage_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe\n" * 7)

    indexes = await load(tmp_path)
    await indexes.allocate([A])

    assert indexes.find(*A) == 8
    assert (await load(tmp_path)).find(*A) == 8


async def test_a_table_that_gave_all_its_indexes_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(f'["hsmToken", {FIRST_PROVISIONAL - 1}, ["a"]]\n')
    indexes = await load(tmp_path)

    await indexes.allocate([B])

    assert "indexes of a table are given" in indexes.problem
    assert (indexes.find(*B) or 0) >= FIRST_PROVISIONAL


async def test_a_file_that_cannot_be_read_is_done_without_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('["hsmToken", 1, ["luna", "b"]]\n')
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")

    indexes = await load(tmp_path)
    await indexes.allocate([A])

    assert "symbolic links" in indexes.problem
    assert (tmp_path / FILE_NAME).is_symlink()
    assert (indexes.find(*A) or 0) >= FIRST_PROVISIONAL
