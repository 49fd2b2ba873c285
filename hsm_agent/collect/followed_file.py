"""A text file that is written to and rotated, read on from where it was read to. Blocks on the disk; opens read-only.

Rotated files stand beside the file under its name and a number or a date. What was read to is found again among them,
also after a restart, and the files behind it are read in their order; a file that is compressed meanwhile is read on
unpacked.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from hsm_agent.collect.rotated_set import (
    HEAD_BYTES,
    ChangedSetError,
    DamagedArchiveError,
    FilePosition,
    Member,
    blocks,
    find,
    has_same_head,
    head_of,
    members,
    moved,
    position_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

BLOCK_BYTES = 1 << 16
"""Each reading releases the interpreter's lock, on which the event loop waits; larger blocks are hardly faster."""
STEP_BYTES = 64 << 20
STEP_SECONDS = 1.0
_ARCHIVE_SECONDS = 0.5
"""So long an archive is read on, however long it took to unpack what was read of it before."""
QUIET_SECONDS = 1.0
"""After so long what stands at a file's end is taken for complete."""


class Records(Protocol):
    """Cuts a file into records; `rest` is what may still grow.

    `is_within` tells that a line was longer than any record: what follows up to its end is passed over.
    """

    rest: bytes
    is_within: bool

    def push(self, block: bytes) -> list[bytes]: ...


class SetCheckpoint(Protocol):
    """What a subclass keeps of a set, the position among it."""

    position: FilePosition | None


class FollowedSet(ABC):
    """Follows one file and its rotated set. A subclass says what records are, and makes the checkpoint."""

    checkpoint: SetCheckpoint

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.newest: Member | None = None
        """The file that is written now; None while there is none."""
        self.trouble = ""
        """What could not be read in the last step, and was passed over."""
        self._monotonic = monotonic
        self._missed_in: list[tuple[Path, int, int]] | None = None
        """The files among which what was read to was not found, the last time."""
        self._end = (0, 0)
        self._end_since = 0.0

    @property
    def is_there(self) -> bool:
        """Whether there is a file of the set."""
        return self.newest is not None

    @property
    def position(self) -> FilePosition | None:
        """How far the set was read; None before its first octet."""
        return self.checkpoint.position

    @position.setter
    def position(self, position: FilePosition) -> None:
        self.checkpoint.position = position

    @abstractmethod
    def _records(self) -> Records:
        """What cuts the files into records."""

    @abstractmethod
    def _take(self, file: Member, records: list[bytes]) -> None:
        """Records that were read from a file, without their line ends."""

    def _is_whole(self, rest: bytes) -> bool:
        """Whether what stands at the end of the file that is written may be a record already."""
        del rest
        return False

    @abstractmethod
    def _leave(self, file: Member, end: float) -> bool:
        """The file was read to its end, and another one follows: whether to go on to that."""

    @abstractmethod
    def _next_file(self, position: FilePosition) -> None:
        """Go on in another file, from this position at its beginning."""

    @abstractmethod
    def _lost(self, files: Sequence[Member]) -> bool:
        """What was read to is in none of the files. Sets another position; False if it is to be seen later."""

    def _first(self, files: Sequence[Member]) -> FilePosition:
        """Where a set that is new is read from: the beginning of its oldest file."""
        return position_in(files[0], 0)

    def step(self, seconds: float) -> bool:
        """Read on for about so long: whether there is more. Raises OSError, UnreadableFileError."""
        self.trouble = ""
        try:
            return self._step(time.monotonic() + seconds)
        except ChangedSetError:
            return True  # what was taken until then is kept; the rest is found under its new name

    def _step(self, end: float) -> bool:
        try:
            files = members(self.path)
        except FileNotFoundError:
            files = []
        self.newest = files[-1] if files else None
        while files and time.monotonic() < end:
            current = self._current(files)
            if current is None or not self._went_on(current, files, end):
                return False
        return bool(files)

    def _went_on(self, current: Member, files: Sequence[Member], end: float) -> bool:
        """Read on in a file, or go on to the one behind it: whether there may be more."""
        behind = files[files.index(current) + 1 :]
        later = [each for each in behind if each.size]
        is_fed, waits = self._read_on(current, is_last=not later, end=end)
        if is_fed or not later or waits:
            return is_fed
        # An empty file was rotated without a line, or is to be filled by a copy. A file that begins alike is the one
        # that is being copied, or was copied and will be emptied.
        is_copied = any(not each.size and each.is_fresh for each in behind[: behind.index(later[0])])
        if is_copied or (self.position is not None and has_same_head(self.position, later[0])):
            return False
        head = head_of(later[0])
        if b"\n" not in head and len(head) < HEAD_BYTES:
            return False  # half of a first line may be that of any file
        if self._leave(current, end):
            following = position_in(later[0], 0)
            # A copy that is made meanwhile stands between this file and that, and is there before that is emptied.
            is_same_set = [each.identity for each in members(self.path)] == [each.identity for each in files]
            if not is_same_set or following.head_bytes < len(head):
                raise ChangedSetError(f"{self.path}: rotated")
            self._next_file(following)
        return True

    def _current(self, files: list[Member]) -> Member | None:
        """The file to read on."""
        position = self.position
        if position is None or not (position.offset or position.is_known_by_content):
            # Nothing was read yet, and an inode that was of an empty file may be another file's by now.
            self.position = position = self._first(files)
        found = find(position, files)
        if found is not None:
            self._missed_in = None
            return found
        identities = [each.identity for each in files]
        if self._missed_in != identities:
            # It may have been rotated behind the reading of the folder: only what two readings miss is lost.
            self._missed_in = identities
            raise ChangedSetError(f"{self.path}: rotated")
        if not self._lost(files):
            return None
        position = self.position
        found = None if position is None else find(position, files)
        if found is None:
            raise ChangedSetError(f"{self.path}: rotated")
        return found

    def _read_on(self, file: Member, *, is_last: bool, end: float) -> tuple[bool, bool]:
        """Read on in a file: whether anything was taken from it, and whether its end waits for more."""
        assert self.position is not None
        records, read, is_fed = self._records(), self.position.offset, False
        try:
            # From the octet before on: it tells whether a line begins here. An archive is unpacked up to there again.
            before = 1 if read else 0
            for piece in blocks(file, read - before, BLOCK_BYTES, STEP_BYTES):
                block = piece[before:]
                if before:
                    records.is_within, before = piece[:1] != b"\n", 0
                    end = max(end, time.monotonic() + _ARCHIVE_SECONDS) if file.is_packed else end
                read += len(block)
                was_within = records.is_within
                fresh = records.push(block)
                if fresh or (block and (was_within or records.is_within)):
                    offset = read - len(records.rest)
                    self._take_up_to(offset, file, fresh, block=block, at=read - len(block))
                    is_fed = True
                if time.monotonic() > end:
                    return True, False
        except DamagedArchiveError as error:
            # What cannot be unpacked is passed over; a chain shows that it is missing.
            self.trouble = f"{file.path}: {error}"
        rest = records.rest
        if not rest:
            return is_fed, False
        if not self._is_finished(file, read, is_last=is_last, rest=rest):
            return is_fed, True
        self._take_up_to(read, file, [rest.rstrip(b"\r\n")], block=rest, at=read - len(rest))
        return True, False

    def _take_up_to(self, offset: int, file: Member, records: list[bytes], *, block: bytes, at: int) -> None:
        # The position is found out first: where that fails, nothing was taken that would be taken again.
        assert self.position is not None
        position = moved(self.position, file, offset, block=block, at=at)
        if records:
            self._take(file, records)
        self.position = position

    def _is_finished(self, file: Member, read: int, *, is_last: bool, rest: bytes) -> bool:
        """Whether what stands at a file's end is all there will be of it: nothing came for a while.

        A rotated file may still be written to, or be a copy that is not complete yet.
        """
        if (file.inode, read) != self._end:
            self._end, self._end_since = (file.inode, read), self._monotonic()
        is_quiet = self._monotonic() - self._end_since >= QUIET_SECONDS
        return is_quiet and (not is_last or self._is_whole(rest))
