"""The numbers of the MIB's rows: given once, written to disk before they are used, never given to anything else.

A file of lines that only grows, `[table, index, [key…]]` each: a new row costs one short write, and a line that a
power cut tore was not in use yet. Rows that are gone keep their number for the day they come back.
"""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.serve.engine_state import sync_directory
from hsm_agent.threads import Lane

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FILE_NAME = "snmp-indexes.jsonl"
MAX_INDEX = 2**32 - 1
_WRITE_SECONDS = 10.0

Key = tuple[str, ...]
"""What a row is kept for, within its table."""

Wanted = tuple[str, Key]
"""A table's name and a key."""


class IndexFileError(Exception):
    """The file of indexes is damaged or can't be used; the text says what to do."""


class Indexes:
    """The indexes of all tables. `find` is for the event loop; `load` blocks on the disk."""

    def __init__(self, path: Path, known: dict[Wanted, int], length: int) -> None:
        """`length` is how much of the file is sound; use `load`."""
        self._path = path
        self._known = known
        self._length = length
        self._last: dict[str, int] = {}
        for (table, _key), index in known.items():
            self._last[table] = max(index, self._last.get(table, 0))
        self._writing = threading.Lock()
        self._disk = Lane(str(path))

    @classmethod
    def load(cls, directory: Path) -> Indexes:
        """The indexes stored in the state directory; none if there is no file yet. Raises IndexFileError."""
        path = directory / FILE_NAME
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise IndexFileError(f"{path}: {error.strerror}") from error
        known, length = _parse(path, data)
        return cls(path, known, length)

    def find(self, table: str, key: Key) -> int | None:
        """The index of a row, None if it was given none yet."""
        return self._known.get((table, key))

    async def allocate(self, wanted: Iterable[Wanted]) -> None:
        """Give indexes to all that have none: one write, off the loop, and only then are they found.

        Raises OSError if they can't be stored within ten seconds; then they are not found either.
        """
        missing = [key for key in wanted if key not in self._known]
        if missing:
            await self._disk.call(partial(self._store, missing), seconds=_WRITE_SECONDS)

    def _store(self, missing: list[Wanted]) -> None:
        if not self._writing.acquire(blocking=False):  # a disk that hangs must not eat up all threads
            raise OSError(f"{self._path}: the last write has not come back")
        try:
            fresh: dict[Wanted, int] = {}
            last = dict(self._last)
            for table, key in missing:
                if (table, key) not in self._known and (table, key) not in fresh:
                    last[table] = last.get(table, 0) + 1
                    fresh[table, key] = last[table]
            if max(last.values()) > MAX_INDEX:
                raise OSError(f"{self._path}: all {MAX_INDEX} indexes of a table are given")
            self._append(fresh)
            self._last = last
            self._known.update(fresh)
        finally:
            self._writing.release()

    def _append(self, fresh: Mapping[Wanted, int]) -> None:
        # Written at the end of what is sound, so that a line torn by a full disk is overwritten by the next try.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(self._path, flags, 0o600), "wb") as file:
            if os.fstat(file.fileno()).st_size < self._length:  # removed or cut behind our back: write all of it again
                fresh, self._length = {**self._known, **fresh}, 0
            lines = "".join(json.dumps([table, index, key]) + "\n" for (table, key), index in fresh.items()).encode()
            file.truncate(self._length)
            file.seek(self._length)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        if self._length == 0:
            sync_directory(self._path.parent)
        self._length += len(lines)


def _parse(path: Path, data: bytes) -> tuple[dict[Wanted, int], int]:
    known: dict[Wanted, int] = {}
    given: set[tuple[str, int]] = set()
    length = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        entry = _entry(line)
        if entry is None:
            if any(_entry(later) for later in lines[number:]):
                raise IndexFileError(
                    f"{path}: line {number} is damaged; restore the file from a backup, or remove it and"
                    " let every manager discover the tables anew"
                )
            break
        wanted, index = entry
        if wanted in known or (wanted[0], index) in given:
            raise IndexFileError(f"{path}: line {number} gives a second index or one that is taken; restore the file")
        known[wanted] = index
        given.add((wanted[0], index))
        length += len(line) + 1
    return known, length


def _entry(line: bytes) -> tuple[Wanted, int] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    match found:
        case [str() as table, int() as index, [*key]] if 1 <= index <= MAX_INDEX and all(
            isinstance(part, str) for part in key
        ):
            return (table, tuple(key)), index
        case _:
            return None
