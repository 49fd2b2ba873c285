"""Row numbers: on disk before they are used, the same after a restart, never given twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.serve.indexes import FILE_NAME, Indexes, IndexFileError

if TYPE_CHECKING:
    from pathlib import Path

A = ("hsmToken", ("luna", "a"))
B = ("hsmToken", ("luna", "b"))
READING = ("hsmReading", ("luna", "a", "token_sessions"))


async def test_indexes_count_up_within_their_table(tmp_path: Path) -> None:
    indexes = Indexes.load(tmp_path)

    await indexes.allocate([A, READING, B, A])

    assert [indexes.find(*wanted) for wanted in (A, B, READING)] == [1, 2, 1]


async def test_restart_keeps_every_index(tmp_path: Path) -> None:
    await Indexes.load(tmp_path).allocate([A])
    again = Indexes.load(tmp_path)
    await again.allocate([B, A])

    third = Indexes.load(tmp_path)

    assert [third.find(*wanted) for wanted in (A, B)] == [1, 2]


async def test_what_was_not_allocated_is_not_found(tmp_path: Path) -> None:
    assert Indexes.load(tmp_path).find(*A) is None


async def test_nothing_is_written_for_what_is_known(tmp_path: Path) -> None:
    indexes = Indexes.load(tmp_path)
    await indexes.allocate([A])
    before = (tmp_path / FILE_NAME).stat().st_mtime_ns

    await indexes.allocate([A])

    assert (tmp_path / FILE_NAME).stat().st_mtime_ns == before


async def test_file_is_private(tmp_path: Path) -> None:
    await Indexes.load(tmp_path).allocate([A])

    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


async def test_a_disk_that_refuses_gives_no_index(tmp_path: Path) -> None:
    indexes = Indexes.load(tmp_path)
    (tmp_path / FILE_NAME).mkdir()

    with pytest.raises(OSError, match=FILE_NAME):
        await indexes.allocate([A])
    assert indexes.find(*A) is None

    (tmp_path / FILE_NAME).rmdir()
    await indexes.allocate([A])
    assert indexes.find(*A) == 1


async def test_a_file_that_is_removed_behind_our_back_is_written_whole(tmp_path: Path) -> None:
    indexes = Indexes.load(tmp_path)
    await indexes.allocate([A])
    (tmp_path / FILE_NAME).unlink()

    await indexes.allocate([B])

    again = Indexes.load(tmp_path)
    assert [again.find(*wanted) for wanted in (A, B)] == [1, 2]


async def test_a_torn_last_line_is_dropped_and_overwritten(tmp_path: Path) -> None:
    await Indexes.load(tmp_path).allocate([A])
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b'["hsmToken", 2, ["luna", "to')
    indexes = Indexes.load(tmp_path)

    await indexes.allocate([B])

    assert Indexes.load(tmp_path).find(*B) == 2


async def test_zeros_left_by_a_power_cut_are_dropped(tmp_path: Path) -> None:
    await Indexes.load(tmp_path).allocate([A])
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(bytes(40) + b"\n" + bytes(10))
    indexes = Indexes.load(tmp_path)

    await indexes.allocate([B])

    again = Indexes.load(tmp_path)
    assert [again.find(*wanted) for wanted in (A, B)] == [1, 2]


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param('garbage\n["hsmToken", 2, ["b"]]\n', id="not JSON"),
        pytest.param('["hsmToken", 0, ["a"]]\n["hsmToken", 2, ["b"]]\n', id="index 0"),
        pytest.param('["hsmToken", "1", ["a"]]\n["hsmToken", 2, ["b"]]\n', id="index in words"),
        pytest.param('["hsmToken", 1, [7]]\n["hsmToken", 2, ["b"]]\n', id="a key of numbers"),
    ],
)
def test_damage_in_the_middle_is_refused(tmp_path: Path, damaged: str) -> None:
    (tmp_path / FILE_NAME).write_text(damaged)

    with pytest.raises(IndexFileError, match="line 1 is damaged"):
        Indexes.load(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('["hsmToken", 1, ["b"]]\n', id="one index for two rows"),
        pytest.param('["hsmToken", 2, ["a"]]\n', id="two indexes for one row"),
    ],
)
def test_a_contradiction_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE_NAME).write_text('["hsmToken", 1, ["a"]]\n' + line)

    with pytest.raises(IndexFileError, match="line 2"):
        Indexes.load(tmp_path)


async def test_a_table_that_gave_all_its_indexes_gives_no_more(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('["hsmToken", 4294967295, ["a"]]\n')

    with pytest.raises(OSError, match="all 4294967295 indexes"):
        await Indexes.load(tmp_path).allocate([B])


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()

    with pytest.raises(IndexFileError, match="Is a directory"):
        Indexes.load(tmp_path)
