"""A text file that is written to and rotated, read on from where it was read to. Blocks on the disk; opens read-only.

A file is known by its device and inode, and by its first octets: inodes are used again, and `copytruncate` leaves the
inode where it is and moves what it held. Rotated files stand beside the file under its name and a number or a date.
What was read to is found again among them, also after a restart, and the files behind it are read in their order; a
file that is compressed meanwhile is read on unpacked.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import time
import zlib
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Protocol, cast

from hsm_agent.collect.rotation import rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

HEAD_BYTES = 512
BLOCK_BYTES = 1 << 18
STEP_BYTES = 64 << 20
STEP_SECONDS = 1.0
QUIET_SECONDS = 1.0
"""After so long what stands at a file's end is taken for complete."""
MOST_FILES = 1000
"""Files of one rotated set; more are not looked at."""
_MOST_READINGS = 10
"""How often a folder is read until two readings agree."""
_GZIP = b"\x1f\x8b"


class UnreadableFileError(Exception):
    """A file that cannot be opened; the text says why."""


class ChangedSetError(Exception):
    """A file is not where it was when its folder was read: the set is being rotated, and is to be looked at again."""


class DamagedArchiveError(UnreadableFileError):
    """A compressed file that cannot be unpacked from here on."""


@contextmanager
def open_to_read(path: Path) -> Iterator[IO[bytes]]:
    """A file, opened for reading only; unpacked where it is compressed with gzip. Raises UnreadableFileError."""
    try:
        # Not blocking: to open a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise UnreadableFileError("no such file") from error
    except OSError as error:
        raise UnreadableFileError(f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableFileError("not a regular file")
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if os.pread(descriptor, len(_GZIP), 0) != _GZIP:
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            yield cast("IO[bytes]", unpacked)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePosition:
    """How far a file was read: `offset` octets, and what it is known by (`head`: SHA-256 of its first octets)."""

    device: int
    inode: int
    offset: int
    head_bytes: int = 0
    head: str = ""

    @property
    def is_known_by_content(self) -> bool:
        """Whether the file can be told from others by what is in it."""
        return self.head_bytes > 0


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a rotated set."""

    path: Path
    age: int
    device: int
    inode: int
    size: int
    modified: float = 0.0
    changed_ns: int = 0
    """When its content or its inode changed last; unlike `modified` nobody can set it."""

    @property
    def identity(self) -> tuple[Path, int, int]:
        """Which file it is, and its name."""
        return self.path, self.device, self.inode

    @property
    def is_packed(self) -> bool:
        """Whether it is longer than its size, by its name."""
        return self.path.name.endswith(".gz")


def members(path: Path) -> list[Member]:
    """The files of the set that `path` names as it is written, the oldest first.

    A folder that is read while files in it are renamed may show a file twice or not at all; it is read until two
    readings agree. Of a file that is just being compressed only the original counts. Raises OSError for the folder,
    ChangedSetError.
    """
    before: list[Member] = []
    for _ in range(_MOST_READINGS):
        found = _listed(path)
        if [each.identity for each in found] == [each.identity for each in before]:
            return found
        before = found
    raise ChangedSetError(f"{path}: rotated all the time")


def _listed(path: Path) -> list[Member]:
    # Cheap, and false for nearly all names of a crowded folder: a date stands before the endings of the name.
    begins = re.sub(r"(?:\.[A-Za-z]+)*\Z", "", path.name) or path.name
    found = {}
    with os.scandir(path.parent) as entries:
        for entry in entries:
            if not entry.name.startswith(begins):
                continue
            other, age = (path, 0) if entry.name == path.name else rotation(path.with_name(entry.name))
            if other != path:
                continue
            try:
                status = entry.stat()
            except OSError:
                continue  # it was rotated away since the folder was read
            if stat.S_ISREG(status.st_mode):
                found[entry.name] = Member(
                    path.with_name(entry.name),
                    age,
                    status.st_dev,
                    status.st_ino,
                    status.st_size,
                    status.st_mtime,
                    status.st_ctime_ns,
                )
    files = [each for name, each in found.items() if not (each.is_packed and name.removesuffix(".gz") in found)]
    files.sort(key=lambda each: (-each.age, each.path.name))
    return files[-MOST_FILES:]


@contextmanager
def open_member(member: Member) -> Iterator[IO[bytes]]:
    """The file that was listed, not another one that has its name now. Raises UnreadableFileError, ChangedSetError."""
    try:
        with open_to_read(member.path) as file:
            status = os.fstat(file.fileno())
            if (status.st_dev, status.st_ino) != (member.device, member.inode):
                raise ChangedSetError(f"{member.path}: rotated")
            yield file
    except UnreadableFileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise ChangedSetError(f"{member.path}: rotated") from error
        raise


def find(position: FilePosition, among: list[Member]) -> Member | None:
    """The file that was read to this position, whatever it is called now; None if it is not there any more."""
    same = [each for each in among if (each.device, each.inode) == (position.device, position.inode)]
    others = [each for each in among if each not in same] if position.is_known_by_content else []
    for each in (*same, *others):
        if _is(position, each):
            return each
    return None


def _is(position: FilePosition, member: Member) -> bool:
    """Whether the file begins with the same octets, and is as long as what was read of it."""
    if not position.is_known_by_content:
        return member.size >= position.offset
    return has_same_head(position, member, at_least_bytes=position.offset)


def has_same_head(position: FilePosition, member: Member, at_least_bytes: int = 0) -> bool:
    """Whether the file begins with the same octets, and is at least so long."""
    if not position.is_known_by_content:
        return False
    try:
        with open_member(member) as file:
            # It may have grown since it was listed.
            if not member.is_packed and os.fstat(file.fileno()).st_size < at_least_bytes:
                return False
            head = file.read(position.head_bytes)
            return sha256(head).hexdigest() == position.head and file.seek(at_least_bytes) == at_least_bytes
    except (UnreadableFileError, OSError, EOFError, zlib.error):
        return False


def blocks(member: Member, offset: int, block_bytes: int, most_bytes: int) -> Iterator[bytes]:
    """What stands in a file from an offset on, at most so many octets.

    Raises UnreadableFileError, ChangedSetError, OSError.
    """
    try:
        with open_member(member) as file:
            file.seek(offset)
            left = most_bytes
            while left > 0 and (block := file.read(min(block_bytes, left))):
                left -= len(block)
                yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedArchiveError(f"cannot be unpacked: {error}") from error


def begins_within_a_line(member: Member, offset: int) -> bool:
    """Whether an offset is not at the beginning of a line: its line was longer than any, and cut there."""
    if not offset:
        return False
    return b"".join(blocks(member, offset - 1, 1, 1)) not in {b"\n", b""}


def position_in(member: Member, offset: int) -> FilePosition:
    """The position at an offset of a file. Raises UnreadableFileError, ChangedSetError, OSError."""
    head_bytes = min(HEAD_BYTES, offset)
    head = sha256(b"".join(blocks(member, 0, head_bytes, head_bytes))).hexdigest() if head_bytes else ""
    return FilePosition(device=member.device, inode=member.inode, offset=offset, head_bytes=head_bytes, head=head)


def moved(position: FilePosition, member: Member, offset: int) -> FilePosition:
    """The position further on in the same file; its head is read again only while it grows."""
    if position.head_bytes >= HEAD_BYTES:
        return replace(position, device=member.device, inode=member.inode, offset=offset)
    return position_in(member, offset)


class Records(Protocol):
    """Cuts a file into records; `rest` is what may still grow.

    `is_within` tells that a line was longer than any record: what follows up to its end is passed over.
    """

    rest: bytes
    is_within: bool

    def push(self, block: bytes) -> list[bytes]: ...


class FollowedSet(ABC):
    """Follows one file and its rotated set. A subclass says what records are, and keeps the position."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.newest: Member | None = None
        """The file that is written now; None while there is none."""
        self.trouble = ""
        """What could not be read in the last step, and was passed over."""
        self._monotonic = monotonic
        self._end = (0, 0)
        self._end_since = 0.0

    @property
    def is_there(self) -> bool:
        """Whether there is a file of the set."""
        return self.newest is not None

    @property
    @abstractmethod
    def position(self) -> FilePosition | None:
        """How far the set was read; None before its first octet."""

    @position.setter
    @abstractmethod
    def position(self, position: FilePosition) -> None: ...

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
    def _next_file(self, file: Member) -> None:
        """Go on in another file, from its beginning."""

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
        # An empty file may be the next one before anything is written to it, or be rotated without a line.
        later = [each for each in files[files.index(current) + 1 :] if each.size]
        is_fed, waits = self._read_on(current, is_last=not later, end=end)
        if not is_fed and later and not waits and self._leave(current, end):
            self._next_file(later[0])
        return is_fed or (bool(later) and not waits)

    def _current(self, files: list[Member]) -> Member | None:
        """The file to read on."""
        position = self.position
        if position is None:
            self.position = position = self._first(files)
        found = find(position, files)
        if found is not None or not self._lost(files):
            return found
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
            records.is_within = begins_within_a_line(file, read)
            for block in blocks(file, read, BLOCK_BYTES, STEP_BYTES):
                read += len(block)
                was_within = records.is_within
                fresh = records.push(block)
                if fresh or was_within or records.is_within:
                    self._take_up_to(file, fresh, read - len(records.rest))
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
        self._take_up_to(file, [rest.rstrip(b"\r\n")], read)
        return True, False

    def _take_up_to(self, file: Member, records: list[bytes], offset: int) -> None:
        # The position is found out first: where that fails, nothing was taken that would be taken again.
        assert self.position is not None
        position = moved(self.position, file, offset)
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
