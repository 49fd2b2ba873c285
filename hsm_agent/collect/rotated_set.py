"""The files of a rotated set: their names and age, how one is known again under another name, and how it is opened.

Blocks on the disk; opens read-only. A file is known by its device and inode, and by its first octets: inodes are used
again, and `copytruncate` leaves the inode where it is and moves what it held.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD_BYTES = 512
MOST_FILES = 1000
"""Files of one rotated set; more are not looked at."""
_FRESH_SECONDS = 2.0
_MOST_READINGS = 10
"""How often a folder is read until two readings agree."""
_GZIP = b"\x1f\x8b"
_NUMBER = re.compile(r"(?P<stem>.+?)[.-](?P<number>[0-9]{1,14})")
_DATE = re.compile(
    r"(?P<stem>.+?)[._-](?P<date>[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:[T_-]?[0-9]{2}[:-]?[0-9]{2}(?:[:-]?[0-9]{2})?)?)"
    r"(?:-(?P<epoch>[0-9]{9,10}))?(?P<ending>(?:\.[A-Za-z]+)*)"
)
DATES_FROM = 10_000_000
_LATEST = 10**15


def rotation(path: Path) -> tuple[Path, int]:
    """The name that a file has while it is written, and how old it is: 0 is the newest, or has no number or date.

    >>> [rotation(Path(name)) for name in ("a.log", "a.log.2.gz")]
    [(PosixPath('a.log'), 0), (PosixPath('a.log'), 3)]
    """
    name = path.name.removesuffix(".gz")
    dated = _DATE.fullmatch(name)
    if not name:
        return path, 0
    if dated is not None:
        # Of a date and seconds since 1970 the latter count: `-%Y%m%d-%s` of logrotate, several times a day.
        digits = time.strftime("%Y%m%d%H%M%S", time.gmtime(int(dated["epoch"]))) if dated["epoch"] else dated["date"]
        written = int(re.sub(r"\D", "", digits).ljust(14, "0"))
        return path.with_name(dated["stem"] + dated["ending"]), _LATEST - written
    numbered = _NUMBER.fullmatch(name)
    if numbered is None:
        return path.with_name(name), 0
    number = int(numbered["number"])
    return path.with_name(numbered["stem"]), number + 1 if number < DATES_FROM else _LATEST - number


class UnreadableFileError(Exception):
    """A file that cannot be opened; the text says why."""


class ChangedSetError(Exception):
    """A file is not where it was when its folder was read: the set is being rotated, and is to be looked at again."""


class DamagedArchiveError(UnreadableFileError):
    """A compressed file that cannot be unpacked from here on."""


def refuse_special(path: Path) -> None:
    """Raise UnreadableFileError where something has the name that is no file, and OSError for a loop of links."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableFileError("not a regular file")


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
    def is_fresh(self) -> bool:
        """Whether it was written to, or made, a moment ago."""
        return 0 <= time.time() - self.modified < _FRESH_SECONDS

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
    # To unpack an archive up to there takes long; it does not shrink.
    is_known_archive = member.is_packed and (member.device, member.inode) == (position.device, position.inode)
    return has_same_head(position, member, at_least_bytes=0 if is_known_archive else position.offset)


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


def head_of(member: Member) -> bytes:
    """The first octets of a file, by which it is known. Raises UnreadableFileError, ChangedSetError, OSError."""
    return b"".join(blocks(member, 0, HEAD_BYTES, HEAD_BYTES))


def position_in(member: Member, offset: int) -> FilePosition:
    """The position at an offset of a file. Raises UnreadableFileError, ChangedSetError, OSError."""
    head = head_of(member)
    digest = sha256(head).hexdigest() if head else ""
    return FilePosition(device=member.device, inode=member.inode, offset=offset, head_bytes=len(head), head=digest)


def moved(position: FilePosition, member: Member, offset: int, *, block: bytes, at: int) -> FilePosition:
    """The position further on in the same file, of which a block was read at an offset.

    Raises ChangedSetError where the block may be of what the file held before or after it was emptied.
    """
    head = head_of(member)
    known, fresh = head[: position.head_bytes], head[at:]
    if (
        (position.head_bytes and sha256(known).hexdigest() != position.head)
        or len(head) < min(HEAD_BYTES, at + len(block))
        or fresh[: len(block)] != block[: len(fresh)]
    ):
        raise ChangedSetError(f"{member.path}: emptied")
    return FilePosition(
        device=member.device, inode=member.inode, offset=offset, head_bytes=len(head), head=sha256(head).hexdigest()
    )
