"""The spool's file, and what stands beside it in the state directory: the reserve of disk space.

Blocking; only the spool's own thread may call `Disk`. Memory is the truth: what the file refuses stays there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.spool import tables
from hsm_agent.state.files import DirectoryInUseError, DirectoryLock, open_private, set_aside

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.spool.tables import RowChanges, RowKey, RowValues, StoredRows, TableName

RESERVE_BYTES = 1024 * 1024

_FULL = 13  # sqlite3.SQLITE_FULL
_DAMAGE = {1, 11, 17, 20, 24, 26}
"""SQLITE_ERROR (a table is not there), CORRUPT, SCHEMA, MISMATCH, FORMAT, NOTADB: the file is not what it should be."""
_NOT_OPEN = "the spool's file is not open"
_NO_FILE = {errno.EISDIR, errno.EINVAL}
_MOST_LIKELY_VERSION = 1000
_REFUSALS = (sqlite3.Error, OSError, UnicodeError, OverflowError)
"""What a call on the file may raise; the last two where SQLite quotes damaged text in its error message, and for a text
or a number that it has no form for: the writer must go on whatever it is given."""
_LOGS = ("-wal", "-shm")
_VACUUM_PAGES, _CAUTIOUS_PAGES = 256, 64
_RELEASED: tuple[TableName, ...] = ("entry", "waiting", "dead")
_RELEASED_AT_ONCE = 50


class DiskTrouble(Exception):
    """The disk refuses; the text is one line for people."""


class DamagedSpoolError(Exception):
    """The file can't be read as what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSpool:
    """What was on disk. `damage` says what was wrong with it; the file was then set aside, rows of `torn` are missing.

    `fresh`: the file is a new one, so none of the rows is on disk now. Only then are states among the rows.
    `same`: it is the very file that was open before. `trouble`: why nothing may be written yet all the same.
    """

    rows: StoredRows = field(default_factory=dict)
    damage: str = ""
    torn: frozenset[TableName] = frozenset()
    fresh: bool = False
    same: bool = False
    trouble: str = ""


class Ballast:
    """A file of RESERVE_BYTES, really allocated, that only takes up room.

    SQLite needs room even to delete. Freeing this file lets acknowledgements still be recorded on a full disk, so that
    a receiver is not sent again what it has, and the rows it accepted make room for new ones.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_held(self) -> bool:
        """Whether the room is reserved."""
        try:
            return self._path.stat().st_blocks * 512 >= RESERVE_BYTES
        except OSError:
            return False

    def free(self) -> None:
        """Give the room back to the disk, if that lets it."""
        with contextlib.suppress(OSError):  # a read-only disk has nothing to give; its own error is already reported
            self._path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Reserve the room again if the disk has it twice; whether it is reserved now."""
        if self.is_held():
            return True
        if free_bytes(self._path.parent) < 2 * RESERVE_BYTES:
            return False
        try:
            descriptor = open_private(self._path)
        except OSError:  # a folder or a link in its place is no reason to do without the spool
            set_aside(self._path)
            descriptor = open_private(self._path)
        try:
            os.ftruncate(descriptor, 0)
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        except OSError:
            self.free()
            return False
        finally:
            os.close(descriptor)
        return True


def free_bytes(directory: Path) -> int:
    """What the file system still gives to this user."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


class Disk:
    """One SQLite file, its log and its ballast."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock: DirectoryLock | None = None
        self._path = directory / "spool.db"
        self._ballast = Ballast(directory / "spool.ballast")
        self._connection: sqlite3.Connection | None = None
        self._closed_because = _NOT_OPEN
        self._refuses = False
        self._inode = 0
        self._synchronous = ""
        self._missing: set[TableName] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._connection is not None

    def open(self) -> StoredSpool:
        """Open the file and read all but the states. A damaged file is set aside and what is readable returned."""
        self._disconnect()
        try:
            # Locked before the file is looked at: another agent may be writing to it.
            if self._lock is None:
                self._lock = DirectoryLock(self._directory)
            stored = self._open()
        except (*_REFUSALS, DamagedSpoolError) as error:
            raise self._trouble(error) from error
        except (DiskTrouble, DirectoryInUseError):
            self._disconnect()
            raise
        self._refuses = bool(stored.trouble)
        return stored

    def apply(self, changes: RowChanges, *, durable: bool) -> None:
        """All of it or nothing. When this returns and `durable`, it has reached the disk."""
        try:
            self._transaction(changes, durable=durable)
        except _REFUSALS as error:
            raise self._trouble(error) from error
        self._refuses = False

    def apply_releases(self, changes: RowChanges) -> RowChanges:
        """Let go of entries that were accepted or given up, out of the reserve if need be; what is left to do.

        Only of entries: the erasure of a state must not be on disk before the event that its alarm's end caused.
        """
        released: list[tuple[TableName, RowKey]] = [
            key for key, row in changes.items() if row is None and key[0] in _RELEASED
        ]
        for first in range(0, len(released), _RELEASED_AT_ONCE):
            # A few at a time: the log of one large transaction would not fit into the reserve.
            self.apply(dict.fromkeys(released[first : first + _RELEASED_AT_ONCE]), durable=True)
        done = set(released)
        return {key: row for key, row in changes.items() if key not in done}

    def require_room(self, changes: RowChanges) -> None:
        """Have the reserve in place, which only releases may use; DiskTrouble unless these fit in beside it."""
        # Twice: once in the log, once in the file. How much fits into the file's free pages can't be known before.
        needed = RESERVE_BYTES + 2 * tables.text_bytes(changes)
        try:
            # In small steps, each flushed: a large one would need more room in the log than there is.
            while self._shrink(_CAUTIOUS_PAGES):
                pass
            free = free_bytes(self._directory)
            if not self._ballast.is_held():
                needed += RESERVE_BYTES
            if free < needed or not self._ballast.restore():
                raise DiskTrouble(f"disk full: {free // 1024} KiB free, {needed // 1024} KiB needed")
        except _REFUSALS as error:
            raise self._trouble(error) from error

    def states(self, prefix: str) -> dict[str, str]:
        """Stored states whose key begins so."""
        if self._connection is None:
            raise DiskTrouble(self._closed_because)
        try:
            return tables.read_states(self._connection, prefix)
        except _REFUSALS as error:
            raise self._trouble(error) from error

    def tidy(self) -> bool:
        """In a quiet moment: empty the log, give freed pages back, have the reserve in place; whether there is more.

        A little at a time, so that an event which arrives meanwhile does not wait for it. Not while the disk refuses:
        the room is for acknowledgements then. What fails here is met, and reported, by the next write.
        """
        if self._connection is None or self._refuses:
            return False
        try:
            more = self._shrink(_VACUUM_PAGES)
            self._ballast.restore()
        except _REFUSALS as error:
            self._closed_because = str(self._trouble(error))
            return False
        return more

    def close(self, changes: RowChanges) -> tuple[int, str]:
        """Write the last changes, close the file, whose log SQLite then empties and removes, and let the next agent in.

        How many of the changes are on disk, and why not all of them.
        """
        left, why = changes, ""
        try:
            if left and self._refuses:
                left = self.apply_releases(left)
                self.require_room(left)
            if left:
                self.apply(left, durable=True)
                left = {}
        except DiskTrouble as error:
            why = str(error)
        self._disconnect()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        return len(changes) - len(left), why

    def _open(self) -> StoredSpool:
        damage, before = "", self._inode
        torn: frozenset[TableName] = frozenset()
        try:
            fresh = self._connect()
            self._check()
            rows = tables.read_rows(self._writable())
        except (DamagedSpoolError, sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not _is_damage(error):
                raise
            damage = _line(error)
            # Read before it is closed and moved: a second look at a damaged file may find less.
            rows, torn = tables.salvage(self._connection)
            self._disconnect()
            set_aside(self._path, *_LOGS)
            fresh = self._connect()
        return StoredSpool(
            rows=rows,
            damage=damage,
            torn=torn,
            fresh=fresh,
            same=not fresh and self._inode == before,
            trouble="" if self._ballast.restore() else "disk full: no reserve left",
        )

    def _connect(self) -> bool:
        """Whether the file had to be made."""
        for ending in _LOGS:
            part = self._path.with_name(self._path.name + ending)
            if part.is_symlink() or (part.exists() and not part.is_file()):
                set_aside(part)
        # Made before SQLite does, which gives the mode of the file to its log too.
        try:
            descriptor = open_private(self._path)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise DamagedSpoolError(f"{error.strerror}: {self._path}") from error
            raise
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        self._connection = sqlite3.connect(self._path, timeout=2.0, isolation_level=None)
        self._connection.text_factory = tables.decode_text
        self._inode = self._path.stat().st_ino
        self._synchronous = ""
        for pragma in tables.PRAGMAS:
            self._connection.execute(pragma)
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if not 0 <= version <= _MOST_LIKELY_VERSION:
            raise DamagedSpoolError(f"schema {version}")
        if version > tables.VERSION:
            raise DiskTrouble(f"{self._path} was written by a newer hsm-agent (schema {version})")
        if version == 0:
            for pragma in tables.CREATE_PRAGMAS:
                self._connection.execute(pragma)
            self._connection.executescript("BEGIN IMMEDIATE;" + tables.CREATE + "COMMIT;")
        self._missing = tables.missing_tables(self._connection)
        return bool(version == 0)

    def _check(self) -> None:
        assert self._connection is not None
        (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise DamagedSpoolError(str(verdict))

    def _transaction(self, changes: RowChanges, *, durable: bool) -> None:
        connection = self._writable()
        # FULL: the log is flushed at each COMMIT. Without that an acknowledgement can be lost in a power failure: its
        # event is then sent again, which at-least-once allows. An event or a state is never written without it.
        synchronous = "FULL" if durable else "NORMAL"
        if synchronous != self._synchronous:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        together: dict[str, list[RowValues]] = {}
        made = {table for (table, _), row in changes.items() if table in self._missing and row is not None}
        for (table, key), row in changes.items():
            if table in self._missing - made:  # there is nothing to erase
                continue
            if row is None:
                together.setdefault(tables.ERASE[table], []).append(key)
            else:
                together.setdefault(tables.PUT[table], []).append((*key, *row))
        connection.execute("BEGIN IMMEDIATE")
        try:
            for table in made:
                connection.execute(tables.LAZY[table])
            for statement, rows in together.items():
                connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except _REFUSALS:
            # SQLite has rolled back by itself after some errors (a full disk among them).
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._missing -= made

    def _writable(self) -> sqlite3.Connection:
        if self._connection is None:
            raise DiskTrouble(self._closed_because)
        # Writing on into a file that was removed would succeed and keep nothing.
        try:
            removed = self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            removed = True
        if removed:
            self._disconnect()
            raise DiskTrouble(f"{self._path.name} was removed or replaced")
        return self._connection

    def _shrink(self, pages: int) -> bool:
        """Empty the log and give some freed pages back; whether there are more."""
        if self._connection is None:
            raise DiskTrouble(self._closed_because)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (before,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        if before < pages:
            return False
        # It answers with a row of no columns for each page, at the first of which `execute` would stop.
        self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (after,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return bool(pages <= after < before)

    def _trouble(self, error: Exception) -> DiskTrouble:
        self._refuses = True
        if _code(error) == _FULL:
            # For the erasures of `apply_releases`, which need room in the log.
            self._ballast.free()
        else:
            # Whatever else it is, opening the file anew checks it and shows whether it can be used.
            self._disconnect()
        return DiskTrouble(_line(error))

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._closed_because = _NOT_OPEN


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_damage(error: Exception) -> bool:
    return isinstance(error, DamagedSpoolError | UnicodeDecodeError) or _code(error) in _DAMAGE


def _line(error: Exception) -> str:
    name = getattr(error, "sqlite_errorname", "")
    text = " ".join(str(error).split())
    return f"{text} ({name})" if name else text
