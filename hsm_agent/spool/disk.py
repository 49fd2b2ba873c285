"""The spool's file: opened, checked, written, put right. Blocking; only the spool's own thread may call it."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.spool import reading, schema
from hsm_agent.spool.ballast import SIZE as RESERVE
from hsm_agent.spool.ballast import Ballast, free_bytes
from hsm_agent.spool.changes import text_bytes
from hsm_agent.spool.lock import DirectoryLock
from hsm_agent.spool.records import SpoolError
from hsm_agent.state.files import open_private, set_aside

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.spool.changes import Changes, Key, Rows, Table

_FULL = 13  # sqlite3.SQLITE_FULL
_DAMAGE = {1, 11, 17, 20, 24, 26}
"""SQLITE_ERROR (a table is not there), CORRUPT, SCHEMA, MISMATCH, FORMAT, NOTADB: the file is not what it should be."""
_NO_FILE = {errno.EISDIR, errno.EINVAL}
_MOST_LIKELY_VERSION = 1000
_REFUSALS = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What a disk's call may raise; the last where SQLite quotes what is damaged in what it says of it."""
_LOGS = ("-wal", "-shm")
_VACUUM_PAGES, _CAUTIOUS_PAGES = 256, 64
_RELEASED: tuple[Table, ...] = ("entry", "waiting", "dead")
_RELEASED_AT_ONCE = 50


class DiskTrouble(Exception):
    """The disk refuses; the text is one line for people."""


class Damaged(Exception):
    """The file can't be read as what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What was on disk. `damage` says what was wrong with it; the file was then set aside, rows of `torn` are missing.

    `fresh`: the file is a new one, so none of the rows is on disk now. Only then are states among the rows.
    `same`: it is the very file that was open before. `trouble`: why nothing may be written yet all the same.
    """

    rows: Rows = field(default_factory=dict)
    damage: str = ""
    torn: frozenset[Table] = frozenset()
    fresh: bool = False
    same: bool = False
    trouble: str = ""


class Disk:
    """One SQLite file, its log and its ballast."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock: DirectoryLock | None = None
        self._path = directory / "spool.db"
        self._ballast = Ballast(directory / "spool.ballast")
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._synchronous = ""

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._connection is not None

    def open(self) -> Loaded:
        """Open the file and read all but the states. A damaged file is set aside and what is readable returned."""
        self._disconnect()
        try:
            if self._lock is None:
                self._lock = DirectoryLock(self._directory)
            return self._open()
        except (*_REFUSALS, Damaged) as error:
            raise self._trouble(error) from error
        except (DiskTrouble, SpoolError):
            self._disconnect()
            raise

    def apply(self, changes: Changes, *, durable: bool) -> None:
        """All of it or nothing. When this returns and `durable`, it has reached the disk."""
        try:
            self._transaction(changes, durable=durable)
        except _REFUSALS as error:
            raise self._trouble(error) from error

    def apply_releases(self, changes: Changes) -> Changes:
        """Let go of entries that were accepted or given up, out of the reserve if need be; what is left to do.

        Only of entries: a state that is erased must not go before the event that is to be told of it.
        """
        released: list[tuple[Table, Key]] = [key for key, row in changes.items() if row is None and key[0] in _RELEASED]
        for first in range(0, len(released), _RELEASED_AT_ONCE):
            # A few at a time: the log of one large transaction would not fit into the reserve.
            self.apply(dict.fromkeys(released[first : first + _RELEASED_AT_ONCE]), durable=True)
        done = set(released)
        return {key: row for key, row in changes.items() if key not in done}

    def require_room(self, changes: Changes) -> None:
        """Have the reserve in place, which only releases may use; DiskTrouble unless these fit in beside it."""
        # Twice: once in the log, once in the file. What of the file's free pages they will fit into, nobody knows.
        needed = RESERVE + 2 * text_bytes(changes)
        try:
            # In small steps, each flushed: a large one would need more room in the log than there is.
            while self._shrink(_CAUTIOUS_PAGES):
                pass
            free = free_bytes(self._directory)
            if not self._ballast.is_held():
                needed += RESERVE
            if free < needed or not self._ballast.restore():
                raise DiskTrouble(f"disk full: {free // 1024} KiB free, {needed // 1024} KiB needed")
        except _REFUSALS as error:
            raise self._trouble(error) from error

    def states(self, prefix: str) -> dict[str, str]:
        """Stored states whose key begins so."""
        if self._connection is None:
            raise DiskTrouble("the spool's file is not open")
        try:
            return dict(map(reading.state, self._connection.execute(schema.STATES, (len(prefix), prefix))))
        except _REFUSALS as error:
            raise self._trouble(error) from error

    def tidy(self) -> bool:
        """In a quiet moment: empty the log, give freed pages back, have the reserve in place; whether there is more.

        A little at a time, so that an event which arrives meanwhile does not wait for it.
        """
        if self._connection is None:
            return False
        try:
            more = self._shrink(_VACUUM_PAGES)
            self._ballast.restore()
        except _REFUSALS as error:
            raise self._trouble(error) from error
        return more

    def close(self) -> None:
        """Close the file, whose log SQLite then empties and removes, and let the next agent in."""
        self._disconnect()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _open(self) -> Loaded:
        damage, before = "", self._inode
        torn: frozenset[Table] = frozenset()
        try:
            fresh = self._connect()
            self._check()
            rows = reading.read(self._writable(), states=False)
        except (Damaged, sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not _is_damage(error):
                raise
            damage = _line(error)
            rows, torn = reading.salvage(self._connection)
            self._disconnect()
            set_aside(self._path, *_LOGS)
            fresh = self._connect()
        return Loaded(
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
                raise Damaged(f"{error.strerror}: {self._path}") from error
            raise
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        self._connection = sqlite3.connect(self._path, timeout=2.0, isolation_level=None)
        self._connection.text_factory = reading.text
        self._inode = self._path.stat().st_ino
        self._synchronous = ""
        for pragma in schema.PRAGMAS:
            self._connection.execute(pragma)
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if not 0 <= version <= _MOST_LIKELY_VERSION:
            raise Damaged(f"schema {version}")
        if version > schema.VERSION:
            raise DiskTrouble(f"{self._path} was written by a newer hsm-agent (schema {version})")
        if version == 0:
            for pragma in schema.CREATE_PRAGMAS:
                self._connection.execute(pragma)
            self._connection.executescript("BEGIN IMMEDIATE;" + schema.CREATE + "COMMIT;")
        return bool(version == 0)

    def _check(self) -> None:
        assert self._connection is not None
        (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise Damaged(str(verdict))

    def _transaction(self, changes: Changes, *, durable: bool) -> None:
        connection = self._writable()
        # Without fsync an acknowledgement can be lost in a power failure: its event is then sent again, as promised.
        synchronous = "FULL" if durable else "NORMAL"
        if synchronous != self._synchronous:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, rows in schema.statements(changes).items():
                connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except sqlite3.Error:
            # SQLite has rolled back by itself after some errors (a full disk among them).
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _writable(self) -> sqlite3.Connection:
        if self._connection is None:
            raise DiskTrouble("the spool's file is not open")
        # Writing on into a file that was removed would look well and keep nothing.
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
            raise DiskTrouble("the spool's file is not open")
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
        if _code(error) == _FULL:
            self._ballast.free()
        else:
            # Whatever else it is, a file opened anew tells more than this one.
            self._disconnect()
        return DiskTrouble(_line(error))

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_damage(error: Exception) -> bool:
    return isinstance(error, Damaged | UnicodeDecodeError) or _code(error) in _DAMAGE


def _line(error: Exception) -> str:
    name = getattr(error, "sqlite_errorname", "")
    text = " ".join(str(error).split())
    return f"{text} ({name})" if name else text
