"""Small files: whole or not at all, private, no link followed, and what is damaged put away."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from hsm_agent.state import files as state_file
from hsm_agent.state.files import DamagedFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    state_file.write_json(path, {"name": "Zürich \ud800"})

    assert state_file.read_json(path) == {"name": "Zürich ?"}
    assert _mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert state_file.read(tmp_path / "a") is None
    assert state_file.read_json(tmp_path / "a") is None


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_file_and_folder_are_flushed(tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bool] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        flushed.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    state_file.write(tmp_path / "a", b"1")
    assert flushed == [False, True]
    assert state_file.create(folder, "b", b"1", mode=0o600, owner=None)
    assert flushed == [False, True] * 2
    assert state_file.write_at(tmp_path / "c", 0, b"1") == 1
    assert flushed == [False, True] * 3


def test_no_link_is_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"secret")
    link.symlink_to(target)
    (tmp_path / "link.new").symlink_to(target)

    with pytest.raises(OSError, match="symbolic links"):
        state_file.read(link)
    with pytest.raises(OSError, match="symbolic links"):
        state_file.open_private(link)
    with pytest.raises(OSError, match="symbolic links"):
        state_file.write_at(link, 0, b"x")
    state_file.write(link, b"own")

    assert (target.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"secret", b"own", False)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, make: object) -> None:
    make(tmp_path / "a")  # type: ignore[operator] # one of two functions

    for use in (state_file.read, state_file.open_private):
        with pytest.raises(OSError, match=r"not a regular file|directory"):
            use(tmp_path / "a")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(11))

    with pytest.raises(OSError, match="larger than 10 bytes"):
        state_file.read(tmp_path / "a", 10)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"NaN",
        b"[Infinity]",
        b'"\\ud800"',
        99999 * b"[",
        b"[" + 5000 * b"1" + b"]",
        pytest.param(9999 * b"[" + 9999 * b"]", id="deep"),
    ],
)
def test_what_is_no_json_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)

    with pytest.raises(DamagedFileError, match=f"{tmp_path}/a: "):
        state_file.read_json(tmp_path / "a")


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()

    with pytest.raises(OSError, match="directory"):
        state_file.write(tmp_path / "a.json", b"1")

    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_is_created_once(tmp_path: Path, folder: int) -> None:
    assert state_file.create(folder, "a", b"1", mode=0o644, owner=(os.geteuid(), os.getegid()))
    assert not state_file.create(folder, "a", b"2", mode=0o600, owner=None)

    assert ((tmp_path / "a").read_bytes(), _mode(tmp_path / "a")) == (b"1", 0o644)
    assert len(list(tmp_path.iterdir())) == 1


def test_writing_on_cuts_what_is_behind(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert state_file.write_at(path, 0, b"one\ntorn") == 8
    assert state_file.write_at(path, 4, b"two\n") == 8
    assert path.read_bytes() == b"one\ntwo\n"

    assert state_file.write_at(path, 99, b"x") == 8
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("kind", ["file", "folder", "filled folder", "link"])
def test_what_cannot_be_used_is_put_away_and_the_newest_three_are_kept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "spool[1].db"
    for _ in range(6):
        if "folder" in kind:
            path.mkdir()
            if kind == "filled folder":
                (path / "x").touch()
        elif kind == "link":
            path.symlink_to("/nowhere")
        else:
            path.touch()
        path.with_name("spool[1].db-wal").touch()
        aside = state_file.set_aside(path, "-wal")
        assert aside.is_symlink() or aside.exists()
        assert not path.exists()

    kept = [each for each in tmp_path.iterdir() if not each.name.endswith("-wal")]
    assert len(kept) == (6 if kind == "filled folder" else 3)


def test_a_value_of_any_kind_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, {"b": "\n"}]}
    state_file.write_json(tmp_path / "a", value)

    assert json.loads((tmp_path / "a").read_bytes()) == value
