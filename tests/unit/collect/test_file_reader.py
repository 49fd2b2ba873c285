from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.file_reader import Content, FileReader, FileTrouble

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_file_is_its_beginning_and_its_time(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    path.write_bytes(b"0123456789")
    os.utime(path, (1_700_000_000, 1_700_000_000))

    part = await FileReader().read(path, most_bytes=4, seconds=5)
    whole = await FileReader().read(path, most_bytes=10, seconds=5)

    assert (part.data, part.modified, part.whole) == (b"0123", 1_700_000_000.0, False)
    assert (whole.data, whole.whole) == (b"0123456789", True)


async def test_a_file_that_is_missing_is_trouble_every_time(tmp_path: Path) -> None:
    reader = FileReader()
    for _ in range(2):
        with pytest.raises(FileTrouble, match=r"mark does not exist: check the path"):
            await reader.read(tmp_path / "mark", most_bytes=4, seconds=5)

    (tmp_path / "mark").write_bytes(b"x")
    assert (await reader.read(tmp_path / "mark", most_bytes=4, seconds=5)).data == b"x"


async def test_neither_a_pipe_nor_a_folder_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(FileTrouble, match="cannot be read: not a regular file"):
        await FileReader().read(tmp_path / "pipe", most_bytes=4, seconds=5)
    with pytest.raises(FileTrouble, match="cannot be read: Is a directory"):
        await FileReader().read(tmp_path, most_bytes=4, seconds=5)


class Stuck(os.PathLike[str]):
    """A path whose file system does not answer until it is let go."""

    def __init__(self, path: Path) -> None:
        self.path, self.let_go, self.asked = path, threading.Event(), 0

    def __fspath__(self) -> str:
        self.asked += 1
        self.let_go.wait(10)
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


async def test_a_file_system_that_hangs_costs_one_thread_and_no_more_than_the_time_given(tmp_path: Path) -> None:
    (tmp_path / "mark").write_bytes(b"x")
    stuck, reader = Stuck(tmp_path / "mark"), FileReader()
    path: Path = stuck  # type: ignore[assignment]  # opened like one, which is all that is asked of it
    with pytest.raises(FileTrouble, match=r"has not come back within 0\.05 s: check the file system"):
        await reader.read(path, most_bytes=4, seconds=0.05)
    for _ in range(3):
        with pytest.raises(FileTrouble, match=r"has not come back since \S+; it is not tried again meanwhile: check"):
            await reader.read(path, most_bytes=4, seconds=5)

    assert stuck.asked == 1
    stuck.let_go.set()
    assert (await _read_when_let_go(reader, path)).data == b"x"


async def _read_when_let_go(reader: FileReader, path: Path) -> Content:
    async with asyncio.timeout(10):
        while True:
            try:
                return await reader.read(path, most_bytes=4, seconds=5)
            except FileTrouble:  # until the thread has returned
                await asyncio.sleep(0)
