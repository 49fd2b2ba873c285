"""The reserve really takes up room, and gives it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.spool.ballast import SIZE, Ballast, free_bytes

if TYPE_CHECKING:
    from pathlib import Path


def test_the_room_is_really_allocated_and_given_back(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast")
    assert not ballast.is_held()

    assert ballast.restore()
    assert ballast.is_held()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= SIZE
    assert (tmp_path / "ballast").stat().st_mode & 0o777 == 0o600

    ballast.free()
    ballast.free()
    assert not ballast.is_held()


def test_a_file_of_the_right_length_without_blocks_is_no_reserve(tmp_path: Path) -> None:
    with (tmp_path / "ballast").open("wb") as sparse:
        sparse.truncate(SIZE)
    ballast = Ballast(tmp_path / "ballast")
    assert not ballast.is_held()

    assert ballast.restore()

    assert ballast.is_held()


def test_free_bytes_are_those_of_the_file_system(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
