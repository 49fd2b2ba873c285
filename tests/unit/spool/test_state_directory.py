"""The state directory is private and belongs to one agent at a time; a reserve in it really takes up room."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from hsm_agent.spool.disk import RESERVE_BYTES, Ballast, free_bytes
from hsm_agent.state.files import DirectoryInUseError, DirectoryLock

if TYPE_CHECKING:
    from pathlib import Path


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_directory_is_made_private(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "var" / "state")

    assert _mode(tmp_path / "var" / "state") == 0o700
    assert _mode(tmp_path / "var" / "state" / "lock") == 0o600
    lock.close()


def test_a_directory_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    DirectoryLock(tmp_path).close()

    assert _mode(tmp_path) == 0o700


def test_a_second_agent_is_refused_by_the_pid_of_the_first(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)

    with pytest.raises(DirectoryInUseError) as refusal:
        DirectoryLock(tmp_path)

    assert str(refusal.value) == f"another hsm-agent uses this state directory (pid {os.getpid()}): {tmp_path}"
    lock.close()


def test_after_the_first_has_ended_the_second_may(tmp_path: Path) -> None:
    DirectoryLock(tmp_path).close()

    DirectoryLock(tmp_path).close()


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").touch()

    with pytest.raises(OSError, match=r"state directory .*/state: File exists"):
        DirectoryLock(tmp_path / "state")


def test_the_room_is_really_allocated_and_given_back(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast")
    assert not ballast.is_held()

    assert ballast.restore()
    assert ballast.is_held()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= RESERVE_BYTES
    assert (tmp_path / "ballast").stat().st_mode & 0o777 == 0o600

    ballast.free()
    ballast.free()
    assert not ballast.is_held()


def test_a_file_of_the_right_length_without_blocks_is_no_reserve(tmp_path: Path) -> None:
    with (tmp_path / "ballast").open("wb") as sparse:
        sparse.truncate(RESERVE_BYTES)
    ballast = Ballast(tmp_path / "ballast")
    assert not ballast.is_held()

    assert ballast.restore()

    assert ballast.is_held()


def test_free_bytes_are_those_of_the_file_system(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
