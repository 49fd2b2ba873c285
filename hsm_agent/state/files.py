"""The state directory: its lock, and the one place where its small files are written, read and set aside. Blocks.

A file is complete and on disk when the call returns, with its name in the folder: a power cut leaves the old file or
the new one. Files are private, and no link is followed: who may write into the directory could otherwise make the
agent overwrite or read another file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

KEPT_DAMAGED = 3
MOST_BYTES = 256 * 1024 * 1024
"""More is no file of the agent's: reading it would take the memory that the agent needs."""
_PRIVATE = 0o600
_CLOSED = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class DamagedFileError(ValueError):
    """The file's content is not what the agent wrote; the text is one line and names the file."""


class DirectoryInUseError(Exception):
    """Another agent uses the state directory; the text says which."""


class DirectoryLock:
    """Holds `lock` in the state directory until closed: one agent at a time uses it.

    Kept by flock: the kernel frees it when the process dies.
    """

    def __init__(self, directory: Path) -> None:
        """Make the directory, private, if need be and lock it.

        DirectoryInUseError if another agent has it, OSError if it can't be used.
        """
        try:
            _make_private(directory)
        except OSError as error:
            raise OSError(error.errno, f"state directory {directory}: {error.strerror}") from error
        self._descriptor = open_private(directory / "lock")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            self.close()
            raise DirectoryInUseError(
                f"another hsm-agent uses this state directory (pid {pid}): {directory}"
            ) from error
        with contextlib.suppress(OSError):  # the lock holds on a full disk too; only its owner's pid is not named then
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let the next agent in."""
        os.close(self._descriptor)


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if stat.S_IMODE(found.st_mode) & 0o077 and found.st_uid == os.geteuid():
        directory.chmod(0o700)


def open_private(path: Path) -> int:
    """A descriptor of a file for reading and writing, made if it is not there. OSError if it is anything else."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _CLOSED, _PRIVATE)
    try:
        _refuse_special(path, descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read(path: Path, most_bytes: int = MOST_BYTES) -> bytes | None:
    """What a file holds; None if there is none. OSError if it can't be read, or is no plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _CLOSED)
    except FileNotFoundError:
        return None
    try:
        _refuse_special(path, descriptor)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(most_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {most_bytes} bytes", str(path))
    return data


def read_json(path: Path) -> Any:
    """The JSON value in a file; None if there is no file. Raises OSError, and DamagedFileError if it is none."""
    data = read(path)
    try:
        return None if data is None else parse_json(data)
    except ValueError as error:
        raise DamagedFileError(f"{path}: {error}") from error


def parse_json(data: bytes | str) -> Any:
    """A JSON value. ValueError if it is none, or if it can't be written again as UTF-8."""
    try:
        found = json.loads(data, parse_constant=_refuse_constant)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("not JSON that the agent writes: nested too deeply") from error
    return found


def write(path: Path, data: bytes, *, fresh: Path | None = None) -> None:
    """Replace a file, whole or not at all. Raises OSError.

    `fresh`: the name that it has while it is written; a file of that name is removed.
    """
    fresh = fresh or path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    try:
        # In this order: the content is on disk before the name points to it, and the name before anyone relies on it.
        # Otherwise a power cut could leave an empty file, or the old one after an inform was acknowledged.
        fill(fresh, data)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # the first error is raised; a file that is left is overwritten next time
            fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: object) -> None:
    """Replace a file by a JSON value. Raises OSError."""
    write(path, json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n")


def create(folder: int, name: str, data: bytes, *, mode: int, owner: tuple[int, int] | None) -> bool:
    """Write a file that must not be there yet into an open folder; False if it is there. Raises OSError.

    `owner`: uid and gid it is given to. Everything is relative to the open folder: a path could lead elsewhere a moment
    later.
    """
    fresh = f"{name}.{os.getpid()}"
    try:
        fill(fresh, data, mode=mode, owner=owner, folder=folder)
        try:  # unlike a rename it replaces nothing
            os.link(fresh, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
    os.fsync(folder)
    return True


def write_at(path: Path, offset: int, data: bytes) -> int:
    """Truncate a file at an offset and write from there on; its new length. Raises OSError.

    If the file is shorter than that, or new, nothing is written, and the result is less than the offset.
    """
    with os.fdopen(open_private(path), "r+b") as file:
        length = os.fstat(file.fileno()).st_size
        if length < offset:
            return length
        file.truncate(offset)
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if offset == 0:
        sync_directory(path.parent)
    return offset + len(data)


def set_aside(path: Path, *more: str) -> Path:
    """Rename what can't be used, file or not, so that it can be examined; the newest few are kept. Raises OSError.

    `more`: endings of files that belong to it and go with it.
    """
    aside = _free_name(path)
    for ending in (*more, ""):  # the file itself last: after a power cut in between it is found damaged again
        part = path.with_name(path.name + ending)
        if part.is_symlink() or part.exists():
            part.rename(aside.with_name(aside.name + ending))
    sync_directory(path.parent)
    found = sorted(path.parent.glob(f"{_literal(path.name)}.damaged-*Z"))
    for old in found[:-KEPT_DAMAGED]:
        for ending in ("", *more):
            _remove(old.with_name(old.name + ending))
    return aside


def sync_directory(directory: Path) -> None:
    """Make a rename or a new file in the directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fill(
    path: Path | str,
    data: bytes,
    *,
    mode: int = _PRIVATE,
    owner: tuple[int, int] | None = None,
    folder: int | None = None,
) -> None:
    """A new file, whole on disk; never open to more than its mode says. Raises OSError, also where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSED, _PRIVATE, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        if owner is not None:
            os.fchown(descriptor, *owner)
        if mode != _PRIVATE:
            os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _refuse_special(path: Path, descriptor: int) -> None:
    found = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(found):
        number = errno.EISDIR if stat.S_ISDIR(found) else errno.EINVAL
        raise OSError(number, "not a regular file", str(path))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"not JSON: {name}")


def _free_name(path: Path) -> Path:
    while True:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        wanted = path.with_name(f"{path.name}.damaged-{stamp}")
        if not wanted.is_symlink() and not wanted.exists():
            return wanted


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "[*?" else letter for letter in name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(OSError):  # a folder that is not empty is not the agent's to remove
            path.rmdir()
        return
    path.unlink(missing_ok=True)
