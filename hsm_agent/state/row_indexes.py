"""The numbers of the MIB's rows: given once, never given to anything else, on disk before they are used.

A file of lines that only grows, `[table, index, [key…]]` each: a new row costs one short write, and a line that a
power cut tore was not in use yet. Rows that are gone keep their number for the day they come back.

Where the disk refuses, numbers are given from a range apart, at random, and stored when the disk is back: a restart
before that gives the rows other numbers, and these to nothing else.
"""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.state import files as state_file
from hsm_agent.threads import Lane

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FILE_NAME = "snmp-indexes.jsonl"
MAX_INDEX = 2**32 - 1
FIRST_PROVISIONAL = 2**31
"""From here on numbers are given while they cannot be stored."""
_WRITE_SECONDS = 10.0
_LOST = "lost"
"""The key of lines that stand for damaged ones: what those gave out is given to nothing else."""
_ANY_TABLE = ""

MibRowKey = tuple[str, ...]
"""What a row is kept for, within its table."""

WantedIndex = tuple[str, MibRowKey]
"""A table's name and a key."""


class _Stored(NamedTuple):
    """What a write came to. `read`: the file as it was found, if it could not be read before."""

    read: Indexes | None
    fresh: dict[WantedIndex, int]
    length: int


class Indexes:
    """The indexes of all tables. `find` is for the event loop; `load` blocks on the disk."""

    def __init__(self, path: Path, known: dict[WantedIndex, int], length: int) -> None:
        """`length` is how much of the file is sound; use `load`."""
        self.problem = ""
        """Why what is known is not all on disk; empty as long as it is."""
        self.damage = ""
        """What was wrong with the file, for the log; empty if nothing was."""
        self._path = path
        self._known = known
        self._length = length
        self._is_unread = False
        self._unstored: dict[WantedIndex, int] = {}
        self._provisional = FIRST_PROVISIONAL + secrets.randbelow(2**30)
        self._last: dict[str, int] = {}
        self._take(known)
        self._disk = Lane(str(path))

    @classmethod
    def load(cls, directory: Path) -> Indexes:
        """The indexes stored in the state directory; none if there is no file yet, or none that can be read.

        A damaged line is left out, counted and reported, and the file set aside; what can be read is written anew.
        """
        path = directory / FILE_NAME
        try:
            data = state_file.read(path)
        except OSError as error:
            return cls.unread(directory, f"{path}: {error.strerror}")
        known, length, damaged = _parse(data or b"")
        if not damaged:
            return cls(path, known, length)
        return cls._mended(path, known, damaged)

    @classmethod
    def unread(cls, directory: Path, problem: str) -> Indexes:
        """None are known, because the file can't be read now. It is read before anything is written to it."""
        made = cls(directory / FILE_NAME, {}, 0)
        made.problem, made._is_unread = problem, True
        return made

    @classmethod
    def _mended(cls, path: Path, known: dict[WantedIndex, int], damaged: int) -> Indexes:
        """What is sound, and for each table a gap: a damaged line may have given the number after its last one."""
        last: dict[str, int] = {_ANY_TABLE: 0}
        for (table, _key), index in known.items():
            if index < FIRST_PROVISIONAL:
                last[table] = max(index, last.get(table, 0))
        for table, index in last.items():
            known[table, (_LOST, str(index + damaged))] = min(index + damaged, FIRST_PROVISIONAL - 1)
        made = cls(path, known, 0)
        made.damage = f"{path.name}: {damaged} lines were damaged and are left out; their rows get new indexes"
        try:
            state_file.set_aside(path)
            made._length = made._append({})
        except OSError as error:
            made.problem = f"{path}: {error.strerror}"
        return made

    def find(self, table: str, key: MibRowKey) -> int | None:
        """The index of a row, None if it was given none yet."""
        return self._known.get((table, key))

    async def allocate(self, wanted: Iterable[WantedIndex]) -> None:
        """Give indexes to all that have none: one write, off the loop, and only then are they found.

        Where they can't be stored within ten seconds they are found all the same, and `problem` says why.
        """
        missing = [key for key in dict.fromkeys(wanted) if key not in self._known]
        if not missing and not self._unstored:
            return
        write = partial(self._store, missing, dict(self._unstored))
        try:
            self._adopt(await self._disk.call(write, seconds=_WRITE_SECONDS))
        except OSError as error:
            self.problem = str(error)
            for key in missing:
                if key not in self._known:
                    self._known[key] = self._unstored[key] = self._provisional
                    self._provisional += 1

    def _adopt(self, stored: _Stored) -> None:
        """What was stored is what is known. Where the file was read only now, its numbers are the ones."""
        if stored.read is not None:
            self._known, self._last, self._is_unread = stored.read._known, stored.read._last, False  # noqa: SLF001
            self.damage = stored.read.damage
        self._take(stored.fresh)
        self._length, self._unstored, self.problem = stored.length, {}, ""

    def _take(self, fresh: Mapping[WantedIndex, int]) -> None:
        self._known.update(fresh)
        for (table, _key), index in fresh.items():
            if index < FIRST_PROVISIONAL:
                self._last[table] = max(index, self._last.get(table, 0))

    def _store(self, missing: list[WantedIndex], unstored: dict[WantedIndex, int]) -> _Stored:
        """What was given and stored, and how long the file is then. The lane runs one of these at a time.

        A write whose caller gave up is written over by the next one.
        """
        read = Indexes.load(self._path.parent) if self._is_unread else None
        if read is not None and read.problem:
            raise OSError(read.problem)
        base = read or self
        fresh = {key: index for key, index in unstored.items() if base.find(*key) in {None, index}}
        fresh |= base._give(key for key in missing if base.find(*key) is None)  # noqa: SLF001 - one of its own
        return _Stored(read, fresh, base._append(fresh))  # noqa: SLF001 - likewise

    def _give(self, missing: Iterable[WantedIndex]) -> dict[WantedIndex, int]:
        """The next numbers."""
        fresh, last = {}, dict(self._last)
        for table, key in missing:
            last[table] = last.get(table, last.get(_ANY_TABLE, 0)) + 1
            fresh[table, key] = last[table]
        if max(last.values(), default=0) >= FIRST_PROVISIONAL:
            raise OSError(f"{self._path}: all {FIRST_PROVISIONAL - 1} indexes of a table are given")
        return fresh

    def _append(self, fresh: Mapping[WantedIndex, int]) -> int:
        # Written at the end of what is sound, so that a line torn by a full disk is overwritten by the next try.
        length = self._length
        written = state_file.write_at(self._path, length, _lines(fresh)) if length else 0
        if written < length or not length:  # none yet, or removed or cut behind our back: write all of it
            written = state_file.write_at(self._path, 0, _lines({**self._known, **fresh}))
        return written


def _lines(indexes: Mapping[WantedIndex, int]) -> bytes:
    return "".join(json.dumps([table, index, key]) + "\n" for (table, key), index in indexes.items()).encode()


def _parse(data: bytes) -> tuple[dict[WantedIndex, int], int, int]:
    """What is known, how much of the file is sound, and how many of its lines are damaged.

    Behind the last sound line, zeros and half a line are what a power cut leaves: that was never in use.
    """
    known: dict[WantedIndex, int] = {}
    given: set[tuple[str, int]] = set()
    length = position = damaged = doubtful = lines_before = 0
    for line in data.split(b"\n")[:-1]:
        position += len(line) + 1
        entry = _entry(line)
        if entry is None or entry[0] in known or (entry[0][0], entry[1]) in given:
            doubtful += 1
            damaged += entry is not None or b"\0" not in line
            continue
        wanted, index = entry
        known[wanted] = index
        given.add((wanted[0], index))
        lines_before, doubtful = lines_before + doubtful, 0
        damaged, length = lines_before, position
    return known, length, damaged


def _entry(line: bytes) -> tuple[WantedIndex, int] | None:
    try:
        found = state_file.parse_json(line)
    except ValueError:
        return None
    match found:
        case [str() as table, int() as index, [*key]] if 1 <= index <= MAX_INDEX and all(
            isinstance(part, str) for part in key
        ):
            return (table, tuple(key)), index
        case _:
            return None
